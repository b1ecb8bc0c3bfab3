"""What a row looks like before any model: its roles and turns, whether its answers say anything, what is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from core.signals import _columns as col
from core.signals._base import Instruments, Measure, Signal, chunked
from core.text.requests import open_request
from core.types import Chunk, Column, RunSpec, Sample

KNOWN = ("system", "user", "assistant", "tool", "text", "developer")


def row_form(sample: Sample) -> dict[str, float]:
    """Numbers of one row by column name; ``same_target`` is left to the whole dataset."""
    roles = [m.role for m in sample.messages]
    talk = [r for r in roles if r not in ("system", "developer")]
    answers = [m for m in sample.messages if m.role in ("assistant", "text")]
    turns = all(a != b or a == "tool" for a, b in pairwise(talk))
    starts = not talk or talk[0] in ("user", "text")
    words = sum(sum(c.isalnum() for c in m.content) > 0 or m.tool_calls is not None for m in answers)
    asked = [m.content for m in sample.messages if m.role == "user"]
    return {
        col.ROLES_KNOWN: float(all(r in KNOWN for r in roles)),
        col.ROLES_ALTERNATE: float(turns and starts),
        col.ANSWER_TURNS: float(len(answers)),
        col.ANSWER_FILLED: words / len(answers) if answers else np.nan,
        col.OPEN_REQUEST: float(open_request(asked[-1])) if asked else np.nan,
    }


class Form(Signal):
    name = "form"
    label = "Form"
    version = 2
    # Not for its numbers: likelihood goes first, because it fails early where weights and rows do not fit.
    needs = (col.NLL,)
    whole = True
    columns = (
        Column(col.ROLES_KNOWN, "flag", "Roles known", "Every role of the row is one that templates know."),
        Column(col.ROLES_ALTERNATE, "flag", "Roles alternate", "User and assistant take turns, the user begins."),
        Column(col.ANSWER_TURNS, "number", "Answers", "Assistant turns of the original row."),
        Column(col.ANSWER_FILLED, "number", "Answers filled", "Share of them with a letter, a digit or a tool call."),
        Column(
            col.SAME_TARGET, "number", "Same answer", "Rows of the dataset with the same last answer, this one too."
        ),
        Column(
            col.OPEN_REQUEST,
            "flag",
            "Open request",
            "By its English wording the last request would be met by many answers.",
        ),
    )

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {"signal": self.name, "version": self.version, "dataset": spec.dataset_fingerprint}
        return [Measure(self.name, None, spec.final, depends)]

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        counted = Counter(s.response.strip() for s in instruments.samples())
        for chunk in chunked(samples, lambda s: 1, 4096, 4096):
            if stop():
                return
            rows = [row_form(s) | {col.SAME_TARGET: float(counted[s.response.strip()])} for s in chunk]
            columns = {c.name: np.array([row[c.name] for row in rows], dtype=np.float64) for c in self.columns}
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), columns)


KIND = Form()
