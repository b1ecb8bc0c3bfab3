"""The same option letter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.scorers._base import Scorer
from core.text.words import normalised

# "B", "(B)", "B.", "B) text", "Answer: B", "The answer is (B)"; a letter that begins a word is none.
_STATED = re.compile(r"(?:answer|option|choice)\s*(?:is|:)?\s*[\(\[\*\"']*([A-J])(?![\w'’])", re.IGNORECASE)
_LEADING = re.compile(r"^[\s\(\[\*\"']*([A-J])(?:[\)\].:,\"'\*]|\s*$|\s+[-–—]\s)")


def letter(text: str) -> str | None:
    """The option the text settles on: one stated as the answer (the last such), else a leading one; None if neither."""
    stated = _STATED.findall(text)
    if stated:
        return str(stated[-1]).upper()
    leading = _LEADING.match(text)
    return leading.group(1).upper() if leading else None


class Choice(Scorer):
    name = "choice"
    label = "Same option"
    help = "Right if the output settles on the target's option letter (A to J); others are compared word by word."
    specific = 4
    made_for = "are an option letter"

    def fits(self, target: str) -> bool:
        return letter(target) is not None

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        target_letter = letter(target)
        if target_letter is None or output == target:
            return float(normalised(output) == normalised(target))
        return float(letter(output) == target_letter)


KIND = Choice()
