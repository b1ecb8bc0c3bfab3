"""Files of answers that a model gave elsewhere: both routes replayed without any model.

JSON lines or a JSON list, gzipped or not. One object an item::

    {"question": "…", "reference": "…", "direct": ["…", …], "paths": ["…", …], "group": "…", "id": "…",
     "seconds": [0.4, 3.1], "prompt_tokens": [58, 71]}

A direct answer or a path is its text, or an object: ``text``; ``tokens`` generated; ``complete`` (it ended by itself);
``temperature``, ``top_p`` and ``seed`` of its sampling; ``logp`` and ``margin``, mean per token. What is left out is
not measured. All items have as many direct answers and as many paths as the first.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.egrm.preferences import EMPTY
from core.egrm.route import Record, RouteItem, RouteText
from core.errors import UserError
from core.types import Decoding, digest

# Bytes of a file, unpacked, and of one item: a mistaken file ends early instead of filling the memory.
LARGEST, LONGEST = 512 << 20, 4 << 20
# Direct answers or paths of one item, as in ``RouteSettings``.
MOST = 64
_ITEM = ("question", "reference", "direct", "paths", "group", "id", "seconds", "prompt_tokens")
_TEXT = ("text", "tokens", "complete", "temperature", "top_p", "seed", "logp", "margin")


@dataclass(slots=True)
class Brought:
    """What a file held: records in its order, ``ids`` as it names them, and rows that were refused, with why."""

    records: list[Record] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def m(self) -> int:
        return len(self.records[0].probes)

    @property
    def k(self) -> int:
        return len(self.records[0].paths)


def read_answers(path: Path, name: str = "") -> Brought:
    """All items of a file; a bad one is refused with its line and field and harms no other.

    Raises:
        UserError: the file is too large or damaged, or no item could be read; says why for the first one.
    """
    shown, brought, taken = name or path.name, Brought(), set()
    for number, value in _rows(path, shown):
        try:
            record, identity = _item(value)
            if record.question.key in taken:
                raise _bad("question", "the same item came before")
            for part, texts, first in (("direct", record.probes, 0), ("paths", record.paths, 1)):
                wanted = (brought.m, brought.k)[first] if brought.records else len(texts)
                if len(texts) != wanted:
                    raise _bad(part, f"{len(texts)} texts; the first item has {wanted}")
        except UserError as error:
            brought.problems.append(f"line {number}: {error.what}")
            continue
        taken.add(record.question.key)
        brought.records.append(record)
        brought.ids.append(identity)
    if not brought.records:
        raise UserError(
            f"{shown} holds no answers that could be read.",
            f"The first reason: {[*brought.problems, EMPTY][0]}",
            'One object a line: {"question": ..., "reference": ..., "direct": ["...", ...], "paths": ["...", ...]}.',
        )
    return brought


def _rows(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """(1-based line, value) of each row; a broken line gives its error."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        raise UserError(f"{shown} cannot be read.", str(error)[:200], "Write the file again.") from error
    if len(data) > LARGEST:
        raise UserError(
            f"{shown} is larger than {LARGEST >> 20} MiB.", "It is read into memory.", "Cut it into several files."
        )
    text = data.decode("utf-8-sig", errors="replace")
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(_parsed(text), 1)
        except ValueError as error:
            raise UserError(f"{shown} is not JSON.", str(error)[:200], "Write one object a line.") from error
        return
    # Not splitlines: JSON strings may hold line separators such as U+2028 as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield (
                    number,
                    _parsed(line) if len(line) <= LONGEST else UserError(f"longer than {LONGEST:,} characters"),
                )
            except ValueError as error:
                yield number, UserError(f"not JSON: {str(error)[:200]}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _bad(name: str, why: str) -> UserError:
    return UserError(f"{name}: {why}")


def _item(value: Any) -> tuple[Record, str | None]:
    """Raises UserError that names the field."""
    if isinstance(value, UserError):
        raise value
    if not isinstance(value, Mapping):
        raise UserError(f"a {type(value).__name__}, not an object")
    _known("", value, _ITEM)
    question = _words("question", value.get("question"))
    reference = None if value.get("reference") is None else _words("reference", value["reference"])
    group = None if value.get("group") is None else _words("group", value["group"])
    identity = None if value.get("id") is None else _words("id", value["id"])
    record = Record(RouteItem(digest([question, reference, identity]), question, reference, group=group))
    record.probes, record.paths = (_texts(name, value.get(name)) for name in ("direct", "paths"))
    record.probe_seconds, record.path_seconds = _two("seconds", value.get("seconds"))
    record.probe_prompt, record.path_prompt = _two("prompt_tokens", value.get("prompt_tokens"))
    return record, identity


def _known(name: str, value: Mapping[str, Any], names: tuple[str, ...]) -> None:
    other = next((str(n) for n in value if n not in names), None)
    if other is not None:
        raise _bad(f"{name}{other[:40]}", f"an unknown field; known are {', '.join(names)}")


def _words(name: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise _bad(name, "a text is wanted" if value is not None else "missing")
    return value


def _texts(name: str, value: Any) -> list[RouteText]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST:
        raise _bad(name, "missing" if value is None else f"a list of 1 to {MOST} texts is wanted")
    return [_text(f"{name}[{i}]", one) for i, one in enumerate(value)]


def _text(name: str, value: Any) -> RouteText:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, Mapping):
        raise _bad(name, f"a text or an object is wanted, not a {type(value).__name__}")
    _known(f"{name}.", value, _TEXT)
    if not isinstance(value.get("text"), str):  # an empty answer is one: it cannot be read
        raise _bad(f"{name}.text", "missing" if "text" not in value else "a text is wanted")
    if not isinstance(value.get("complete", True), bool):
        raise _bad(f"{name}.complete", "true or false is wanted")
    decoding = Decoding(
        _number(f"{name}.temperature", value.get("temperature"), 0.0, 100.0),
        0,
        int(_number(f"{name}.seed", value.get("seed", 0), 0, 2**63 - 1, whole=True)),
        _number(f"{name}.top_p", value.get("top_p", 1.0), 0.0, 1.0),
    )
    return RouteText(
        value["text"], value.get("complete", True),
        _number(f"{name}.tokens", value.get("tokens"), 0, 10**9, whole=True),
        decoding,
        logp=_number(f"{name}.logp", value.get("logp"), -1e6, 0.0),
        margin=_number(f"{name}.margin", value.get("margin"), -1e6, 1e6),
    )  # fmt: skip


def _number(name: str, value: Any, low: float, high: float, whole: bool = False) -> float:
    """NaN where there is none."""
    if value is None:
        return math.nan
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        raise _bad(name, f"{str(value)[:40]!r}; {kind} from {low:g} to {high:g} is wanted")
    return value


def _two(name: str, value: Any) -> tuple[float, float]:
    """Of the direct answers and of the paths; NaN where there is none."""
    if value is None:
        return math.nan, math.nan
    if not isinstance(value, list) or len(value) != 2:
        raise _bad(name, "two numbers are wanted, of the direct answers and of the paths")
    return _number(f"{name}[0]", value[0], 0, 1e9), _number(f"{name}[1]", value[1], 0, 1e9)


def written(shown: Mapping[str, Any], kept: Mapping[str, Any], identity: str | None) -> dict[str, Any]:
    """One item of a routes run as a line of such a file; ``shown`` and ``kept`` as ``route.texts`` and ``compact``."""

    def texts(part: str) -> list[dict[str, Any]]:
        return [
            _without_none({
                "text": t["text"], "tokens": c["tokens"], "complete": not c["cut"], "temperature": t["temperature"],
                "top_p": t["top_p"], "seed": t["seed"], "logp": c["logp"], "margin": c["margin"],
            })
            for t, c in zip(shown[part], kept[part], strict=True)
        ]  # fmt: skip

    both = {name: kept[own] for name, own in (("seconds", "seconds"), ("prompt_tokens", "prompt"))}
    turns = [f"{role}: {text}" for role, text in shown["history"]]
    return _without_none({
        "question": "\n\n".join([*turns, shown["question"]]), "reference": shown["gold"], "group": kept["group"],
        "id": identity, "direct": texts("probes"), "paths": texts("paths"),
        **{name: None if None in value else value for name, value in both.items()},
    })  # fmt: skip


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: own for name, own in value.items() if own is not None}
