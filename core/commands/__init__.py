"""The command line: one file a command, found by the folder scan."""
