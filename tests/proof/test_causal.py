"""How far a proof moves a confidence: Bayes on the odds, by what planted worlds showed, and never far."""

import itertools

import pytest

from core.judge.diagnose import CAUSES
from core.proof.causal import MOST, PATTERNS, fitted, moved, pattern, ratios, reason


def test_every_outcome_has_a_pattern():
    assert {pattern(*shown) for shown in itertools.product((0, 1), repeat=3)} == set(PATTERNS.values())
    assert pattern(1, 0, 0) == "this recipe alone" and pattern(1, 1, 0) == "the uniform mix"


def test_a_ratio_is_that_of_the_shares_and_rare_patterns_say_little():
    right = {"this recipe alone": 60_000, "nothing": 40_000}
    other = {"this recipe alone": 20_000, "nothing": 79_990, "both recipes": 10}
    found = fitted(right, other)
    assert found["this recipe alone"] == pytest.approx(3.0, rel=0.03)
    assert found["nothing"] == pytest.approx(0.5, rel=0.03)
    assert 0.5 < found["both recipes"] < 1 and found["the uniform mix"] == 1
    assert fitted({"nothing": 1_000}, {"both recipes": 1_000})["nothing"] == MOST
    assert set(fitted(right, {}).values()) == {1.0}


def test_the_measured_table_covers_the_causes_within_its_bounds():
    assert set(ratios()) == set(CAUSES)
    for cause in CAUSES:
        assert set(ratios()[cause]) == set(PATTERNS.values())
        assert all(1 / MOST <= r <= MOST for r in ratios()[cause].values())


def test_odds_are_multiplied(monkeypatch):
    monkeypatch.setattr("core.proof.causal.ratios", lambda: {"base_conflict": {"nothing": 0.5}})
    assert moved("base_conflict", 0.6, "nothing") == pytest.approx(0.75 / 1.75)  # odds 1.5 become 0.75
    assert moved("base_conflict", 0.6, "both recipes") == moved("other", 0.6, "nothing") == pytest.approx(0.6)
    assert moved("base_conflict", 1.0, "nothing") == 1.0 and moved("base_conflict", 0.0, "nothing") == 0.0


@pytest.mark.parametrize(("before", "after", "favours"), [(0.6, 0.7, "for"), (0.6, 0.4, "against"), (0.6, 0.6, "note"),
                                                          (None, None, "note")])  # fmt: skip
def test_the_sentence_says_which_way(before, after, favours):
    found = reason("both recipes", "Of 24 samples …", before, after)
    assert found.favours == favours and "Of 24 samples" in found.text
    assert ("60%" in found.text) == (before is not None)
