"""Tests and intervals against formulas written another way."""

from itertools import permutations

import numpy as np
import pytest

from core.statistics import trend


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
