"""What a fault is.

A fault says of every sample: 1.0 it explains why the sample was not learned, 0.0 it does not, NaN cannot tell. It is a
pure function of signals. A sample whose missing reproduction a fault explains gets the cause ``pipeline:<name>``, and
no other cause is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from core.types import Reason, SignalTable


class Fault(Protocol):
    """One file in this folder; ``name`` is the code. ``needs`` says what would let it tell where it cannot."""

    name: str
    label: str
    help: str
    needs: str

    def explains(self, table: SignalTable) -> np.ndarray:
        """(n,) float64: 1, 0 or NaN, as above."""
        ...

    def reason(self, row: Mapping[str, float]) -> Reason:
        """The sentence for one sample that the fault explains."""
        ...
