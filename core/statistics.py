"""Tests, intervals, and measures of how well a number ranks and predicts.

SciPy and scikit-learn are imported where they are needed, so that a page without statistics does not wait for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964
"""The normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``n`` items and its 95 % interval; NaN where n is 0."""

    value: float
    low: float
    high: float
    n: int


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % score interval of the share k of n (Wilson 1927); [0, 1] if n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = k / n
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def share(k: int, n: int) -> Interval:
    """Share k of n with its Wilson score interval."""
    return Interval(k / n if n else math.nan, *wilson(k, n), n)


def bootstrap_mean(values: np.ndarray, draws: int = 2000, seed: int = 0) -> Interval:
    """The mean of ``values`` (n,) with its percentile bootstrap interval over items (Efron 1979)."""
    return bootstrap_ratio(values, np.ones(len(values)), draws, seed)


def bootstrap_ratio(parts: np.ndarray, wholes: np.ndarray, draws: int = 2000, seed: int = 0) -> Interval:
    """The sum of ``parts`` (n,) over the sum of ``wholes`` (n,), with a percentile bootstrap interval over items.

    Draws whose wholes sum to 0 are left out. ``n`` of the result is the sum of all wholes.
    """
    total = float(wholes.sum())
    if not total:
        return Interval(math.nan, math.nan, math.nan, 0)
    n, rng, ratios = len(parts), np.random.default_rng(seed), []
    # Draws are made in blocks: draws × n numbers of a large run would not fit into memory.
    block = max(1, 4_000_000 // n)
    for start in range(0, draws, block):
        picked = rng.integers(0, n, (min(block, draws - start), n))
        below = wholes[picked].sum(1)
        ratios.append(parts[picked].sum(1)[below > 0] / below[below > 0])
    low, high = np.quantile(np.concatenate(ratios), [0.025, 0.975])
    return Interval(float(parts.sum() / total), float(low), float(high), int(total))


def bootstrap_shares(counts: Sequence[int], draws: int = 2000, seed: int = 0) -> list[Interval]:
    """Share of each of several kinds of items, with its percentile bootstrap interval over items.

    Items of one kind are alike, so that drawing them anew is drawing how many of each kind there are.
    """
    n = sum(counts)
    if not n:
        return [Interval(math.nan, math.nan, math.nan, 0)] * len(counts)
    drawn = np.random.default_rng(seed).multinomial(n, np.array(counts) / n, draws) / n
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [Interval(k / n, float(a), float(b), n) for k, a, b in zip(counts, low, high, strict=True)]


def auroc(score: np.ndarray, right: np.ndarray) -> float:
    """The chance that a right item scores higher than a wrong one; ties count half. NaN if there is only one kind.

    Args:
        score: (n,); items without a score (NaN) are left out.
        right: (n,) bool.
    """
    measured = np.isfinite(score)
    labels = np.asarray(right[measured], dtype=bool)
    if not labels.any() or labels.all():
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, score[measured]))


def brier(probability: np.ndarray, right: np.ndarray) -> float:
    """The mean squared distance between probability and outcome (Brier 1950); NaN without items."""
    return float(np.mean((probability - right) ** 2)) if len(right) else math.nan


def calibration_bins(
    confidence: np.ndarray, right: np.ndarray, bins: int | None = None
) -> list[tuple[float, float, int]]:
    """Mean confidence, share right and number of items of each bin that has items.

    Args:
        confidence: (n,) in [0, 1].
        right: (n,) bool.
        bins: the number of equal bins; None: one bin for each value that occurs.
    """
    place = confidence if bins is None else np.minimum((confidence * bins).astype(int), bins - 1)
    members = [place == value for value in np.unique(place)]
    return [(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members]


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int | None = None) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean of |confidence - share right|, weighted by bin size."""
    cells = calibration_bins(confidence, right, bins)
    return sum(n * abs(c - r) for c, r, n in cells) / len(right) if cells else math.nan


@dataclass(frozen=True, slots=True)
class Trend:
    """A rise or fall of a share along an order.

    Attributes:
        z: standard normal if there is no trend; above 0 for a rise.
        p: two-sided p-value.
        slope: least-squares change of the share from the lowest to the highest score.
    """

    z: float
    p: float
    slope: float


def trend(hits: np.ndarray, totals: np.ndarray, scores: Sequence[float]) -> Trend | None:
    """Cochran-Armitage test for a trend in proportions, stratified by the rows of ``hits`` (Mantel 1963).

    With one stratum this is the test of Cochran (1954) and Armitage (1955) with the hypergeometric variance. With
    several strata only the trend inside each of them counts, not the differences between them.

    Args:
        hits, totals: (strata, groups) successes and trials.
        scores: (groups,) the order, as numbers.

    Returns:
        None if no trend can be seen: there is one group, or every trial ends alike.
    """
    hits, totals = np.atleast_2d(hits).astype(np.float64), np.atleast_2d(totals).astype(np.float64)
    x = np.asarray(scores, dtype=np.float64)
    statistic = variance = between = spread = 0.0
    for k, n in zip(hits, totals, strict=True):
        total, right = n.sum(), k.sum()
        if total < 2:
            continue
        rate, mean = right / total, (n * x).sum() / total
        moment = (n * (x - mean) ** 2).sum()
        statistic += ((k - n * rate) * x).sum()
        variance += rate * (1 - rate) * moment * total / (total - 1)
        between += ((k - n * rate) * (x - mean)).sum()
        spread += moment
    if variance <= 0 or spread <= 0:
        return None
    z = statistic / math.sqrt(variance)
    return Trend(float(z), math.erfc(abs(z) / math.sqrt(2)), float(between / spread * (x.max() - x.min())))


@dataclass(frozen=True, slots=True)
class Paired:
    """Two shares over the same trials.

    Attributes:
        difference: second share minus the first.
        low, high: its 95 % interval.
        p: two-sided exact McNemar p-value of equal shares.
    """

    difference: float
    low: float
    high: float
    p: float


def paired(gained: int, lost: int, n: int) -> Paired | None:
    """The change of a share, from the trials that changed; None if there are no trials.

    The p-value is McNemar's in its exact form: without an effect, a changed trial goes either way with equal chance.
    The interval is the adjusted Wald interval of Bonett and Price (2012), which holds even if few trials or none
    changed.

    Args:
        gained: trials that failed first and succeeded later.
        lost: trials that succeeded first and failed later.
        n: all trials.
    """
    from scipy.special import bdtr

    if n <= 0:
        return None
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    changed = gained + lost
    p = min(1.0, 2 * float(bdtr(min(gained, lost), changed, 0.5))) if changed else 1.0
    return Paired((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half), p)
