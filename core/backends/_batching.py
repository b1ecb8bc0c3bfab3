"""Rows of different lengths into batches."""

from __future__ import annotations

import numpy as np


def plan_batches(
    lengths: np.ndarray, budget: int, overhead: int, most: int | None = None, boundary: int | None = None
) -> list[np.ndarray]:
    """Rows grouped into batches that are padded to their longest row.

    Rows are taken longest first, so that memory runs out on the first batch or never. A batch is closed when one more
    row would exceed the budget, or when the padding it holds would cost more than starting another batch.

    Args:
        lengths: (n,) tokens of each row.
        budget: most tokens of a batch, padding included; a longer row is a batch of its own.
        overhead: cost of one more batch, counted in tokens.
        most: most rows of a batch.
        boundary: rows above this length never share a batch with shorter ones.

    Returns:
        Arrays of row indices: every row once.
    """
    batches: list[np.ndarray] = []
    current: list[int] = []
    padding = 0
    for i in np.argsort(-lengths, kind="stable").tolist():
        if current:
            longest = int(lengths[current[0]])
            padding += longest - int(lengths[i])
            crosses = boundary is not None and longest > boundary >= lengths[i]
            full = (len(current) + 1) * longest > budget or len(current) == most
            if crosses or full or padding > overhead:
                batches.append(np.array(current))
                current, padding = [], 0
        current.append(i)
    if current:
        batches.append(np.array(current))
    return batches
