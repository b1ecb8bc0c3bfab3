"""Files of preference pairs and of labelled paths, as the benchmarks and trainers write them.

Read: RewardBench (``prompt``, ``chosen``, ``rejected``), RM-Bench (lists of three styles each), JudgeBench
(``question``, ``response_A``, ``response_B``, ``label``), LLaMA-Factory (``conversations``, ``messages`` or
``instruction`` with ``chosen`` and ``rejected``, or with an ``output`` of two, the better one first), in JSON or JSON
lines; and paths with labels, one question a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from core.egrm.answers import extract, key
from core.egrm.features import Path
from core.egrm.route import RouteItem
from core.egrm.scorer_inputs import Labelled
from core.errors import UserError
from core.types import Message, digest

SHAPES = {
    "rewardbench": "RewardBench",
    "rmbench": "RM-Bench",
    "judgebench": "JudgeBench",
    "llamafactory": "LLaMA-Factory preference rows",
}
EMPTY = "it has no records"
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(slots=True)
class Pairs:
    """What a file held: ``questions`` in judging mode, the shapes met, and rows that could not be read, with why."""

    questions: list[RouteItem] = field(default_factory=list)
    shapes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def records(path: FilePath) -> Iterator[tuple[int, Any]]:
    """(1-based number, value) of each record of a JSON list or of JSON lines; a broken line gives its error."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), 1)
            return
        except ValueError as error:
            raise UserError(
                f"{path.name} is not JSON.", str(error), "Write a JSON list or one object a line."
            ) from error
    # Not splitlines: JSON strings may hold line separators such as U+2028 as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                yield number, UserError(f"not JSON: {error}")


def read_pairs(path: FilePath) -> Pairs:
    """All pairs of a file.

    Raises:
        UserError: no pair could be read; says why for the first record.
    """
    pairs = Pairs()

    def take(row: Any) -> None:
        shape = shape_of(row)
        for question in _READERS[shape](row):
            pairs.questions.append(question)
            pairs.shapes[shape] = pairs.shapes.get(shape, 0) + 1

    pairs.problems = _unread(path, take)
    if not pairs.questions:
        raise UserError(
            f"{path.name} holds no preference pair that could be read.",
            f"The first reason: {[*pairs.problems, EMPTY][0]}",
            f"Shapes that are read: {', '.join(SHAPES.values())}.",
        )
    return pairs


