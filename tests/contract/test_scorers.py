"""What every scorer must do, found by the folder scan."""

import random

import pytest

from core.plugins import kinds
from core.scorers import suggest

SCORERS = list(kinds("scorers").values())
TEXTS = [
    "Paris", "42", "B", "(C) because of rain", "The answer is D.", "3/4", "-7.5", "1,234", "50 %", "", "   ",
    "東京です", "½", "a long answer with many words that goes on\nover two lines.", "C#", "!!!",
    "I am A student", "{}", "\x1b[31mred",
]  # fmt: skip


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda s: s.name)
def test_a_score_is_a_share_and_the_target_itself_is_right(scorer):
    settings = {s.name: s.default for s in scorer.settings}
    rng = random.Random(1)
    for target in TEXTS:
        assert scorer.score(target, target, settings) == 1.0
        for _ in range(5):
            value = scorer.score(rng.choice(TEXTS), target, settings)
            assert 0.0 <= value <= 1.0
            if not scorer.graded:
                assert value in (0.0, 1.0)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda s: s.name)
def test_something_else_is_not_right(scorer):
    settings = {s.name: s.default for s in scorer.settings}
    for output, target in [("London", "Paris"), ("41", "42"), ("A", "B"), ("", "Paris")]:
        assert scorer.score(output, target, settings) < 0.5


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        (["12", "7", "3.5", "-4"], "numeric"),
        (["A", "B", "(C)", "D."], "choice"),
        (["Paris", "the red house", "42 and more"], "normalised"),
        ([" ".join(["word"] * 40)] * 3, "token_f1"),
        ([], "normalised"),
    ],
)
def test_the_suggestion_fits_the_data(targets, wanted):
    assert suggest(targets)[0] == wanted
