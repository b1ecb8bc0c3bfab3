"""Planted worlds by other hands: one file is one way to write a world."""
