"""Datasets: rows as samples, and the rows that were rejected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, UTF-8 kept."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """SHA-256 (hex) of ``canonical_json(value)``."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: ``system``, ``user``, ``assistant``, ``tool``; others are kept as written, a template may refuse them.
        content: the text of the turn; empty where the row had none (an assistant turn with tool calls only).
        tool_calls: JSON text of the list of calls, or None.
        name: the ``name`` field of the row, or None.
        train: the row's own word on whether this turn carried loss (``train``, ``weight``), or None.
        tool_call_id: which call a ``tool`` turn answers, or None; some templates write it.
        reasoning: what the turn thinks before it answers, or None; a template writes it in its way or leaves it out.
    """

    role: str
    content: str
    tool_calls: str | None = None
    name: str | None = None
    train: bool | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The message as ``apply_chat_template`` takes it; absent keys stay absent."""
        out: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls is not None:
            out["tool_calls"] = json.loads(self.tool_calls)
        if self.name is not None:
            out["name"] = self.name
        if self.tool_call_id is not None:
            out["tool_call_id"] = self.tool_call_id
        if self.reasoning is not None:
            # Both names that templates read, as transformers gives them whatever the row's own name for it.
            out |= {"reasoning_content": self.reasoning, "thinking": self.reasoning}
        return out


Shape = Literal["chat", "prompt_completion", "text", "tokens"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row that was tokenised before training: ``ids`` (l,), and ``trained`` (l,), which of them carried loss."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    def segments(self) -> list[tuple[str, int, int]]:
        """Runs with loss (``assistant``) and without (``user``) as (role, start, stop); ``text`` where all has loss."""
        n = len(self.trained)
        if all(self.trained):
            return [("text", 0, n)]
        edges = [0, *(i for i in range(1, n) if self.trained[i] != self.trained[i - 1]), n]
        return [("assistant" if self.trained[a] else "user", a, b) for a, b in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Sample:
    """One accepted row of a dataset.

    Attributes:
        id: the user's own unique id as a string, else ``<content hash, 12 hex>-<ordinal>``.
        row: 0-based index of the input record over all files, rejected rows counted.
        ordinal: 0-based index among accepted samples; the training order.
        messages: the turns; a ``prompt_completion`` sample has a user and an assistant message, a ``text`` sample one
            message of role ``text``.
        shape: how a trainer renders the row: ``chat`` through the template, ``prompt_completion`` joined as they are,
            ``text`` with loss on everything, ``tokens`` not at all: ``tokens`` is what it was trained on.
        tools: JSON text of the tool definitions, or None.
        stage, source: training stage and origin when the row names them, else None.
        content_hash: SHA-256 (hex) of the canonical content (messages, shape, tools); equal for exact duplicates.
        raw: the row as one JSON object without line feed: the line's own bytes for JSONL.
        notes: what was done to the row on the way in ("empty turn kept", "duplicate key"), in plain words.
        tokens: the row as it was tokenised before training; None for rows of text.
    """

    id: str
    row: int
    ordinal: int
    messages: tuple[Message, ...]
    shape: Shape
    tools: str | None
    stage: str | None
    source: str | None
    content_hash: str
    raw: bytes
    notes: tuple[str, ...] = ()
    tokens: Tokens | None = None

    @property
    def response(self) -> str:
        """The last assistant turn's text; for ``text`` samples the whole text."""
        for message in reversed(self.messages):
            if message.role in ("assistant", "text"):
                return message.content
        return ""

    @property
    def prompt(self) -> str:
        """Everything before the last assistant turn, turns joined by a line feed."""
        last = max((i for i, m in enumerate(self.messages) if m.role == "assistant"), default=len(self.messages))
        return "\n".join(m.content for m in self.messages[:last] if m.role != "text")


def content_hash(messages: tuple[Message, ...], shape: Shape, tools: str | None) -> str:
    """The identity of a sample's content, whatever file, format or key order it came in."""
    # Field by field: asdict copies deeply, which is most of the cost of reading a file.
    # Reasoning is added only where there is some: rows without keep the hash they had before it was a field.
    listed = [
        [m.role, m.content, m.tool_calls, m.name, m.train, m.tool_call_id, *([m.reasoning] if m.reasoning else [])]
        for m in messages
    ]
    return digest({"messages": listed, "shape": shape, "tools": tools})


@dataclass(frozen=True, slots=True)
class Problem:
    """A rejected row, kept and shown: rows in = samples + problems.

    Attributes:
        row: 0-based index of the input record over all files.
        line: 1-based line number in its file, None where the container has no lines (Parquet).
        field: the key at fault, or None.
        text: what is wrong, with the value and the way out.
        file: name of the file.
        raw: up to 2,000 bytes of the row.
    """

    row: int
    line: int | None
    field: str | None
    text: str
    file: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: container, shape and mapping. Detected, changeable by hand, saved with the dataset.

    Attributes:
        container: ``jsonl``, ``json``, ``parquet``, ``csv``.
        format: a kind of ``core/formats``.
        mapping: role of the format (``messages``, ``instruction``, ...) to the column it is read from.
    """

    container: str
    format: str
    mapping: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A stored dataset. ``fingerprint`` is over the raw rows in order; counts are exact."""

    id: int
    name: str
    files: tuple[str, ...]
    reading: Reading
    fingerprint: str
    n_rows: int
    n_samples: int
    n_problems: int
    n_duplicates: int
    stages: tuple[str, ...]
    sources: tuple[str, ...]
    created: float
    notes: tuple[str, ...] = ()
