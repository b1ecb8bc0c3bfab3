"""The learned rate of a pattern without the sample itself."""

import numpy as np

from core.derived.pattern import KIND, rate_of_others
from tests.contract.test_derived import SPEC, random_table


def test_rate_of_others_row_by_row():
    rng = np.random.default_rng(0)
    content = rng.integers(0, 60, 200)
    group = np.where(content < 6, np.nan, content % 9).astype(np.float64)
    given = np.where(content % 7 == 0, np.nan, content % 2).astype(np.float64)
    keys = [f"k{c}" for c in content]
    found = rate_of_others(group, given, keys)
    for i in range(200):
        others = [given[j] for j in range(200) if group[j] == group[i] and keys[j] != keys[i] and np.isfinite(given[j])]
        assert (np.isnan(found[i]) and not others) or np.isclose(found[i], np.mean(others))
    assert np.isnan(found).any()
    assert np.isfinite(found).any()


def test_copies_of_a_row_do_not_vouch_for_it():
    keys = ("a", "a", "a", "b")
    found = rate_of_others(np.zeros(4), np.array([0.0, 0.0, 0.0, 1.0]), keys)
    assert found.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_length_among_the_learned():
    table = random_table(5)
    found = KIND.derive(SPEC, table)["target_rank"]
    right = (table.get("greedy_exact") == 1) | (table.get("right_80") >= table.get("turns_asked"))
    lengths = table.get("n_target")
    theirs = [v for v in lengths[right] if np.isfinite(v)]
    for length, place in zip(lengths, found, strict=True):
        if np.isfinite(length):
            below = sum(v < length for v in theirs) + sum(v == length for v in theirs) / 2
            assert np.isclose(place, below / len(theirs))
