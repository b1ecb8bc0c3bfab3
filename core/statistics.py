"""Tests and intervals that pages state beside what they draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Trend:
    """A rise or fall of a share along an order.

    Attributes:
        z: standard normal under no trend, above 0 for a rise.
        p: two-sided p-value.
        slope: least-squares change of the share from the lowest to the highest score.
    """

    z: float
    p: float
    slope: float


def trend(hits: np.ndarray, totals: np.ndarray, scores: Sequence[float]) -> Trend | None:
    """Cochran-Armitage test for a trend in proportions, stratified by the rows of ``hits`` (Mantel 1963).

    With one stratum this is the test of Cochran (1954) and Armitage (1955) with the hypergeometric variance; with
    several, differences between the strata play no part, only what happens inside each.

    Args:
        hits, totals: (strata, groups) successes and trials.
        scores: (groups,) the order, as numbers.

    Returns:
        None where no trend can show: one group, or every trial ends alike.
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
        difference: second share less the first.
        low, high: 95 % interval of it.
        p: exact two-sided McNemar p-value that they are equal.
    """

    difference: float
    low: float
    high: float
    p: float


def paired(gained: int, lost: int, n: int, z: float = 1.959964) -> Paired | None:
    """A change of a share from the trials that changed; None where there are no trials.

    The p-value is McNemar's in its exact form: of the trials that changed, as many should have gone either way. The
    interval is the adjusted Wald interval of Bonett and Price (2012), which stays sound where few or none changed.

    Args:
        gained, lost: trials that failed first and succeeded then, and the other way round.
        n: all trials.
    """
    from scipy.special import bdtr

    if n <= 0:
        return None
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    changed = gained + lost
    p = min(1.0, 2 * float(bdtr(min(gained, lost), changed, 0.5))) if changed else 1.0
    return Paired((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half), p)
