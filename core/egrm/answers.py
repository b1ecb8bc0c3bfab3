"""The answer in a generated text, and when two answers are the same.

An answer that cannot be found is a *failure* with a reason, never an empty string: empty strings would agree with each
other and count as a consensus.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.scorers.choice import letter
from core.scorers.numeric import numbers
from core.text.words import normalised

How = Literal["marker", "last line", "none"]

# What announces an answer, strongest first; the last occurrence counts. A marker of a weaker kind is looked for only
# where there is none of a stronger one.
MARKERS: tuple[re.Pattern[str], ...] = (
    re.compile(r"####[ \t]*(?P<answer>[^\n]*)"),
    re.compile(r"^[ \t>*]*(?:A|ANSWER)[ \t]*:[ \t*]*(?P<answer>[^\n]*)", re.MULTILINE),
    re.compile(r"\b(?:final[ \t]+)?answer\**[ \t]*(?:is\b|:)[ \t:*]*(?P<answer>[^\n]*)", re.IGNORECASE),
    re.compile(r"\btherefore,[ \t]*(?P<answer>[^\n]*)", re.IGNORECASE),
)
# The rest of a sentence after an answer: "The answer is 5. This is because ..."
_SENTENCE = re.compile(r"(?<=[^\d\s])[.!?]\s+(?=[A-Z])|(?<=\d)\.\s+(?=[A-Z])")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|left|right)\b|\\[,;!$%]?")
_OPTION = re.compile(r"^\s*\(?([A-J])[).:]\s+(\S.*?)\s*$", re.MULTILINE)

NO_ANSWER, CUT, REFUSED = "no answer in the expected form", "cut before an answer", "refused by the chat template"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a text answers.

    Attributes:
        raw: the answer's own words, None where there is none.
        how: ``marker`` (announced), ``last line`` (taken because nothing announced one), ``none``.
        failure: why there is no answer; empty where there is one.
    """

    raw: str | None
    how: How
    failure: str = ""


def extract(text: str, complete: bool, strict: bool = False) -> Answer:
    """The answer in ``text``.

    Args:
        text: what was generated, without the stop token.
        complete: it ended by itself. The last line of a text that was cut is not an answer.
        strict: only an announced answer counts.
    """
    words = boxed(text)
    if words is None:
        for marker in MARKERS:
            matches = [m.group("answer").strip() for m in marker.finditer(text)]
            if matches and matches[-1]:
                words = _SENTENCE.split(matches[-1])[0].strip()
                break
    if words:
        return Answer(words, "marker")
    if not complete:
        return Answer(None, "none", CUT)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if strict or not lines:
        return Answer(None, "none", NO_ANSWER)
    return Answer(lines[-1], "last line")


def boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{...}`` whose braces close; None without one."""
    at = text.rfind("\\boxed{")
    while at >= 0:
        depth, start = 1, at + len("\\boxed{")
        for i in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                return text[start:i].strip() or None
        at = text.rfind("\\boxed{", 0, at)
    return None


def plain(text: str) -> str:
    r"""Mathematics in LaTeX as plain text: ``\frac{1}{2}`` is ``1/2``."""
    return _LATEX.sub("", _FRACTION.sub(r"\1/\2", text)).strip("$ ")


# -------------------------------------------------------------------------------------------------- same answer


def exact_key(answer: str, options: Mapping[str, str]) -> str | None:
    """As the author's code compares: lower case, without the punctuation at the end."""
    return answer.strip().lower().rstrip(".,;:!?") or None


def words_key(answer: str, options: Mapping[str, str]) -> str | None:
    return normalised(answer) or None


def numeric_key(answer: str, options: Mapping[str, str]) -> str | None:
    """The number as an exact fraction: ``0.5``, ``1/2``, ``50 %`` and ``\\frac{1}{2}`` are one answer.

    After an equals sign it is the last number, else the first: words behind an answer may hold other numbers.
    """
    text = plain(answer)
    tail = text.rsplit("=", 1)[-1] if "=" in text else text
    values = numbers(tail) or numbers(text)
    return str(values[0]) if values else None


def choice_key(answer: str, options: Mapping[str, str]) -> str | None:
    """The option's letter; an answer in the words of an option stands for its letter."""
    option = letter(answer)
    if option is not None and (not options or option in options):
        return option
    words = normalised(answer)
    same = [name for name, text in options.items() if normalised(text) == words]
    return same[0] if len(same) == 1 else None


_KEYS: dict[str, Callable[[str, Mapping[str, str]], str | None]] = {
    "exact": exact_key,
    "words": words_key,
    "numeric": numeric_key,
    "choice": choice_key,
}
NORMALISERS: dict[str, str] = {
    "exact": "Same text, letter case and closing punctuation aside (the author's code)",
    "words": "Same words",
    "numeric": "Same number",
    "choice": "Same option",
}
FORM_FAILURE = {"numeric": "no number in the answer", "choice": "no option in the answer"}


def key(raw: str | None, normaliser: str, options: Mapping[str, str] | None = None) -> str | None:
    """What two equal answers have in common; None where ``raw`` has not the form that the normaliser asks for."""
    return None if raw is None else _KEYS[normaliser](raw, options or {})


def options_of(question: str) -> dict[str, str]:
    """Letter to text of the options that a question lists, ``A) Rome``; empty where it lists fewer than two."""
    options = dict(_OPTION.findall(question))
    wanted = [chr(ord("A") + i) for i in range(len(options))]
    return options if len(options) > 1 and sorted(options) == wanted else {}


def suggest_normaliser(golds: Sequence[str]) -> str:
    """The normaliser that at least 90 % of the gold answers have the form of; ``words`` where none fits."""
    golds = [g for g in golds if g.strip()]
    if not golds:
        return "words"
    if sum(letter(g) is not None for g in golds) >= 0.9 * len(golds):
        return "choice"
    if sum(len(numbers(plain(g))) >= 1 and len(plain(g).split()) <= 4 for g in golds) >= 0.9 * len(golds):
        return "numeric"
    return "words"
