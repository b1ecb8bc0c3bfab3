"""The database: tables and queries. Takes and gives values of ``core.types``, never rows or sessions."""
