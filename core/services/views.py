"""What services hand to pages and command line: ready to draw, nothing left to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.types import Card, Checkpoint, Column, Reason, Sample, Setting, Status


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A registered checkpoint. ``owned``: unpacked from an upload, its files go when it is deleted."""

    id: int
    name: str
    group: str
    checkpoint: Checkpoint
    owned: bool
    n_bytes: int
    facts: Mapping[str, Any]
    card: Card | None
    created: float


@dataclass(frozen=True, slots=True)
class KindForm:
    """A preset or scorer as a form: what it is and which settings it takes."""

    name: str
    label: str
    help: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class FileForm:
    """A file that a recipe can take."""

    name: str
    label: str
    help: str


@dataclass(frozen=True, slots=True)
class RecipeForm:
    """A recipe as a form: what it is, for which causes, what it takes, what it promises and what it may harm."""

    name: str
    label: str
    help: str
    causes: tuple[str, ...]
    settings: tuple[Setting, ...]
    files: tuple[FileForm, ...]
    expects: str
    risks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenPiece:
    """One token as the row page shows it. ``logprob`` and ``hit`` are None where the token was not scored."""

    text: str
    id: int
    trained: bool
    target: bool
    logprob: float | None = None
    hit: bool | None = None


@dataclass(frozen=True, slots=True)
class RowPreview:
    """One row rendered as the preset sees it, before any model has run."""

    id: str
    pieces: tuple[TokenPiece, ...]
    notes: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """k of n with its 95 % Wilson interval; shares in [0, 1]."""

    k: int
    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Status counts by the values of one column, in the order to draw them."""

    column: str
    label: str
    rows: tuple[tuple[str | None, Mapping[str, int]], ...]
    # For a length breakdown the bounds of each row's bin, so that a click becomes a range; empty for categories.
    bounds: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per bin and status. ``edges``: b + 1 values; ``counts``: status to b counts; ``missing``: not measured."""

    column: str
    edges: tuple[float, ...]
    counts: Mapping[str, tuple[int, ...]]
    missing: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A run at a glance, under the current filter.

    ``hidden``: what the mean loss hides, as sentences with numbers; ``notes``: run-wide facts and faults, first thing
    to read (card warnings, rows a template refused, template supplied by the preset).
    """

    total: int
    shown: int
    status: Mapping[str, Share]
    causes: Mapping[str, int]
    breakdowns: tuple[Breakdown, ...]
    nll: Histogram
    mean_nll: Mapping[str, float | None]
    hidden: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the table. ``rows``: column to value, None = not measured; cursors are opaque texts for the URL."""

    rows: tuple[Mapping[str, Any], ...]
    total: int
    matching: int
    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class TurnView:
    """One assistant turn: target, what greedy decoding gives, and what sampling gave."""

    index: int
    target: str
    greedy_exact: bool | None
    output: str | None
    output_source: str
    right: bool | None
    score: float | None
    draws: int | None
    successes: int | None
    rate_low: float | None
    rate_high: float | None
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """The sample under one checkpoint of the run."""

    label: str
    role: str
    step: int | None
    nll: float | None
    greedy_exact: bool | None


@dataclass(frozen=True, slots=True)
class SampleView:
    """One sample with all its evidence."""

    sample: Sample
    status: Status
    cause: str | None
    confidence: float | None
    causes: Mapping[str, float | None]
    reasons: tuple[Reason, ...]
    values: Mapping[str, Any]
    columns: tuple[Column, ...]
    pieces: tuple[TokenPiece, ...]
    notes: tuple[str, ...]
    turns: tuple[TurnView, ...]
    checkpoints: tuple[CheckpointView, ...]
    chance: Mapping[str, Mapping[str, float | None]]
    copies: int
    previous: str | None
    next: str | None
