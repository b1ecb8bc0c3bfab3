"""Intervals and how well a number ranks and predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core import intervals


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``n`` items and its 95 % interval; NaN where n is 0."""

    value: float
    low: float
    high: float
    n: int


def wilson(k: int, n: int) -> Interval:
    """Share k of n with its Wilson score interval."""
    return Interval(k / n if n else math.nan, *intervals.wilson(k, n), n)


def bootstrap_mean(values: np.ndarray, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean of ``values`` (n,) with its percentile bootstrap interval over items (Efron 1979)."""
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    # In blocks: draws × n numbers of a large run would not fit into memory at once.
    block = max(1, 4_000_000 // n)
    means = [values[rng.integers(0, n, (min(block, draws - at), n))].mean(1) for at in range(0, draws, block)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high), n)


def auroc(score: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right item has a higher score than a wrong one, ties half; NaN where one kind is missing."""
    known = np.isfinite(score)
    score, right = score[known], right[known].astype(bool)
    n1, n0 = int(right.sum()), int((~right).sum())
    if not n1 or not n0:
        return math.nan
    ranks = average_ranks(score)
    return float((ranks[right].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """(n,) ranks from 1, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def brier(probability: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean((probability - right) ** 2)) if len(right) else math.nan


def calibration_error(probability: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over the levels that occur: Σ n_level / n · |mean probability − accuracy|."""
    if not len(right):
        return math.nan
    total = 0.0
    for level in np.unique(probability):
        here = probability == level
        total += here.sum() / len(right) * abs(level - right[here].mean())
    return float(total)
