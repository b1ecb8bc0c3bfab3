"""The values that cross borders, by what they are of. Everything else imports them from ``core.types``."""
