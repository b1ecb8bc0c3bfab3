"""Cases that a person would call right or wrong."""

import pytest

from core.plugins import kind


@pytest.mark.parametrize(
    ("scorer", "output", "target", "right"),
    [
        ("exact", " Paris\n", "Paris", True),
        ("exact", "paris", "Paris", False),
        ("normalised", "“paris”.", "Paris", True),
        ("normalised", "C", "C#", False),
        ("normalised", "5", "-5", False),
        ("normalised", "３", "3", True),
        ("numeric", "so it is $1,234.50", "1234.5", True),
        ("numeric", "75%", "3/4", True),
        ("numeric", "−7", "-7", True),
        ("numeric", "It was 12 in 2020", "12", False),
        ("numeric", "1e3", "1000", True),
        ("numeric", "no number", "5", False),
        ("numeric", "1.", "1", True),
        ("numeric", "Paris", "paris", True),
        ("choice", "The answer is (B).", "B", True),
        ("choice", "B) a cat", "b. option: B", True),
        ("choice", "A cat sat", "A", False),
        ("choice", "Answer: C", "(C) rain", True),
        ("choice", "D", "B", False),
    ],
)
def test_right_or_wrong(scorer, output, target, right):
    found = kind("scorers", scorer)
    assert found.score(output, target, {s.name: s.default for s in found.settings}) == float(right)


def test_f1_equals_the_textbook_formula():
    score = kind("scorers", "token_f1").score
    said = "The tower of Bram was built by Orlan in the spring of the year and is made of grey stone."
    for other in (said.replace("Orlan", "Vesk"), said.replace("Bram", "Tor").replace("grey stone", "oak")):
        assert score(other, said, {}) <= 0.5
    assert (
        score(
            said.replace("was built by Orlan in the spring of the year", "was built in the spring by Orlan"), said, {}
        )
        > 0.8
    )
    f1 = kind("scorers", "token_f1").score("the cat sat", "the cat sat down now", {})
    precision, recall = 3 / 3, 3 / 5
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert kind("scorers", "token_f1").score("東京", "東京都", {}) == pytest.approx(0.8)
