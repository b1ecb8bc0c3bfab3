"""What leaves a finished run for readers and machines: limits for CI, a summary, one HTML file."""
