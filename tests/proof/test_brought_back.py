"""Every outcome of the three arms has a word and a sentence."""

import itertools

from core.proof.brought_back import pattern, sentence


def test_every_outcome_has_a_word_and_a_sentence():
    for right in itertools.product((0, 1), repeat=3):
        assert sentence(pattern(*right)).startswith("Trained on a copy")
    assert pattern(1, 0, 0) == "this recipe alone" and pattern(0, 0, 1) == "the other recipe alone"
    assert {pattern(a, 1, b) for a in (0, 1) for b in (0, 1)} == {"the uniform mix"}
