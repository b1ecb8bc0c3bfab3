"""Answers that are written side by side: rows that are done leave, and others join where they were.

A step costs nearly the same for eight rows as for thirty, so that a batch which waits for its longest answer wastes
most of its end. Every answer is the one it would be alone: a row that joins sees nothing of the columns before its own,
and its draws come from numbers of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backends._base import Interrupted, stop_asked
from core.backends._generation import Draw, uniforms
from core.backends._parts import Layout, Parts
from core.types import Decoding

if TYPE_CHECKING:
    from torch import Tensor

# Rows that are done leave once they are this share of those side by side: leaving costs a copy of what stays.
DONE = 0.25


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt (l,) int64 to be continued by at most ``limit`` tokens, at least 1."""

    prompt: np.ndarray
    decoding: Decoding
    limit: int


@dataclass(slots=True)
class _Row:
    """A row under way: its number, the column of its first own token, the last token, and the new ones."""

    number: int
    joined: int
    token: int
    new: list[int]


class Stream:
    """Continues prompts whose beginnings, all but the last token, were read.

    Args:
        logits: of hidden states (b, width).
    """

    def __init__(
        self, parts: Parts, logits: Callable[[Tensor], Tensor], device: str, jobs: Sequence[Job], stops: Sequence[int]
    ) -> None:
        self._parts, self._logits, self._device, self._jobs, self._stops = parts, logits, device, jobs, stops
        self._rows: list[_Row] = []
        self._column = 0
        self._cache: Any = parts.own_cache(0)

    def run(self, numbers: Sequence[int], most: int, tokens: int, out: dict[int, np.ndarray]) -> None:
        """Fills ``out`` as rows are done: number to new tokens (m,) int64, stop token included.

        Args:
            numbers: of the jobs. most, tokens: rows and tokens that may be held side by side.

        Raises:
            Interrupted: the job was asked to stop.
        """
        # Long ones first: what is left at the end is short.
        waiting = deque(sorted(numbers, key=lambda i: -self._jobs[i].limit))
        stay: list[int] = []
        while waiting or stay:
            layout, draw = self._regroup(stay, waiting, most, tokens)
            done = np.zeros(len(self._rows), dtype=bool)
            while done.mean() < DONE:
                if stop_asked()():
                    raise Interrupted
                self._step(layout, draw, done)
            del layout, draw  # the next ones are made beside what is held of these
            stay = np.flatnonzero(~done).tolist()
            for place in np.flatnonzero(done).tolist():
                out[self._rows[place].number] = np.array(self._rows[place].new, dtype=np.int64)

    def _step(self, layout: Layout, draw: Draw, done: np.ndarray) -> None:
        import torch

        last = np.array([row.token for row in self._rows], dtype=np.int64)
        states = self._parts.states(last[:, None], layout, self._cache)[:, -1]
        scores = draw(torch.empty((1, self._column)), self._logits(states).float())
        self._column += 1
        for place, token in enumerate(scores.argmax(-1).tolist()):
            if not done[place]:
                row = self._rows[place]
                row.token = token
                row.new.append(token)
                done[place] = token in self._stops or len(row.new) == self._jobs[row.number].limit

    def _regroup(self, stay: Sequence[int], waiting: deque[int], most: int, tokens: int) -> tuple[Layout, Draw]:
        """Keeps the rows at these places and lets others join; what the rows now attend to and how they are drawn."""
        import torch

        places = {id(self._rows[place]): place for place in stay}
        rows = [self._rows[place] for place in stay]
        first = min((row.joined for row in rows), default=self._column)
        self._column -= first
        for row in rows:
            row.joined -= first
        longest = max((len(self._jobs[row.number].prompt) for row in rows), default=0)
        room = max((row.joined + self._jobs[row.number].limit for row in rows), default=0)
        while waiting and len(rows) < most:
            job = self._jobs[waiting[0]]
            wide = max(longest, len(job.prompt)), max(room, self._column + job.limit)
            if rows and (len(rows) + 1) * sum(wide) > tokens:
                break
            longest, room = wide
            rows.append(_Row(waiting.popleft(), self._column, int(job.prompt[-1]), []))
        self._rows = sorted(rows, key=lambda row: self._parts.root(self._jobs[row.number].prompt[:-1]))
        moved = [(places[id(row)], place) for place, row in enumerate(self._rows) if id(row) in places]
        old, new = torch.tensor(moved, dtype=torch.int64, device=self._device).reshape(-1, 2).T
        for layer in self._cache.layers:
            layer.regroup(old, new, len(rows), first, room)
        own = [self._parts.place(self._jobs[row.number].prompt[:-1]) for row in self._rows]
        joined = np.array([row.joined for row in self._rows], dtype=np.int64)
        return self._parts.layout(own, len(own), joined), self._draw(room)

    def _draw(self, room: int) -> Draw:
        import torch

        jobs = [self._jobs[row.number] for row in self._rows]
        numbers = np.zeros((len(jobs), room))
        for place, (row, job) in enumerate(zip(self._rows, jobs, strict=True)):
            if job.decoding.temperature > 0:
                numbers[place, row.joined : row.joined + job.limit] = uniforms(job.decoding.seed, job.limit)
        return Draw(
            torch.tensor([j.decoding.temperature for j in jobs], dtype=torch.float32, device=self._device),
            torch.tensor([j.decoding.top_p for j in jobs], dtype=torch.float32, device=self._device),
            torch.from_numpy(numbers).to(self._device), 0,
        )  # fmt: skip
