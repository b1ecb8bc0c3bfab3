"""Does the checkpoint say the same when its numbers are held otherwise: merged into its base, in another type?

An adapter is merged into its base and held in bfloat16, as it is deployed; a full model is held in the other of
float32 and bfloat16. The same bounded subset of rows as for other renderings is scored both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from core.errors import UserError
from core.plugins import kind
from core.signals._base import Instruments, Measure, chunked, supervision_facts
from core.types import Checkpoint, Chunk, Column, RunSpec, Sample, SignalTable

ROWS, LONGEST = 32, 2048


class Precision:
    name = "precision"
    label = "Precision"
    version = 1
    needs = ("likelihood",)
    whole = False
    columns = (
        Column("prec_nll", "number", "Loss as loaded", "Mean loss of the target; a subset of rows.", "nats", "low"),
        Column("prec_other_nll", "number", "Loss held otherwise", "The same, merged in bfloat16 or in the other type.",
               "nats", "low"),
        Column("prec_hits", "number", "Argmax as loaded", "Share of target tokens that are the argmax."),
        Column("prec_other_hits", "number", "Argmax held otherwise", "The same, held otherwise."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "weights": spec.final.fingerprint,
            **supervision_facts(spec),
        }
        return [Measure(self.name, "final", spec.final, depends)]

    def wanted(self, table: SignalTable) -> np.ndarray:
        fit = (table.get("n_target") > 0) & np.isfinite(table.get("nll")) & (table.get("n_tokens") <= LONGEST)
        chosen = set(sorted({key for key, ok in zip(table.keys, fit, strict=True) if ok})[:ROWS])
        return np.array([key in chosen for key in table.keys], dtype=bool) & fit

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        # Both readings take all rows at once: they are few, and the second one needs the first one's memory.
        if not samples or stop():
            return
        spec = instruments.spec
        backend = instruments.backend(measure.checkpoint)
        rows = [_row(sample, instruments) for sample in samples]
        asked = [row for row in rows if row is not None]
        first = _numbers(backend.score(asked), asked)
        device = str(backend.device)
        instruments.close()
        merged = spec.final.base is not None
        other = "bfloat16" if merged or spec.dtype == "float32" else "float32"
        second = _held_otherwise(spec.final, other, device, merged, asked)
        values = dict(zip([i for i, row in enumerate(rows) if row is not None], zip(first, second, strict=True),
                          strict=True))  # fmt: skip
        for chunk in chunked(list(enumerate(samples)), lambda s: 1, ROWS, ROWS):
            columns = {c.name: np.full(len(chunk), np.nan) for c in self.columns}
            for at, (i, _) in enumerate(chunk):
                if i in values:
                    (nll, hits), (other_nll, other_hits) = values[i]
                    columns["prec_nll"][at], columns["prec_hits"][at] = nll, hits
                    columns["prec_other_nll"][at], columns["prec_other_hits"][at] = other_nll, other_hits
            yield Chunk(measure.key, tuple(s.content_hash for _, s in chunk), columns)


def _held_otherwise(
    checkpoint: Checkpoint, dtype: str, device: str, merged: bool, asked: Sequence[Any]
) -> list[tuple[float, float]]:
    """Numbers of the second reading; NaN where the model cannot be held that way, which is no reason to stop a run."""
    try:
        backend = kind("backends", "hf").open(checkpoint, dtype=dtype, device=device, merged=merged)
    except UserError:
        return [(np.nan, np.nan)] * len(asked)
    try:
        return _numbers(backend.score(asked), asked)
    finally:
        backend.close()


def _row(sample: Sample, instruments: Instruments) -> Any:
    from core.backends._base import ScoreRow

    try:
        seen = instruments.supervision(sample)
    except UserError:
        return None
    at = np.flatnonzero(seen.target[1:]) + 1
    return ScoreRow(seen.ids, at) if at.size else None


def _numbers(scored: Sequence[Any], rows: Sequence[Any]) -> list[tuple[float, float]]:
    return [
        (-float(s.logprobs.mean(dtype=np.float64)), float((s.argmax == r.ids[r.positions]).mean()))
        for s, r in zip(scored, rows, strict=True)
    ]


KIND = Precision()
