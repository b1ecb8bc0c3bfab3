"""Faults of the pipeline, judged before any cause. One file is one fault."""
