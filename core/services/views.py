"""What services hand to pages and command line: ready to draw, nothing left to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.types import Card, Checkpoint, Column, Comment, Decision, Sample, Verdict


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
    causes: Mapping[str, Share]
    breakdowns: tuple[Breakdown, ...]
    nll: Histogram
    hidden: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]
    # Ours against the study's cause to count, of samples that either names a cause for; None: not measured.
    study: tuple[tuple[str | None, str | None, int], ...] | None = None


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
class FaultView:
    """A pipeline fault that was checked for one sample.

    ``state``: ``explains``, ``no``, ``unknown``; ``text`` what it says of the run, ``needs`` what would let it tell.
    """

    code: str
    label: str
    state: str
    text: str
    needs: str


@dataclass(frozen=True, slots=True)
class SampleView:
    """One sample with all its evidence."""

    sample: Sample
    verdict: Verdict
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
    faults: tuple[FaultView, ...] = ()


@dataclass(frozen=True, slots=True)
class ContradictionSide:
    """One answer of a group. ``members``: content hashes; ``rows``: (id, status, cause), copies too.

    ``wordings``: (prompt, answer) of each member; losses are means over rows in nats a token, None = not measured.
    """

    letter: str
    weight: float
    answer: str
    members: tuple[str, ...]
    wordings: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, str | None], ...]
    nll: float | None
    base_nll: float | None


@dataclass(frozen=True, slots=True)
class ContradictionGroup:
    """Rows that ask the same and answer otherwise; the side with most rows first.

    ``strength``, ``same``, ``differ``, ``both_valid`` in [0, 1]; ``final_takes``, ``base_takes``: a side's letter, None
    where not known; ``differs``: words of two sides; ``shared``, ``only``: words of two wordings.
    """

    number: int
    key: str
    size: int
    strength: float
    question: str
    sides: tuple[ContradictionSide, ...]
    final_takes: str | None
    base_takes: str | None
    same: float
    differ: float
    both_valid: float
    kind: str
    differs: tuple[tuple[str, str], ...]
    shared: tuple[str, ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    verbatim: bool
    similarity: float | None
    decision: Decision | None
    comment: Comment | None = None


@dataclass(frozen=True, slots=True)
class ContradictionPage:
    """One page of groups. ``measured``: whether the run has the columns at all; ``decided``: decisions in all."""

    groups: tuple[ContradictionGroup, ...]
    total: int
    page: int
    decided: int
    measured: bool


@dataclass(frozen=True, slots=True)
class NeighbourView:
    """A row near another one; ``left`` are words of the row looked at that this one lacks, ``right`` the reverse."""

    sid: str
    prompt: str
    answer: str
    similarity: float
    same: float
    left: tuple[str, ...]
    right: tuple[str, ...]
