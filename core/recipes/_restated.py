"""Restatements that a language model wrote: checked by rule before they are trained on, and always marked.

A restatement is kept where it holds the sample's answer and names nothing that the sample does not name. The check is
strict on purpose: a good restatement that is left out costs a wording, a wrong one teaches a mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import UserError

# A file of restatements that is larger is something else.
MOST_BYTES = 256 << 20
# Characters of a question or an answer; a restatement is about as long as its sample.
MOST_CHARS = 4_000
_WORD = re.compile(r"\w+", re.UNICODE)
_DENIAL = re.compile(r"\b(?:not|never|no|neither|nor|cannot|without)\b|n['’]t\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:^|[.!?:\n\"“(])\s*(\w+)", re.UNICODE)
# Words that open an English sentence with a capital and name nothing.
_OPENERS = frozenset(
    """
    a according an and answer are as asked at by can could did do does fact for from give here how i if in is it its
    name now of on one please question remember say state tell that the there these they this those to under was we
    were what when where which who whom whose why with would you your
    """.split()  # noqa: SIM905
)


class Restatement(NamedTuple):
    """A question and its answer in other words, and what wrote them."""

    question: str
    answer: str
    writer: str


def objection(question: str, answer: str, restated: Restatement) -> str:
    """Why the restatement may not be used; empty where it may.

    Args:
        question, answer: the sample's own.
    """
    said = f"{restated.question}\n{restated.answer}"
    if not restated.question.strip() or not restated.answer.strip():
        return "a part is empty"
    if max(len(restated.question), len(restated.answer)) > MOST_CHARS:
        return "it is too long"
    if _plain(answer) not in _plain(restated.answer):
        return "its answer does not hold the sample's answer"
    if _DENIAL.search(said) and not _DENIAL.search(f"{question}\n{answer}"):
        return "it denies something"
    own = {word.casefold() for word in _WORD.findall(f"{question}\n{answer}")}
    lost = [word for word in _names(question) if word.casefold() not in {w.casefold() for w in _WORD.findall(said)}]
    if lost:
        return f"it does not name {lost[0]!r}"
    other = [word for word in _names(said) if word.casefold() not in own]
    return f"it names {other[0]!r}, which the sample does not" if other else ""


def _names(text: str) -> list[str]:
    """Numbers and words with a capital; a word that opens a sentence counts unless it is one that opens many."""
    openings = {match.start(1) for match in _SENTENCE.finditer(text)}
    names = []
    for match in _WORD.finditer(text):
        word = match.group()
        opens = match.start() in openings and word.casefold() in _OPENERS
        if any(c.isdigit() for c in word) or (word[0].isupper() and word != "I" and not opens):
            names.append(word)
    return names


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


def read(path: Path) -> dict[str, list[Restatement]]:
    """Restatements by the sample's id. Each line has ``id``, ``question``, ``answer`` and ``writer``.

    Raises:
        UserError: a file that is too large, or a line that is something else; names it.
    """
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"The file of restatements has more than {MOST_BYTES:,} bytes.", "", "Give a smaller one.")
    restatements: dict[str, list[Restatement]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
                parts = [value[name] for name in ("id", "question", "answer", "writer")]
            except (ValueError, RecursionError, LookupError, TypeError) as error:
                raise _not_one(number) from error
            if not all(isinstance(part, str) for part in parts):
                raise _not_one(number)
            restatements.setdefault(parts[0], []).append(Restatement(*parts[1:]))
    return restatements


def _not_one(number: int) -> UserError:
    return UserError(
        f"Line {number} of the restatements is none.",
        "Each line is a JSON object with id, question, answer and writer, all texts.",
        "Have them written by lacuna restate, or mend the line.",
    )


def parsed(reply: str, writer: str) -> list[Restatement]:
    """What a model wrote, as far as it is a JSON list of objects with ``question`` and ``answer``; else nothing."""
    start, end = reply.find("["), reply.rfind("]")
    try:
        values: Any = json.loads(reply[start : end + 1]) if 0 <= start < end else []
    except (ValueError, RecursionError):
        return []
    return [
        Restatement(value["question"].strip(), value["answer"].strip(), writer)
        for value in values
        if isinstance(value, Mapping)
        and isinstance(value.get("question"), str)
        and isinstance(value.get("answer"), str)
    ]
