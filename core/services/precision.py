"""Which number type a model is held in where the person leaves it to Lacuna: both are measured on a few rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.backends._base import ScoreRow, ScoringBackend
from core.errors import UserError
from core.plugins import kind
from core.services import specs
from core.settings import settings
from core.signals._instruments import Instruments
from core.types import Check, DtypeName, RunSpec, Sample, TokenScores

ROWS = 10
# bfloat16 is taken where it is a fifth faster, for less is within what timing ten rows tells, and where at most one
# target token in a hundred gets another first choice: more would decide statuses.
FASTER, FLIPPED = 1.2, 0.01


def settled(spec: RunSpec, samples: Sequence[Sample]) -> tuple[RunSpec, Check | None]:
    """The specification with the number type that fits, and what was measured; as it is where one was chosen.

    Of a backend without weights of its own nothing can be measured: the type in which the weights are stored stays.
    """
    backend = kind("backends", spec.backend)
    if spec.dtype != "auto" or not spec.final.has_weights or "weights" not in backend.capabilities:
        return spec, None
    instruments = Instruments(spec, settings().device)
    rows: list[ScoreRow] = []
    for sample in samples:
        try:
            row = instruments.supervision(sample)
        except UserError:
            continue
        if (at := np.flatnonzero(row.target[1:]) + 1).size and len(rows) < ROWS:
            rows.append(ScoreRow(row.ids, at))
    if not rows:
        return replace(spec, dtype=specs.usual_dtype()), None
    names: tuple[DtypeName, ...] = ("float32", "bfloat16")
    measured = {name: _measured(backend.open(spec.final, name, settings().device), rows) for name in names}
    (slow, exact), (fast, rounded) = measured["float32"], measured["bfloat16"]
    moved = max(abs(_loss(a) - _loss(b)) for a, b in zip(exact, rounded, strict=True))
    tokens = sum(len(row.positions) for row in rows)
    flipped = sum(int((a.argmax != b.argmax).sum()) for a, b in zip(exact, rounded, strict=True))
    taken: DtypeName = "bfloat16" if slow >= FASTER * fast and flipped <= FLIPPED * tokens else "float32"
    text = f"The model is held in {taken}: bfloat16 takes {fast / slow:.2f} times as long as float32 on this machine."
    moves = (
        f"On {len(rows)} rows the loss moves by up to {moved:.4f} nats, and {flipped} of {tokens:,} target tokens get "
        "another first choice."
    )
    return replace(spec, dtype=taken), Check("dtype", "pass", text, moves)


def _measured(backend: Any, rows: Sequence[ScoreRow]) -> tuple[float, list[TokenScores]]:
    """Seconds for the rows, and their scores."""
    if not isinstance(backend, ScoringBackend):
        raise TypeError("a backend with weights scores")
    try:
        backend.score(rows[:1])  # the first call pays for set-up
        began = time.perf_counter()
        scores = backend.score(rows)
        return time.perf_counter() - began, scores
    finally:
        backend.close()


def _loss(scores: TokenScores) -> float:
    return -float(scores.logprobs.mean(dtype=np.float64))
