"""Lacuna: what a fine-tune did not learn, why, and what to do about it."""

__version__ = "0.1.0"
