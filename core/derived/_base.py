"""What a derivation is.

A derivation turns the signals of a whole run into further columns by arithmetic: no model, no clock, no randomness. It
leaves its input alone, gives the same numbers in any order of the samples (up to that order), and gives NaN where what
it rests on was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from core.types import Column, RunSpec, SignalTable


class Derivation(Protocol):
    """One file in this folder. ``columns`` are those that ``derive`` fills, all of them, in every run."""

    name: str
    label: str
    columns: tuple[Column, ...]

    def derive(self, spec: RunSpec, table: SignalTable) -> Mapping[str, np.ndarray]:
        """Name to (n,) float64. ``table`` holds signals as ``judge`` names them, and the facts of the samples."""
        ...
