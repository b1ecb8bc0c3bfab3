"""Overlap of words, for long answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from core.scorers._base import words

# Scripts written without spaces: every character counts as a word.
_SCRIPTS = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_UNSPACED = re.compile(rf"[{_SCRIPTS}]|[^{_SCRIPTS}]+")


def tokens(text: str) -> list[str]:
    return [piece for word in words(text) for piece in _UNSPACED.findall(word)]


class TokenF1:
    """F1 over bags of words, as in SQuAD (Rajpurkar et al. 2016), without dropping articles."""

    name = "token_f1"
    label = "Word overlap (F1)"
    help = "Harmonic mean of the shares of words found; counts as right from the success cut upwards."
    settings = ()
    specific = 0
    made_for = ""
    graded = True

    def fits(self, target: str) -> bool:
        return True

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        got, wanted = Counter(tokens(output)), Counter(tokens(target))
        if not got or not wanted:
            return float(output.strip() == target.strip())
        common = (got & wanted).total()
        return 2.0 * common / (got.total() + wanted.total())


KIND = TokenF1()
