"""Tests and intervals against formulas written another way."""

from itertools import permutations
from math import comb

import numpy as np
import pytest

from core.statistics import paired, trend


def permuted(hits, totals, scores):
    """Sum of scores of the successes: observed, mean and variance over every way to hand the successes out."""
    labels = [1] * int(sum(hits)) + [0] * int(sum(totals) - sum(hits))
    place = np.repeat(scores, totals)
    seen = [float(np.dot(order, place)) for order in set(permutations(labels))]
    return float(np.dot(hits, scores)), np.mean(seen), np.var(seen)


def test_trend_has_the_permutation_distribution_s_variance():
    strata = [(np.array([0, 1, 2]), np.array([2, 2, 3])), (np.array([1, 1, 1]), np.array([3, 1, 2]))]
    scores = [0, 1, 2]
    parts = [permuted(h, n, scores) for h, n in strata]
    z = sum(o - m for o, m, _ in parts) / sum(v for _, _, v in parts) ** 0.5
    found = trend(np.array([h for h, _ in strata]), np.array([n for _, n in strata]), scores)
    assert found.z == pytest.approx(z)
    alone = trend(strata[0][0], strata[0][1], scores)
    o, m, v = parts[0]
    assert alone.z == pytest.approx((o - m) / v**0.5)


def test_a_difference_between_strata_is_no_trend_within_them():
    hits, totals = np.array([[10, 10, 0, 0], [0, 0, 1, 1]]), np.array([[10, 10, 0, 0], [0, 0, 10, 10]])
    assert abs(trend(hits.sum(axis=0), totals.sum(axis=0), range(4)).z) > 4
    assert trend(hits, totals, range(4)).z == pytest.approx(0)


def test_slope_is_the_change_from_first_to_last():
    found = trend(np.array([0, 25, 50, 75, 100]), np.full(5, 100), range(5))
    assert found.slope == pytest.approx(1.0)
    assert found.p < 1e-20


@pytest.mark.parametrize(("hits", "totals"), [([5, 5], [5, 5]), ([0, 0], [5, 5]), ([3, 0], [5, 0]), ([0], [1])])
def test_no_trend_can_show(hits, totals):
    assert trend(np.array(hits), np.array(totals), range(len(hits))) is None


def binomial_two_sided(k, n):
    """Twice the smaller tail, at most 1."""
    return min(1.0, 2 * sum(comb(n, i) for i in range(min(k, n - k) + 1)) / 2**n)


@pytest.mark.parametrize(("gained", "lost", "n"), [(9, 1, 60), (0, 0, 10), (3, 3, 20), (0, 12, 40), (1, 0, 1)])
def test_paired_change(gained, lost, n):
    found = paired(gained, lost, n)
    assert found.p == pytest.approx(binomial_two_sided(gained, gained + lost))
    assert found.difference == pytest.approx((gained - lost) / n)
    assert -1 <= found.low < found.high <= 1
    assert found.low < found.difference < found.high or n == 1


def test_the_paired_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    for cells in ([0.5, 0.15, 0.05, 0.3], [0.9, 0.02, 0.03, 0.05]):
        truth = cells[1] - cells[2]
        inside = 0
        for both in rng.multinomial(100, cells, size=1500):
            found = paired(int(both[1]), int(both[2]), 100)
            inside += found.low <= truth <= found.high
        assert inside / 1500 > 0.93


def test_nothing_to_compare():
    assert paired(0, 0, 0) is None