def _unread(path: FilePath, take: Callable[[Any], None]) -> list[str]:
    """Hands each record of the file to ``take``; the reasons why some could not be taken."""
    problems = []
    for number, row in records(path):
        try:
            if isinstance(row, UserError):
                raise row
            take(row)
        except (UserError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            why = f"no field {error}" if isinstance(error, KeyError) else str(error)
            problems.append(f"record {number}: {why}")
    return problems


def shape_of(row: Any) -> str:
    """Which of ``SHAPES`` a record has."""
    if not isinstance(row, Mapping):
        raise UserError(f"a {type(row).__name__}, not an object")
    if {"response_A", "response_B"} <= row.keys():
        return "judgebench"
    if {"chosen", "rejected"} <= row.keys():
        if isinstance(row["chosen"], list) and isinstance(row.get("prompt"), str):
            return "rmbench" if all(isinstance(c, str) for c in row["chosen"]) else "rewardbench"
        return "rewardbench" if "prompt" in row else "llamafactory"
    if "instruction" in row and isinstance(row.get("output"), list):
        return "llamafactory"
    raise UserError(f"no chosen and rejected reply among the fields {', '.join(sorted(map(str, row)))[:200]}")


def pair(
    prompt: str, better: str, worse: str, group: str | None = None, history: tuple[Message, ...] = ()
) -> RouteItem:
    """A pair whose order says nothing: which reply stands first is decided by the content itself."""
    if not better.strip() or not worse.strip():
        raise UserError("a reply is empty")
    if better == worse:
        raise UserError("the two replies are the same")
    identity = digest([prompt, sorted([better, worse]), [[m.role, m.content] for m in history]])
    first = int(identity[:8], 16) % 2
    replies = (worse, better) if first else (better, worse)
    return RouteItem(identity, prompt, history=history, pair=replies, better=first, group=group)


def _rewardbench(row: Mapping[str, Any]) -> Iterator[RouteItem]:
    history, prompt = _prompt(row["prompt"])
    group = row.get("subset") or row.get("section")
    yield pair(prompt, _reply(row["chosen"]), _reply(row["rejected"]), _text(group), history)


def _rmbench(row: Mapping[str, Any]) -> Iterator[RouteItem]:
    """Every chosen reply against every rejected one, as RM-Bench scores its styles: nine pairs for three styles."""
    for better in row["chosen"]:
        for worse in row["rejected"]:
            yield pair(row["prompt"], better, worse, _text(row.get("domain") or row.get("subset")))


def _judgebench(row: Mapping[str, Any]) -> Iterator[RouteItem]:
    label = str(row["label"]).replace(" ", "")
    if label not in ("A>B", "B>A"):
        raise UserError(f"label {row['label']!r}; A>B or B>A is wanted")
    replies = (row["response_A"], row["response_B"])
    better, worse = replies if label == "A>B" else replies[::-1]
    yield pair(row["question"], better, worse, _text(row.get("source")))


def _llamafactory(row: Mapping[str, Any]) -> Iterator[RouteItem]:
    system = row.get("system")
    if "conversations" in row or "messages" in row:
        turns = [*(row["conversations"] if "conversations" in row else row["messages"])]
    else:
        request = "\n".join(t for t in (row["instruction"], row.get("input")) if t)
        turns = [{"from": "human", "value": request}]
        for question, answer in reversed(row.get("history") or []):
            turns[:0] = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    history, prompt = _prompt(turns)
    if system:
        history = (Message("system", system), *history)
    if "chosen" in row:
        better, worse = row["chosen"], row["rejected"]
    elif len(row["output"]) == 2:
        better, worse = row["output"]
    else:
        raise UserError(f"an output of {len(row['output'])} replies; two are wanted, the better one first")
    yield pair(prompt, _reply(better), _reply(worse), None, history)


_READERS = {
    "rewardbench": _rewardbench,
    "rmbench": _rmbench,
    "judgebench": _judgebench,
    "llamafactory": _llamafactory,
}


def _prompt(value: Any) -> tuple[tuple[Message, ...], str]:
    """(turns before, last turn) of a prompt that is text or a list of turns."""
    if isinstance(value, str):
        return (), value
    turns = [Message(*_turn(t)) for t in value]
    if not turns or turns[-1].role != "user":
        raise UserError("the prompt does not end with a user turn")
    return tuple(turns[:-1]), turns[-1].content


def _turn(value: Mapping[str, Any]) -> tuple[str, str]:
    role = str(value.get("from", value.get("role")))
    return _ROLES.get(role, role), str(value["value"] if "value" in value else value["content"])


def _reply(value: Any) -> str:
    """A reply that is text, one turn, or a list of turns that ends with it."""
    if isinstance(value, str):
        return value
    return _turn(value[-1] if isinstance(value, list) else value)[1]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


# ------------------------------------------------------------------------------------------------ labelled paths


def read_labelled(path: FilePath, normaliser: str) -> tuple[list[Labelled], list[str]]:
    """Labelled paths, and what could not be read.

    A line holds ``{"question": ..., "gold": ..., "paths": [{"text": ..., "label": ...}, ...]}``.
    A path's ``label`` (0 to 1; ``right`` and ``is_correct`` are read too) may be left out where the question has a
    ``gold`` answer to compare with. The shape of GSM8K's ``example_model_solutions.jsonl`` is read as it is.

    Raises:
        UserError: nothing could be read; says why for the first record.
    """
    data: list[Labelled] = []
    problems = _unread(path, lambda row: data.append(_labelled(row, normaliser)))
    if not data:
        raise UserError(
            f"{path.name} holds no labelled paths that could be read.",
            f"The first reason: {[*problems, EMPTY][0]}",
            'One object a line: {"question": ..., "paths": [{"text": ..., "label": 0 or 1}, ...]}.',
        )
    return data, problems


def _labelled(row: Mapping[str, Any], normaliser: str) -> Labelled:
    if not isinstance(row, Mapping):
        raise UserError(f"a {type(row).__name__}, not an object")
    question = row["question"]
    given = row.get("paths")
    if given is None:
        given = [v for v in row.values() if isinstance(v, Mapping) and "solution" in v]
    if not given:
        raise UserError("no paths")
    gold_text = row.get("gold", row.get("ground_truth", row.get("answer")))
    gold = None if gold_text is None else key(extract(str(gold_text), True).raw, normaliser)
    paths, labels = [], []
    for one in given:
        text = one.get("text", one.get("solution"))
        if not isinstance(text, str):
            raise UserError("a path without text")
        answer = extract(text, True)
        path = Path(text, answer.raw, key(answer.raw, normaliser))
        label = next((one[n] for n in ("label", "right", "is_correct", "score") if n in one), None)
        if label is None:
            if gold is None:
                raise UserError("a path without label, and no gold answer to compare with")
            label = path.key == gold
        if not 0 <= float(label) <= 1:
            raise UserError(f"label {label!r}; 0 to 1 is wanted")
        paths.append(path)
        labels.append(float(label))
    return Labelled(str(question), tuple(paths), tuple(labels))
