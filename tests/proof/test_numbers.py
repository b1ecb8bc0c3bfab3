"""Intervals of a proof, against slow independent twins."""

import itertools
import math

import numpy as np
import pytest

from core.proof.numbers import mean_change, outcome, paired_difference, sentences, share, summary


def pairs(a, b, c, d):
    return [1] * (a + b) + [0] * (c + d), [1] * a + [0] * b + [1] * c + [0] * d


@pytest.mark.parametrize(("p", "q", "both", "n"), [(0.8, 0.2, 0.2, 30), (0.5, 0.4, 0.3, 25), (0.95, 0.9, 0.88, 40)])
def test_the_paired_interval_covers_as_often_as_it_says(p, q, both, n):
    """Exact coverage over all tables of n pairs drawn with these probabilities."""
    cells = np.array([both, p - both, q - both, 1 - p - q + both])
    rng = np.random.default_rng(0)
    tables, times = np.unique(rng.multinomial(n, cells, size=4000), axis=0, return_counts=True)
    inside = 0
    for table, count in zip(tables, times, strict=True):
        _, low, high = paired_difference(*pairs(*table))
        inside += count * (low <= p - q <= high)
    assert 0.93 <= inside / times.sum() <= 0.99


def test_the_paired_interval_keeps_a_width_and_its_sign():
    difference, low, high = paired_difference([1] * 20, [0] * 20)
    assert difference == 1.0 and 0.7 < low < 1.0 and high == 1.0
    difference, low, high = paired_difference([1] * 20, [1] * 20)
    assert difference == 0.0 and low < 0 < high
    for table in itertools.product((0, 3, 9), repeat=4):
        if sum(table):
            one, other = pairs(*table)
            d, low, high = paired_difference(one, other)
            assert paired_difference(other, one) == pytest.approx((-d, -high, -low))
            assert low - 1e-12 <= d <= high + 1e-12


def test_mean_change_is_the_textbook_t_interval():
    before, after = [1.0, 2.0, 3.0, None], [0.5, 2.5, 2.0, 1.0]
    found = mean_change(before, after)
    moved = np.array([-0.5, 0.5, -1.0])
    assert found["n"] == 3 and found["mean"] == pytest.approx(moved.mean())
    # 4.302653 is the 97.5 % quantile of t with two degrees of freedom.
    half = 4.302653 * moved.std(ddof=1) / math.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((moved.mean() - half, moved.mean() + half), abs=1e-5)
    assert mean_change([1.0], [2.0]) is None


def arm(right, kept=(1, 1)):
    return {"right": right, "asked": [None] * len(right), "kept": list(kept),
            "aside": [], "in_mix": [i % 2 for i in range(len(kept))], "nll": [1.0, 2.0],
            "treated_nll": [1.0] * len(right), "training": {}, "seconds": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("treatment", "control", "off", "said"),
    [
        ([1] * 20, [0] * 20, [0] * 20, "specific"),
        ([1] * 20, [0] * 20, [1] * 20, "works"),
        ([1] * 12 + [0] * 8, [0] * 8 + [1] * 12, [0] * 20, "open"),
        ([0] * 20, [1] * 20, [0] * 20, "against"),
    ],
)
def test_the_outcome_follows_the_intervals(treatment, control, off, said):
    arms = {"treatment": arm(treatment), "control": arm(control), "off_target": arm(off, (1, 0))}
    found = summary(arm([0] * 20), arms)
    assert found["outcome"] == said == outcome(found)
    assert found["arms"]["off_target"]["lost"]["k"] == 1 and found["n"] == 20
    assert found["arms"]["treatment"]["asked_otherwise"] is None


def test_nothing_asked_has_no_share():
    assert share([None, None]) is None
    assert share([1, None, 0])["n"] == 2


def test_what_an_answer_that_only_one_arm_trains_on_can_show_is_said():
    arms = {name: arm([int(name == "treatment")] * 9) for name in ("treatment", "control", "off_target")}
    result = summary(arm([0] * 9), arms)
    assert "judged by an answer" not in " ".join(sentences(result, "this", "that"))
    said = " ".join(sentences(result | {"mended": 2}, "this", "that"))
    assert "2 of the 9 are judged by an answer that a decision or a repair wrote" in said
