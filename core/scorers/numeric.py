"""The same final number, however it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from core.scorers._base import Scorer
from core.text.words import normalised
from core.types import Setting

_NUMBER = re.compile(
    r"""(?<![\w.]) [-+]? \$?
    (?: (?: \d{1,3}(?:[,\u00a0\u202f]\d{3})+(?!\d) | \d+ ) (?:\.\d*)? | \.\d+ )   # 1,234.5  12.  .5
    (?: [eE][-+]?\d{1,3} )? (?: \s*/\s*\d+ )? \s*%?""",
    re.VERBOSE,
)


def numbers(text: str) -> list[Fraction]:
    """All numbers in the text, exactly: ``1,234.50``, ``3/4``, ``12 %`` (= 0.12), ``1e3``."""
    values = []
    for match in _NUMBER.finditer(text.replace("−", "-")):
        piece = match.group().replace("$", "")
        percent = piece.rstrip().endswith("%")
        piece = re.sub(r"[,%\s]", "", piece).rstrip(".")
        top, slash, bottom = piece.partition("/")
        try:
            value = Fraction(top) / (Fraction(bottom) if slash else 1)
        except (ValueError, ZeroDivisionError):
            continue
        values.append(value / 100 if percent else value)
    return values


class Numeric(Scorer):
    name = "numeric"
    label = "Same number"
    help = (
        "Right if the last number of the output equals the last number of the target; "
        "targets without a number are compared word by word."
    )
    settings = (
        Setting(
            "tolerance", "float", 0.0, "Relative tolerance", "0 asks for the same value.", minimum=0.0, maximum=1.0
        ),
    )
    specific = 3
    made_for = "are one number"

    def fits(self, target: str) -> bool:
        return len(numbers(target)) == 1 and len(target.split()) <= 3

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        target_numbers, output_numbers = numbers(target), numbers(output)
        if not target_numbers:
            return float(normalised(output) == normalised(target))
        if not output_numbers:
            return 0.0
        limit = Fraction(str(settings.get("tolerance", 0.0))) * abs(target_numbers[-1])
        return float(abs(output_numbers[-1] - target_numbers[-1]) <= limit)


KIND = Numeric()
