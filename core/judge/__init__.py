"""What follows from signals: status, fault and cause of every sample, and clusters of samples."""
