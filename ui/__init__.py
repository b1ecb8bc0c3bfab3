"""The browser side: the server with its routes, and the parts that pages share."""
