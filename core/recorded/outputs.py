"""Files of answers or losses: what evaluation tools leave, and any table that names rows.

Read are LLaMA-Factory's ``generated_predictions.jsonl`` (``prompt``, ``predict``, ``label``), the ``samples_*.jsonl``
of lm-evaluation-harness (``doc``, ``arguments``, ``filtered_resps``, ``target``), and any JSONL, JSON, CSV or Parquet
file whose columns name the row and hold an answer, a loss, or both. Rows are matched by id, by number, or by prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import UserError, as_sentence
from core.intake.containers import detect_container, read_records
from core.intake.records import Record as FileRow
from core.recorded.rows import Recorded
from core.types import Sample, Supervision

ID = ("id", "sid", "sample_id", "row_id")
NUMBER = ("row", "row_number", "index")
PROMPT = ("prompt", "messages", "question", "instruction", "query", "input")
LABEL = ("label", "target", "reference", "gold", "expected")
OUTPUT = ("predict", "prediction", "output", "outputs", "generated", "generation", "response", "completion", "answer")
LOSS = ("loss", "nll")
CHECKPOINT = ("checkpoint", "model", "step", "epoch")
# Rows with one label among which a rendered prompt is looked for; more would make reading quadratic.
MOST_ALIKE = 2_000
_NUMBERED = re.compile(r"(?:^|[^0-9])(\d+)$")


@dataclass(slots=True)
class _Entry:
    """One row of the file: what names it, and what each checkpoint did, by label."""

    line: str
    number: int
    prompt: str = ""
    label: str | None = None
    outputs: dict[str, list[str]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Part:
    """One checkpoint of a file."""

    label: str
    step: int | None
    gives: tuple[str, ...]
    file: Outputs
    _used: set[int] = field(default_factory=set)

    def row(self, sample: Sample, supervision: Supervision | None) -> Recorded | None:
        places = self.file.places(sample)
        outputs = tuple(text for i in places for text in self.file.entries[i].outputs.get(self.label, ()))
        losses = [self.file.entries[i].losses[self.label] for i in places if self.label in self.file.entries[i].losses]
        if not outputs and not losses:
            return None
        self._used.update(places)
        exact = float(evened(outputs[0]) == evened(sample.response)) if outputs else math.nan
        return Recorded(losses[-1] if losses else math.nan, exact, outputs)

    def remarks(self) -> list[str]:
        n = len(self.file.unread)
        if not n:
            return []
        rows = "1 row" if n == 1 else f"{n:,} rows"
        return [f"{rows} of the file could not be used: {'; '.join(self.file.unread[:3])}{' …' if n > 3 else '.'}"]

    def unmatched(self) -> list[str]:
        return [
            entry.line
            for i, entry in enumerate(self.file.entries)
            if i not in self._used and (self.label in entry.outputs or self.label in entry.losses)
        ]


@dataclass(slots=True)
class Outputs:
    """A file that was read.

    Attributes:
        parts: its checkpoints in step order; ``unread``: why rows of it could not be used, in words.
    """

    entries: list[_Entry]
    by_id: dict[str, list[int]]
    by_number: dict[int, list[int]]
    by_prompt: dict[str, list[int]]
    by_label: dict[str, list[int]]
    unread: list[str]
    parts: list[Part] = field(default_factory=list)

    def part(self, label: str) -> Part:
        """A fresh view of one checkpoint."""
        part = next(p for p in self.parts if p.label == label)
        return Part(part.label, part.step, part.gives, self)

    def places(self, sample: Sample) -> list[int]:
        """Places of the entries that speak of the sample: by id, else by number, else by prompt."""
        if self.by_id:
            return self.by_id.get(sample.id, [])
        if self.by_number:
            return self.by_number.get(sample.row, [])
        prompt = evened(sample.prompt)
        question = evened(_question(sample))
        plain = self.by_prompt.get(prompt) or self.by_prompt.get(question)
        if plain:
            answer = evened(sample.response)
            labelled = [i for i in plain if self.entries[i].label == answer]
            unlabelled = [i for i in plain if self.entries[i].label is None]
            return labelled or unlabelled
        return self._rendered(sample, question)

    def _rendered(self, sample: Sample, question: str) -> list[int]:
        """The entries whose prompt was rendered by a template: it holds the question, and the label is the answer."""
        alike = self.by_label.get(evened(sample.response), ())
        if len(alike) > MOST_ALIKE:
            # Tools keep the order of the rows; further away nothing is looked for.
            alike = [i for i in alike if abs(self.entries[i].number - sample.row) <= MOST_ALIKE]
        holding = [i for i in alike if question and question in self.entries[i].prompt]
        if not holding:
            return []
        # A question may be part of a longer one: the prompt that holds least else is its own.
        shortest = min(len(self.entries[i].prompt) for i in holding)
        return [i for i in holding if len(self.entries[i].prompt) == shortest]


def evened(text: str) -> str:
    """The text with its spaces evened out."""
    return " ".join(text.split())


def _question(sample: Sample) -> str:
    asked = [m.content for m in sample.messages if m.role == "user"]
    return asked[-1] if asked else sample.prompt


def read(path: Path) -> Outputs:
    """The file, read whole; kept while it stays as it is.

    Raises:
        UserError: it cannot be read, or its columns hold no answers and no losses, or do not name rows.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read.", str(error.strerror or error), "Check the path.") from error
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, changed: int, size: int) -> Outputs:
    out = Outputs([], {}, {}, {}, {}, [])
    columns: dict[str, None] = {}
    named: set[str] = set()
    for row in read_records(path, detect_container(path)):
        if not isinstance(row, FileRow):
            out.unread.append(f"line {row.line}: {row.text}")
            continue
        columns.update(dict.fromkeys(row.value))
        value = _harness(row.value) if "filtered_resps" in row.value else row.value
        if value is None:
            out.unread.append(f"line {row.line}: it holds likelihoods of options, not an answer")
            continue
        entry = _Entry(f"line {row.line}" if row.line else f"row {row.row}", row.row)
        place = len(out.entries)
        for label, text, loss in _answers(value):
            if text:
                entry.outputs.setdefault(label, []).extend(text)
            if loss is not None:
                entry.losses[label] = loss
        if not entry.outputs and not entry.losses:
            out.unread.append(f"{entry.line}: it holds neither an answer nor a loss")
            continue
        if (how := _name(value, entry, place, out)) is None:
            out.unread.append(f"{entry.line}: nothing names its row")
            continue
        named.add(how)
        out.entries.append(entry)
    if not out.entries:
        raise _useless(path, list(columns), out.unread)
    _one_key(out, named)
    out.parts = _parts(out)
    return out


