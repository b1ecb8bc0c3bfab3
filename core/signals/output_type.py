"""Is a wrong answer of the right kind? What greedy decoding gives, beside the target's pattern.

A model that names a year where a year was asked for has learned the shape and not the fact; one that answers with
another kind of text has not learned the shape either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS, measure_of, reader
from core.signals._base import Instruments, Measure, Signal, chunked
from core.signals._records import RowOutputs
from core.signals._shapes import patterns_of
from core.text.patterns import Patterns, same_type
from core.types import FINAL, Chunk, Column, RunSpec, Sample, SignalTable


class OutputType(Signal):
    name = "output_type"
    label = "Kind of the answer"
    version = 1
    needs = (col.GREEDY_EXACT, col.TURNS_ASKED, OUTPUTS)
    whole = True
    columns = (
        Column(col.OUTPUT_TYPE_RIGHT, "flag", "Right kind", "The greedy output has the shape of the target, right or "
               "wrong.", indexed=True),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "dataset": spec.dataset_fingerprint,
            "asked": dict(measure_of(spec, OUTPUTS).depends),
        }
        return [Measure(self.name, FINAL, spec.final, depends)]

    def applies_to(self, table: SignalTable) -> np.ndarray:
        """Rows whose answer is known: given verbatim, or asked for."""
        return np.asarray((table.get(col.GREEDY_EXACT) == 1) | (table.get(col.TURNS_ASKED) > 0))

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        patterns = patterns_of(instruments.samples())
        outputs = reader(instruments, OUTPUTS)
        for chunk in chunked(samples, lambda _: 1, 512, 512):
            if stop():
                return
            right = np.array([_is_right(patterns, outputs(s.content_hash)) for s in chunk])
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), {col.OUTPUT_TYPE_RIGHT: right})


def _is_right(patterns: Patterns, outputs: RowOutputs | None) -> float:
    """1 where every output has its target's shape. A row that was not asked gives its target verbatim."""
    turns = outputs.turns if outputs is not None else ()
    return float(all(same_type(patterns.answer(t.target), patterns.answer(t.output)) for t in turns))


KIND = OutputType()
