"""Use cases. The only place that sees science and database together; pages and command line call these."""
