"""What is concluded from signals: status, fault, cause, and clusters of samples."""
