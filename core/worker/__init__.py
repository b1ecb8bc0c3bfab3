"""The process that takes jobs, the handlers it calls, and the supervisor of all processes."""