def _one_key(out: Outputs, named: set[str]) -> None:
    """A row that only its prompt names must not be lost where others have an id."""
    if "id" not in named:
        out.by_id = {}
    if "number" not in named:
        out.by_number = {}


def _name(value: Mapping[str, Any], entry: _Entry, place: int, out: Outputs) -> str | None:
    """Enters what names the row, and says what that is; None where nothing does."""
    label = _text(value, LABEL)
    entry.label = None if label is None else evened(label)
    identity = next((value[name] for name in ID if isinstance(value.get(name), (str, int))), None)
    number = next((value[name] for name in NUMBER if _whole(value.get(name)) is not None), None)
    prompt = next((p for name in PROMPT if (p := _prompt(value.get(name)))), "")
    if "instruction" in value and isinstance(value.get("input"), str) and value["input"]:
        prompt = f"{value['instruction']}\n{value['input']}"
    entry.prompt = evened(prompt)
    if entry.prompt:
        out.by_prompt.setdefault(entry.prompt, []).append(place)
    if entry.label:
        out.by_label.setdefault(entry.label, []).append(place)
    if identity is not None and not isinstance(identity, bool):
        out.by_id.setdefault(str(identity), []).append(place)
        return "id"
    if number is not None:
        out.by_number.setdefault(_whole(number) or 0, []).append(place)
        return "number"
    return "prompt" if entry.prompt else None


