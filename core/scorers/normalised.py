"""The same words: case, spacing and wrapping punctuation aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.scorers._base import Scorer
from core.text.words import answer_words, normalised


class Normalised(Scorer):
    name = "normalised"
    label = "Same words"
    help = "Right if the words are the same in the same order; case, spacing and wrapping punctuation do not count."
    specific = 1
    made_for = "have at most 12 words"

    def fits(self, target: str) -> bool:
        return len(answer_words(target)) <= 12

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        return float(normalised(output) == normalised(target))


KIND = Normalised()
