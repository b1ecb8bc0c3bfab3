"""Ways to run a checkpoint: one file is one kind."""
