"""The rule from signals to status, against brute force and by hand."""

import math

import numpy as np
import pytest

from core.status import PERCENT, STATUSES, columns_read, explain_status, judge_status, rate_below, rate_interval
from core.types import SignalTable, Thresholds


def judge(**columns) -> str:
    """Status of one sample with these signals, the rest not measured."""
    table = SignalTable(("x",), {name: np.array([value], dtype=float) for name, value in columns.items()})
    return STATUSES[judge_status(table, Thresholds(), 0.7)[0]].value


def asked(right: int, turns: int = 1, draws: int = 0, hits: int = 0) -> dict[str, float]:
    return {
        "greedy_exact": 0, "turns": turns, "turns_exact": 0, "turns_asked": turns, "right_80": right,
        "draws": draws or math.nan, "hits_80": hits if draws else math.nan, "logp_07": -50.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "status"),
    [
        ({"greedy_exact": 1, "turns": 1}, "learned"),
        (asked(right=1), "learned"),
        (asked(right=0, draws=10, hits=0), "unlearned"),
        (asked(right=0, draws=20, hits=1), "unlearned"),
        (asked(right=0, draws=4, hits=4), "partly"),
        (asked(right=0, draws=20, hits=4), "partly"),
        (asked(right=0, draws=4, hits=0), "unknown"),
        (asked(right=0), "unknown"),
        (asked(right=1, turns=3, draws=10, hits=0), "partly"),
        ({**asked(right=0, turns=3, draws=10, hits=0), "turns_exact": 2}, "partly"),
        ({**asked(right=0), "logp_07": math.log(0.4)}, "partly"),
        ({"greedy_exact": 0, "turns": 1}, "unknown"),
        ({"turns": 0}, "unknown"),
        ({"refused": 1}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_by_hand(signals, status):
    assert judge(**signals) == status


def test_posterior_equals_numeric_integration():
    grid = np.linspace(0, 1, 200_001)
    for hits, draws in [(0, 5), (0, 10), (3, 20), (20, 20), (1, 4)]:
        density = grid**hits * (1 - grid) ** (draws - hits)
        below = density[grid < 0.2].sum() / density.sum()
        assert rate_below(0.2, hits, draws) == pytest.approx(below, abs=1e-4)
        low, high = rate_interval(hits, draws)
        inside = density[(grid >= low) & (grid <= high)].sum() / density.sum()
        assert inside == pytest.approx(0.9, abs=1e-3)


def test_looking_often_does_not_spoil_the_posterior():
    """Rates drawn from the prior, drawing stopped by the rule: among those called below, as many are as promised."""
    rng = np.random.default_rng(0)
    called = right = 0
    for _ in range(4000):
        p = rng.random()
        outcomes = rng.random(20) < p
        for look in (4, 10, 20):
            below = float(rate_below(0.2, outcomes[:look].sum(), look))
            if below >= 0.9 or below <= 0.1:
                break
        if below >= 0.9:
            called += 1
            right += p < 0.2
    assert called > 300
    assert right / called >= 0.9


def test_zero_of_five_alone_never_says_unlearned():
    assert judge(**asked(right=0, draws=5, hits=0)) == "unknown"


def test_moving_thresholds_moves_status():
    table = SignalTable(("a",), {k: np.array([v], float) for k, v in asked(right=0, draws=20, hits=3).items()})
    strict = judge_status(table, Thresholds(unlearned_below=0.05), 0.7)
    loose = judge_status(table, Thresholds(unlearned_below=0.5), 0.7)
    assert [STATUSES[strict[0]].value, STATUSES[loose[0]].value] == ["partly", "unlearned"]
    graded = {f"right_{c}": np.array([float(c <= 70)]) for c in PERCENT} | {"turns_asked": np.array([1.0])}
    table = SignalTable(("a",), {"greedy_exact": np.array([0.0]), "turns": np.array([1.0]), **graded})
    assert STATUSES[judge_status(table, Thresholds(success_cut=0.7), 0.7)[0]] == "learned"
    assert STATUSES[judge_status(table, Thresholds(success_cut=0.8), 0.7)[0]] == "unknown"


def test_only_the_columns_named_are_read():
    rng = np.random.default_rng(1)
    names = columns_read(Thresholds(), 0.7)
    full = {n: rng.integers(0, 3, 200).astype(float) for n in [*names, "nll", "right_50", "logp_03"]}
    few = {n: full[n] for n in names}
    keys = ("k",) * 200
    assert (
        judge_status(SignalTable(keys, full), Thresholds(), 0.7)
        == judge_status(SignalTable(keys, few), Thresholds(), 0.7)
    ).all()


def test_order_of_samples_does_not_matter_and_inputs_stay():
    rng = np.random.default_rng(2)
    columns = {
        n: np.where(rng.random(300) < 0.2, np.nan, rng.integers(0, 4, 300)) for n in columns_read(Thresholds(), 0.7)
    }
    before = {n: v.copy() for n, v in columns.items()}
    out = judge_status(SignalTable(("k",) * 300, columns), Thresholds(), 0.7)
    shuffle = rng.permutation(300)
    again = judge_status(SignalTable(("k",) * 300, {n: v[shuffle] for n, v in columns.items()}), Thresholds(), 0.7)
    assert (out[shuffle] == again).all()
    for name, values in columns.items():
        np.testing.assert_array_equal(values, before[name])


def test_sentences_carry_their_numbers():
    row = {**asked(right=0, draws=10, hits=0), "score": 0.1, "first_miss": 3.0}
    said = [r.text for r in explain_status(row, Thresholds(), 0.7, "same words")]
    assert "at its token 4" in said[0]
    assert "0 of 10 draws at temperature 0.7" in said[1]
    assert "with probability 0.91" in said[1]
    assert explain_status({"refused": 1.0}, Thresholds(), 0.7, "x")[0].text.startswith("The chat template refuses")
