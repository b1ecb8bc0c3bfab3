"""Training configurations for a mitigation: one file a trainer."""
