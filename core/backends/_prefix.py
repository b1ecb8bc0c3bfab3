"""Prompts that begin alike are read once: few-shot examples before every question, a system turn before every row.

A causal model's keys and values of a position depend on what stands before it and on nothing else, so rows with a
common beginning share its key-value cache (``_parts``). Only where a model's cache is a plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# A shorter beginning is not worth a pass of its own.
SHORTEST = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share their first ``length`` tokens; 0 for rows that share nothing.

    Attributes:
        rows: (g,) int64 indices of the rows.
    """

    rows: np.ndarray
    length: int


def shared(rows: Sequence[np.ndarray], limits: np.ndarray, overhead: int) -> list[Group]:
    """Rows grouped by common beginnings so that the fewest tokens are read.

    Sorted rows that begin alike stand side by side, so a group is a run of them. A run of g rows with a common
    beginning of p tokens saves (g - 1) p tokens and costs ``overhead``; the best partition is found by dynamic
    programming over the ends of runs.

    Args:
        rows: n arrays (l,) int64.
        limits: (n,) most tokens of each row that may be shared.
        overhead: cost of one more group, in tokens.

    Returns:
        Every row in exactly one group; the rows that share nothing come last, as one group.
    """
    n = len(rows)
    order = sorted(range(n), key=lambda i: rows[i].astype(">i4").tobytes())
    common = np.zeros(n, dtype=np.int64)
    for at in range(1, n):
        common[at] = _common(rows[order[at - 1]], rows[order[at]])
    most = limits[order].astype(np.int64)
    best, begin = np.zeros(n + 1), np.full(n + 1, -1, dtype=np.int64)
    for end in range(1, n + 1):
        best[end] = best[end - 1]
        # Shared by the run [start, end), for every start from the nearest to the farthest.
        length = np.minimum.accumulate(most[end - 1 :: -1] if end > 1 else most[:1])
        length[1:] = np.minimum(length[1:], np.minimum.accumulate(common[end - 1 : 0 : -1]))
        starts = np.arange(end - 1, -1, -1)
        gain = np.where(length >= SHORTEST, best[starts] + (end - starts - 1) * length - overhead, -np.inf)
        at = int(gain.argmax())
        if gain[at] > best[end]:
            best[end], begin[end] = gain[at], starts[at]
    groups: list[Group] = []
    alone: list[int] = []
    end = n
    while end:
        start = int(begin[end])
        if start < 0:
            alone.append(order[end - 1])
            end -= 1
            continue
        shared_length = int(min(most[start:end].min(), common[start + 1 : end].min()))
        groups.append(Group(np.array(order[start:end], dtype=np.int64), shared_length))
        end = start
    groups.reverse()
    return [*groups, Group(np.array(sorted(alone), dtype=np.int64), 0)] if alone else groups


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Length of the common beginning of two rows."""
    n = min(len(one), len(other))
    apart = np.flatnonzero(one[:n] != other[:n])
    return int(apart[0]) if len(apart) else n


def plain_cache(model: Any) -> Any:
    """An empty cache whose layers all keep every position; None where the model's cache is of another kind."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if not model._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    return cache if all(type(layer) is DynamicLayer for layer in cache.layers) else None
