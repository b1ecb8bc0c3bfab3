"""A run as one file for another machine: how the file is laid out, written, and read as a stranger's."""
