"""Scores and answers of rows that begin alike, over the parts of ``_parts``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.backends._base import ScoreRow
from core.backends._parts import LONG, Parts, Place, name_of
from core.backends._prefix import SHORTEST
from core.backends._stream import Job, Stream

if TYPE_CHECKING:
    from torch import Tensor

# Attention over parts is dearer than over whole rows: what need not be read again must be this share of a row.
WORTH = 0.2
Batches = Callable[[Callable[[np.ndarray], None], np.ndarray], None]
"""Runs something on every row once, in batches by their lengths; halves those that do not fit into memory."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A row that is read in parts: its number in the call, what it begins with, and where its own tokens start."""

    row: int
    beginning: np.ndarray


class Sharing:
    """Reads rows in parts.

    Args:
        most: tokens of beginnings that one slice of a call may read at once.
        overhead: cost of reading a common beginning by itself, in tokens.
    """

    def __init__(self, parts: Parts, logits: Callable[[Tensor], Tensor], most: int, overhead: int, device: str) -> None:
        self._parts, self._logits, self._most, self._overhead, self._device = parts, logits, most, overhead, device

    def score(
        self, rows: Sequence[ScoreRow], numbers: np.ndarray, put: Callable[..., None], batches: Batches
    ) -> np.ndarray:
        """Reads those of the rows that are worth it; returns the others.

        Args:
            put: takes numbers of rows (b,), where their own tokens start (b,), and hidden states (b, l, width).
        """
        chosen = self._chosen(rows, numbers.tolist())
        for some in self._slices(chosen, batches):

            def run(batch: np.ndarray, some: list[Shared] = some) -> None:
                part = [some[i] for i in batch]
                part = sorted(part, key=lambda s: self._parts.root(s.beginning))
                at, starts = np.array([s.row for s in part]), np.array([len(s.beginning) for s in part])
                own = [rows[i].ids[start : rows[i].positions.max()] for i, start in zip(at, starts, strict=True)]
                put(at, starts, self._states(own, [s.beginning for s in part]))

            lengths = [int(rows[s.row].positions.max()) - len(s.beginning) for s in some]
            batches(run, np.array(lengths, dtype=np.int64))
        return np.setdiff1d(numbers, [s.row for s in chosen])

    def generate(
        self,
        jobs: Sequence[Job],
        numbers: Sequence[int],
        stops: Sequence[int],
        batches: Batches,
        cached: Callable[[Callable[[np.ndarray, int, int], None], np.ndarray], None],
    ) -> dict[int, np.ndarray]:
        """Number to new tokens, stop token included, of those prompts that have two tokens or more.

        Args:
            cached: ``batches`` that also hands over how many rows and tokens may be held side by side.
        """
        out: dict[int, np.ndarray] = {}
        able = [Shared(i, jobs[i].prompt[:-1]) for i in numbers if len(jobs[i].prompt) > 1]
        for some in self._slices(able, batches):

            def run(batch: np.ndarray, rows: int, tokens: int, some: list[Shared] = some) -> None:
                # What was done before memory ran out is not done again.
                left = [i for k in batch if (i := some[k].row) not in out]
                Stream(self._parts, self._logits, self._device, jobs, stops).run(left, rows, tokens, out)

            cached(run, np.array([len(s.beginning) + jobs[s.row].limit for s in some], dtype=np.int64))
        return out

    def _chosen(self, rows: Sequence[ScoreRow], numbers: Sequence[int]) -> list[Shared]:
        """Those of the rows that are worth reading in parts."""
        able = {i: rows[i].ids[: rows[i].positions.min() - 1] for i in numbers}
        able = {i: b for i, b in able.items() if len(b) >= SHORTEST}
        counts = Counter(map(name_of, able.values()))
        self._parts.read_trunks(list({name_of(b): b for b in able.values()}.values()), self._overhead)
        out = []
        for i, beginning in able.items():
            trunk = self._parts.trunk_of(beginning)
            again = counts[name_of(beginning)] > 1 or self._parts.known(beginning)
            saved = len(beginning) if again else 0 if trunk is None else trunk.length
            if saved < WORTH * rows[i].positions.max():
                continue
            if again or (trunk is not None and trunk.length >= LONG):
                out.append(Shared(i, beginning))
            elif trunk is not None:
                out.append(Shared(i, beginning[: trunk.length]))
        return out

    def _slices(self, rows: Sequence[Shared], batches: Batches) -> Iterator[list[Shared]]:
        """The rows in runs whose beginnings are read and fit into memory together, equal beginnings side by side."""
        by_name: dict[bytes, list[Shared]] = {}
        for row in rows:
            by_name.setdefault(name_of(row.beginning), []).append(row)
        run: list[Shared] = []
        tokens = 0
        for name in sorted(by_name):
            cost = len(by_name[name][0].beginning)
            if run and tokens + cost > self._most:
                yield from self._ready(run, batches)
                run, tokens = [], 0
            run += by_name[name]
            tokens += cost
        if run:
            yield from self._ready(run, batches)

    def _ready(self, run: list[Shared], batches: Batches) -> Iterator[list[Shared]]:
        unique = list({name_of(r.beginning): r.beginning for r in run}.values())
        self._parts.read_trunks(unique, self._overhead)
        by_trunk: dict[Place | None, list[np.ndarray]] = {}
        for beginning in unique:
            if not self._parts.known(beginning):
                trunk = self._parts.trunk_of(beginning)
                worth = trunk is not None and trunk.length >= WORTH * len(beginning)
                by_trunk.setdefault(trunk if worth else None, []).append(beginning)
        for trunk, some in by_trunk.items():
            start = 0 if trunk is None else trunk.length

            def read(batch: np.ndarray, some: list[np.ndarray] = some, trunk: Place | None = trunk) -> None:
                self._parts.read([some[i] for i in batch], trunk)

            batches(read, np.array([len(b) - start for b in some], dtype=np.int64))
        yield run
        self._parts.give_up()

    def _states(self, ids: Sequence[np.ndarray], beginnings: Sequence[np.ndarray]) -> Tensor:
        """(b, l, width) hidden states of own tokens behind their beginnings; rows of one trunk side by side."""
        own = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
        for row, tokens in enumerate(ids):
            own[row, : len(tokens)] = tokens
        layout = self._parts.layout([self._parts.place(b) for b in beginnings], len(ids))
        return self._parts.states(own, layout)
