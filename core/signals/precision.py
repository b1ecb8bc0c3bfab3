"""Does the checkpoint say the same when its numbers are held otherwise: merged into its base, in another type?

An adapter is merged into its base and held in bfloat16, as it is deployed; a full model is held in the other of
float32 and bfloat16. The same bounded subset of rows as for other renderings is scored both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from core.backends._base import Capability, ScoreRow
from core.errors import UserError
from core.signals import _columns as col
from core.signals._base import Instruments, Measure, Signal, chunked, supervision_digest, supervision_facts
from core.types import FINAL, Checkpoint, Chunk, Column, DtypeName, RunSpec, Sample, SignalTable, TokenScores

ROWS, LONGEST = 32, 2048


class Precision(Signal):
    name = "precision"
    label = "Precision"
    version = 1
    needs = (col.N_TARGET, col.NLL, col.N_TOKENS)
    columns = (
        Column(col.PREC_NLL, "number", "Loss as loaded", "Mean loss of the target; a subset of rows.", "nats", "low"),
        Column(col.PREC_OTHER_NLL, "number", "Loss in the other form", "The same, merged in bfloat16 or in the other "
               "number type.", "nats", "low"),
        Column(col.PREC_HITS, "number", "Argmax as loaded", "Share of target tokens that are the argmax."),
        Column(col.PREC_OTHER_HITS, "number", "Argmax in the other form", "The same in that form."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "weights": spec.final.fingerprint,
            **supervision_facts(spec),
        }
        partly: Mapping[Capability, tuple[str, ...]] = {"argmax": (col.PREC_HITS, col.PREC_OTHER_HITS)}
        kin = {k: depends[k] for k in ("signal", "version", "weights", "dtype")} | {"backend": spec.backend}
        return [Measure(self.name, FINAL, spec.final, depends, ("logprobs", "weights"), partly, kin)]

    def subjects(self, measure: Measure, sample: Sample, instruments: Instruments) -> tuple[str, ...]:
        return (supervision_digest(sample, instruments),)

    def applies_to(self, table: SignalTable) -> np.ndarray:
        fit = (table.get(col.N_TARGET) > 0) & np.isfinite(table.get(col.NLL)) & (table.get(col.N_TOKENS) <= LONGEST)
        chosen = set(sorted({key for key, ok in zip(table.keys, fit, strict=True) if ok})[:ROWS])
        return np.asarray(np.array([key in chosen for key in table.keys], dtype=bool) & fit)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        # Both readings take all rows at once: they are few, and the second one needs the first one's memory.
        if not samples or stop():
            return
        spec = instruments.spec
        rows = {s.content_hash: row for s in samples if (row := _row(s, instruments)) is not None}
        scored = list(rows.values())
        loaded = _numbers(instruments.scoring(measure.checkpoint).score(scored), scored)
        merged = spec.final.base is not None
        dtype: DtypeName = "bfloat16" if merged or spec.dtype == "float32" else "float32"
        otherwise = _held_otherwise(spec.final, dtype, merged, scored, instruments)
        values = {key: (*a, *b) for key, a, b in zip(rows, loaded, otherwise, strict=True)}
        names = (col.PREC_NLL, col.PREC_HITS, col.PREC_OTHER_NLL, col.PREC_OTHER_HITS)
        for chunk in chunked(samples, lambda _: 1, ROWS, ROWS):
            keys = tuple(sample.content_hash for sample in chunk)
            table = np.array([values.get(key, (np.nan,) * len(names)) for key in keys])
            yield Chunk(measure.key, keys, dict(zip(names, table.T, strict=True)))


def _held_otherwise(
    checkpoint: Checkpoint, dtype: DtypeName, merged: bool, rows: Sequence[ScoreRow], instruments: Instruments
) -> list[tuple[float, float]]:
    """Numbers of the second reading; NaN where the model cannot be held that way, which is no reason to stop a run."""
    try:
        backend = instruments.held_otherwise(checkpoint, dtype, merged)
    except UserError:
        return [(np.nan, np.nan)] * len(rows)
    try:
        return _numbers(backend.score(rows), rows)
    finally:
        backend.close()


def _row(sample: Sample, instruments: Instruments) -> ScoreRow | None:
    try:
        supervision = instruments.supervision(sample)
    except UserError:
        return None
    at = np.flatnonzero(supervision.target[1:]) + 1
    return ScoreRow(supervision.ids, at) if at.size else None


def _numbers(scores: Sequence[TokenScores], rows: Sequence[ScoreRow]) -> list[tuple[float, float]]:
    return [
        (-float(s.logprobs.mean(dtype=np.float64)), float(s.hits(row.ids).mean()))
        for s, row in zip(scores, rows, strict=True)
    ]


KIND = Precision()
