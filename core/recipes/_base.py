"""What a recipe is, and what it works with.

A recipe takes the selected samples of a run and plans rows to train on: raw rows as they came, or rows it changed, each
of these with what was there before. It sees numbers for every sample, and rows only as they stream by; the same pool
and settings give the same rows in the same order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from core.types import Reading, Sample, Setting


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person decided about one sample of a contradiction.

    ``rewrite`` puts ``text`` in the answer's place; without a text both sides are valid and their questions must be
    told apart by hand.
    """

    kind: Literal["keep", "rewrite", "drop"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class FileSlot:
    """A file the person may add to a recipe."""

    name: str
    label: str
    help: str


@dataclass(frozen=True, slots=True)
class Made:
    """One row to train on.

    Attributes:
        raw: the row as one JSON object without line feed.
        source: id of the sample it is or was made from; None for a row of a file that the person added.
        part: which part of the mix it belongs to.
        change: what was done to the sample's row, in words; empty where ``raw`` is its own bytes.
        before: the sample's own bytes where they were changed, else empty.
    """

    raw: bytes
    source: str | None
    part: str
    change: str = ""
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class Training:
    """How the rows want to be trained; what exports write into the trainers' configurations.

    Attributes:
        epochs: passes over the rows; as often, or more, come those that teach when training begins again from the base.
        sequential: the order of the file is part of the recipe, the trainer must not shuffle it.
        batch: rows of one optimiser step that the order was made for.
        rate: learning rate as a multiple of the usual one for going on from a finished checkpoint.
        max_length: tokens a row may have; None leaves the run's own setting.
        notes: what a person should know before training.
    """

    epochs: float = 1.0
    sequential: bool = False
    batch: int = 8
    max_length: int | None = None
    notes: tuple[str, ...] = ()
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to come.

    Attributes:
        rows: begins a new walk over the rows, always the same.
        counts: rows by part, exact, known without a walk.
        training: how to train on them.
        counted: (m,) ordinals of the treated samples that the recipe means to teach; what a proof measures.
        notes: what the recipe found or could not do, in sentences with numbers.
        given_up: (m,) ordinals of rows whose own answers the recipe leaves out on purpose; losing them is no damage.
        replaced: (m,) ordinals of rows in whose place the plan's rows stand, where the dataset stands beside them.
        of_mix: those of the notes that speak of rows which do not teach.
        mended: the sample's row where the recipe changed what it says, else None; a proof judges the sample by it.
    """

    rows: Callable[[], Iterator[Made]]
    counts: Mapping[str, int]
    training: Training
    counted: np.ndarray
    notes: tuple[str, ...] = ()
    given_up: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    replaced: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    of_mix: tuple[str, ...] = ()
    mended: Callable[[Sample], Made | None] = lambda _: None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Pool(Protocol):
    """The run as a recipe sees it. Ordinals are places in the training order.

    Attributes:
        n: samples of the run.
        treated: (k,) int64 ordinals of the selected samples, ascending; k is at least 1.
        reading: how the dataset's rows are read.
        rulings: content hash of a sample to what was decided about it.
        files: file slot to the file that the person added.
    """

    n: int
    treated: np.ndarray
    reading: Reading
    rulings: Mapping[str, Ruling]
    files: Mapping[str, Path]

    def numbers(self, column: str) -> np.ndarray:
        """(n,) float32; all NaN where the run has no such column."""
        ...

    def labels(self, column: str) -> tuple[np.ndarray, tuple[str | None, ...]]:
        """(n,) int32 codes into the values; one value, None, where the run has no such column."""
        ...

    def select(self, query: str) -> np.ndarray:
        """(m,) int64 ordinals that a filter in its text form keeps, ascending. Raises UserError for a bad filter."""
        ...

    def rows(self, ordinals: Iterable[int]) -> Iterator[Sample]:
        """The samples in the order given, a block of them in memory."""
        ...


class Recipe(Protocol):
    """What to do about a cause: what ``KIND`` of a file in this folder is, a subclass that gives what has no default.

    Form, command line (``--recipe``, ``--set``), preview, export and proof follow from what it declares.

    Attributes:
        name: the file's name; ``label`` and ``help`` are what a person reads.
        causes: names of the causes it is made for, ``pipeline`` for all faults; no two recipes claim one.
        settings: fields of its form.
        files: files that a person may add; they arrive in ``Pool.files``.
        expects: what should get better, in a sentence.
        risks: what may get worse, a sentence each; at least one.
        proof: settings that a proof puts in place of the person's, because it trains briefly.
        against: the recipe that a proof sets against it: another cause's, on the same samples.
        taught: parts of its mix that teach; the rest of it keeps what was learned. Training again from the base takes
            these parts beside the dataset. Empty: every row made of a treated sample.
        shuffles: training again, the stages of the dataset are mixed.
        leave_out: when it may be right to leave the samples out instead, in a sentence; empty: never.
    """

    name: str
    label: str
    help: str
    causes: tuple[str, ...]
    settings: tuple[Setting, ...] = ()
    files: tuple[FileSlot, ...] = ()
    expects: str
    risks: tuple[str, ...]
    proof: Mapping[str, object] = {}
    against: str
    taught: tuple[str, ...] = ()
    shuffles: bool = False
    leave_out: str = ""

    @abstractmethod
    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        """What it would make of the pool, from numbers; rows are read when the plan's rows are walked, not before.

        ``_mix`` puts parts together, ``_rewrite`` changes rows in their own shape and says in ``limits`` what their
        format cannot do. The same pool and settings give the same rows in the same order.

        Args:
            settings: every declared setting by name, checked.

        Raises:
            UserError: it cannot do anything with these samples; says what is missing.
        """


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of a mix by number of rows: ``others`` rows beside ``core`` rows so that these are ``share`` of all."""

    core: int
    share: float

    @property
    def others(self) -> int:
        return round(self.core * (1.0 - self.share) / self.share)


# Filters that a setting which names samples offers, and what people read for them.
LEARNED = ("status=learned", "status=learned,partly")
LEARNED_WORDS = ("Learned samples", "Learned and partly learned samples")
OTHERS = Setting(
    "others", "text", "status=learned", "Other rows", "A filter over this run, as in its address. They keep what was "
    "learned; half of them have the highest loss.", choices=LEARNED, words=LEARNED_WORDS,
)  # fmt: skip
SEED = Setting("seed", "int", 0, "Seed", "Decides the order and which other rows are drawn.", minimum=0)


def everyone_but(n: int, ordinals: np.ndarray) -> np.ndarray:
    """(m,) ordinals below n that are not among ``ordinals``."""
    kept = np.ones(n, dtype=bool)
    kept[ordinals] = False
    return np.flatnonzero(kept)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one kind in a mix: each of ``ordinals`` comes ``times`` times, numbered by ``variant`` from 0."""

    name: str
    ordinals: np.ndarray
    times: int = 1
    make: Callable[[Sample, int], Made | None] | None = None

    def __len__(self) -> int:
        return len(self.ordinals) * self.times


def as_it_came(sample: Sample, part: str) -> Made:
    return Made(sample.raw, sample.id, part)