def _prompt(value: Any) -> str:
    """Text before the answer: a text, or the turns without a last answer."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        turns = value[:-1] if value[-1].get("role") == "assistant" else value
        return "\n".join(str(turn.get("content") or "") for turn in turns)
    return ""


def _harness(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A row of lm-evaluation-harness as a plain one; None where it holds no generated answer."""
    kept = value["filtered_resps"]
    texts = [text for text in (kept if isinstance(kept, list) else [kept]) if isinstance(text, str)]
    if not texts:
        first = value.get("resps")
        nested = first[0] if isinstance(first, list) and first else None
        texts = [text for text in nested if isinstance(text, str)] if isinstance(nested, list) else []
    if not texts:
        return None
    kept = value.get("doc")
    document: Mapping[str, Any] = kept if isinstance(kept, dict) else {}
    plain: dict[str, Any] = {"outputs": texts, "prompt": _context(value.get("arguments"))}
    if (target := value.get("target")) is not None:
        plain["label"] = str(target)
    for name in ID:
        if isinstance(document.get(name), (str, int)):
            return plain | {name: document[name]}
    return plain


def _context(arguments: Any) -> str:
    """The prompt of a request; the harness wrote lists in its older versions and objects in later ones."""
    if isinstance(arguments, dict):
        arguments = next(iter(arguments.values()), "")
    if isinstance(arguments, dict):
        arguments = arguments.get("arg_0", "")
    while isinstance(arguments, list):
        arguments = arguments[0] if arguments else ""
    return arguments if isinstance(arguments, str) else ""


def _answers(value: Mapping[str, Any]) -> Iterator[tuple[str, list[str], float | None]]:
    """(checkpoint, answers, loss) of one row: of one checkpoint, or of those that its columns name (``loss_500``)."""
    named = next((str(value[name]) for name in CHECKPOINT if isinstance(value.get(name), (str, int, float))), "")
    texts = next((t for name in OUTPUT if (t := _texts(value.get(name)))), [])
    loss = next((number for name in LOSS if (number := _number(value.get(name))) is not None), None)
    if texts or loss is not None:
        yield named, texts, loss
    for column, cell in value.items():
        base, _, label = column.replace("@", "_").partition("_")
        if not label or column in (*ID, *NUMBER):
            continue
        if base in LOSS and (number := _number(cell)) is not None:
            yield label, [], number
        elif base in OUTPUT and (texts := _texts(cell)):
            yield label, texts, None


def _texts(cell: Any) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    return [text for text in cells if isinstance(text, str)]


def _text(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((value[name] for name in names if isinstance(value.get(name), str)), None)


def _number(cell: Any) -> float | None:
    try:
        number = float(cell) if isinstance(cell, (int, float, str)) and not isinstance(cell, bool) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(cell: Any) -> int | None:
    number = _number(cell)
    return int(number) if number is not None and number == int(number) and number >= 0 else None


def _parts(out: Outputs) -> list[Part]:
    labels = dict.fromkeys(label for entry in out.entries for label in (*entry.outputs, *entry.losses))
    parts = []
    for label in labels:
        answers = any(label in entry.outputs for entry in out.entries)
        losses = any(label in entry.losses for entry in out.entries)
        several = any(len(entry.outputs.get(label, ())) > 1 for entry in out.entries)
        gives = (
            *(("losses",) if losses else ()),
            *(("outputs", "verbatim") if answers else ()),
            *(("draws",) if several else ()),
        )
        step = _NUMBERED.search(label)
        parts.append(Part(label or "the file", int(step[1]) if step else None, gives, out))
    if "" in labels:
        for entry in out.entries:
            for held in (entry.outputs, entry.losses):
                if "" in held:
                    held["the file"] = held.pop("")  # type: ignore[assignment]
    # As in the file where steps are not known; the unnamed one is what came out in the end.
    return sorted(parts, key=lambda p: (p.label == "the file", p.step is None, p.step or 0))


def _useless(path: Path, columns: Sequence[str], unread: Sequence[str]) -> UserError:
    return UserError(
        f"{path.name} holds no answers and no losses of rows that it names.",
        f"Columns found: {', '.join(columns[:40])}." + (f" {as_sentence(unread[0])}" if unread else ""),
        f"A row needs its id ({', '.join(ID)}), its number from 0 ({', '.join(NUMBER)}) or its prompt "
        f"({', '.join(PROMPT)}), and an answer ({', '.join(OUTPUT[:4])}, …) or a loss ({', '.join(LOSS)}).",
    )
