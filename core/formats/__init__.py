"""Shapes of SFT rows: one file is one shape, found by ``core.plugins.kinds("formats")``."""
