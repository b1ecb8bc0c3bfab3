"""Texts as vectors: one file is one kind of encoder."""
