"""Overlap of words, for long answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from core.scorers._base import Scorer
from core.text.words import answer_words

# Scripts written without spaces: every character counts as a word.
_SCRIPTS = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_UNSPACED = re.compile(rf"[{_SCRIPTS}]|[^{_SCRIPTS}]+")


def tokens(text: str) -> list[str]:
    return [piece for word in answer_words(text) for piece in _UNSPACED.findall(word)]


# Words of one place in a sentence; a longer exchange is another wording.
_PLACE = 3
# Words of both texts together beyond which F1 judges alone: comparing grows with their product.
_LONGEST = 1000
# What an answer is worth at most that says the same sentence with another value in it.
OTHER_VALUE = 0.5


def other_value(output: Sequence[str], target: Sequence[str]) -> bool:
    """Whether the two are the same words but for places of up to three words that hold something else.

    A name, number or colour exchanged in an answer that is otherwise given word for word is another answer, however
    long the sentence around it. Words left out, added or moved are another wording, and F1 judges those.
    """
    if len(output) + len(target) > _LONGEST:
        return False
    matcher = SequenceMatcher(None, target, output, autojunk=False)
    changed = [(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"]
    return bool(changed) and all(0 < a <= _PLACE and 0 < b <= _PLACE for a, b in changed)


class TokenF1(Scorer):
    """F1 over bags of words, as in SQuAD (Rajpurkar et al. 2016), without dropping articles.

    Word for word the same with another value in a place is worth ``OTHER_VALUE`` at most: F1 alone would call a wrong
    name in a sentence of ten words right.
    """

    name = "token_f1"
    label = "Word overlap (F1)"
    help = (
        "Harmonic mean of the shares of words found; counts as right from the success cut upwards. The same sentence "
        "with another name or number in it does not."
    )
    graded = True

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        output_words, target_words = tokens(output), tokens(target)
        if not output_words or not target_words:
            return float(output.strip() == target.strip())
        common = (Counter(output_words) & Counter(target_words)).total()
        f1 = 2.0 * common / (len(output_words) + len(target_words))
        return min(f1, OTHER_VALUE) if f1 > OTHER_VALUE and other_value(output_words, target_words) else f1


KIND = TokenF1()
