"""Numbers, measures and dates of a text in one spelling, so that equal ones are equal however they are written.

"2 million" and "2,000,000", "1.5 km" and "1500 metres", "3 May 1990" and "1990-05-03". Two numbers of different
precision are equal where the finer one rounds to the coarser ("78" and "78.37").
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fractions import Fraction

from core.pairs.wording import words

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH = "|".join(f"{m[:3]}(?:{m[3:]})?" if len(m) > 3 else m for m in _MONTHS) + "|sept"
_DATE = re.compile(
    rf"\b(?P<iso>\d{{4}})-(?P<iso_month>\d{{2}})-(?P<iso_day>\d{{2}})\b"
    rf"|\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH})\b\.?,?(?:\s+(?P<year>\d{{4}}))?"
    rf"|\b(?P<month2>{_MONTH})\.?\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year2>\d{{4}}))?",
    re.IGNORECASE,
)
_TIMES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"
_MULTIPLE = re.compile(rf"({_NUMBER})\s*({'|'.join(_TIMES)})s?\b", re.IGNORECASE)
# Each unit in the smallest of its kind.
_UNITS: dict[str, tuple[int, str]] = {
    name: (factor, base)
    for names, factor, base in (
        ("mm millimetre millimeter", 1, "mm"), ("cm centimetre centimeter", 10, "mm"),
        ("m metre meter", 1000, "mm"), ("km kilometre kilometer", 10**6, "mm"),
        ("mg milligram", 1, "mg"), ("g gram", 1000, "mg"), ("kg kilogram kilo", 10**6, "mg"),
        ("ml millilitre milliliter", 1, "ml"), ("l litre liter", 1000, "ml"),
        ("s sec second", 1, "sec"), ("min minute", 60, "sec"), ("h hour", 3600, "sec"),
    )
    for name in names.split()
}  # fmt: skip
_MEASURE = re.compile(
    rf"({_NUMBER})\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})s?\b(?![\^²³/])", re.IGNORECASE
)
# "cm^2" has no number of its own, and neither has the mark of a list's item.
_EXPONENT = re.compile(r"(?<=[a-z])\^\(?-?\d+\)?", re.IGNORECASE)
_MARK = re.compile(r"^\s*\(?\d{1,2}[.)]\s", re.MULTILINE)


def evened(text: str, measures: bool = True) -> str:
    """The text with dates, multiples and, where ``measures``, measures in one spelling."""
    text = _DATE.sub(_date, _MARK.sub("", text))
    text = _MULTIPLE.sub(lambda m: _plain(_value(m[1]) * _TIMES[m[2].lower()]), text)
    return _EXPONENT.sub("", _MEASURE.sub(_measure, text) if measures else text)


def numbers(text: str, measures: bool = True) -> frozenset[str]:
    """The numbers and dates of a text in one spelling."""
    read = words(evened(text, measures))
    return frozenset(w for w, n in zip(read.stems, read.numeric, strict=True) if n and any(c.isdigit() for c in w))


def last_number(text: str) -> str | None:
    """The number in the last sentence that holds one, if that is the text's last sentence."""
    sentence = re.split(r"(?<=[.!?])\s+|\n+", text.strip())[-1]
    read = words(evened(sentence))
    return next((w for w, n in zip(read.stems[::-1], read.numeric[::-1], strict=True) if n and w[-1:].isdigit()), None)


def equal(a: str, b: str) -> bool:
    """Whether two numbers in one spelling are the same, up to the rounding of the coarser one."""
    if a == b:
        return True
    try:
        x, y = Fraction(a), Fraction(b)
    except (ValueError, ZeroDivisionError):
        return False
    places = min(_places(x), _places(y))
    if places == _places(x) == _places(y):
        # Two whole numbers are two; two decimals may be one value, rounded up and down ("25.12", "25.13").
        return places >= 2 and abs(x - y) <= Fraction(1, 10**places)
    return abs(x - y) < Fraction(1, 2 * 10**places)


def apart(a: Collection[str], b: Collection[str]) -> tuple[set[str], set[str]]:
    """The numbers of each side that the other side has not."""
    left = {x for x in a if not any(equal(x, y) for y in b)}
    return left, {y for y in b if not any(equal(x, y) for x in a)}


def _places(x: Fraction) -> int:
    """Decimal places, at most 6."""
    return next((n for n in range(6) if (x * 10**n).denominator == 1), 6)


def _value(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _plain(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.6f}".rstrip("0")


def _measure(match: re.Match[str]) -> str:
    factor, base = _UNITS[match[2].lower()]
    return f"{_plain(_value(match[1]) * factor)} {base}"


def _date(match: re.Match[str]) -> str:
    if match["iso"]:
        return f"{match['iso']}/{match['iso_month']}/{match['iso_day']}"
    name = (match["month"] or match["month2"]).lower()
    month = next(i for i, m in enumerate(_MONTHS, 1) if m[:3] == name[:3])
    year, day = match["year"] or match["year2"], int(match["day"] or match["day2"])
    return f"{year}/{month:02}/{day:02}" if year else f"{month:02}/{day:02}"
