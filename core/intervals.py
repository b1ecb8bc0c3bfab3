"""The one interval that shares are shown with."""

from __future__ import annotations

import math

Z = 1.959964
"""Of a two-sided 95 % interval."""


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % score interval of the share k of n (Wilson 1927); the whole of [0, 1] where n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = k / n
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
