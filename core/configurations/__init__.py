"""Users' own training files, each read as what a run can be set up with."""
