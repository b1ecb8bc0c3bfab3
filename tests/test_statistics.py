"""Tests and intervals against formulas written another way."""

import math
from itertools import permutations
from math import comb

import numpy as np
import pytest

from core.statistics import (
    auroc,
    bootstrap_mean,
    bootstrap_ratio,
    bootstrap_shares,
    brier,
    calibration_error,
    paired,
    trend,
    wilson,
)


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


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 7), (5, 5), (40, 1000)])
def test_wilson_ends_where_the_score_test_just_rejects(k, n):
    for limit in wilson(k, n):
        if 0 < limit < 1:
            assert abs(k / n - limit) / math.sqrt(limit * (1 - limit) / n) == pytest.approx(1.959964, abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_ranking_and_calibration_against_their_definitions():
    rng = np.random.default_rng(1)
    score, right = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in score[right] for b in score[~right]]
    assert auroc(score, right) == pytest.approx(np.mean(pairs))
    assert math.isnan(auroc(score, np.ones(60, bool)))
    assert brier(np.array([1.0, 0.5]), np.array([True, False])) == 0.125
    assert calibration_error(np.array([0.8, 0.8, 0.4]), np.array([1, 0, 0])) == pytest.approx(2 / 3 * 0.3 + 0.4 / 3)
    confidence, right = rng.random(200), rng.random(200) < 0.5
    error = 0.0
    for b in range(10):
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if b / 10 <= c < (b + 1) / 10]
        error += abs(sum(c - r for c, r in inside)) / 200
    assert calibration_error(confidence, right, 10) == pytest.approx(error)
    assert math.isnan(calibration_error(confidence[:0], right[:0]))


def test_bootstrap_intervals_have_the_width_of_the_normal_ones():
    rng = np.random.default_rng(1)
    found = bootstrap_mean(rng.normal(size=400))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 / 20, rel=0.15)
    parts, wholes = rng.integers(0, 2, 300), np.ones(300)
    wholes[::3], parts[::3] = 0, 0
    found = bootstrap_ratio(parts, wholes)
    assert found.value == parts.sum() / 200 and found.n == 200
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.5 / 200**0.5, rel=0.15)
    assert math.isnan(bootstrap_ratio(parts[:3], np.zeros(3)).value) and bootstrap_mean(np.empty(0)).n == 0


def test_bootstrap_shares_are_those_of_their_counts():
    found = bootstrap_shares([30, 0, 70])
    assert [s.value for s in found] == [0.3, 0.0, 0.7] and found[1].high == 0
    assert (found[0].high - found[0].low) / 2 == pytest.approx(1.96 * (0.3 * 0.7 / 100) ** 0.5, rel=0.15)
    assert math.isnan(bootstrap_shares([0, 0])[0].value)
