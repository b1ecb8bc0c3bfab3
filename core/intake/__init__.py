"""From a file to samples: byte streams, containers, rows of JSON, CSV and Parquet, detection of the format."""
