"""Trainer presets: what a trainer made of a sample. One file is one preset; see docs/presets.md."""
