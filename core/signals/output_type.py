"""Is a wrong answer of the right kind? What greedy decoding gives, beside the target's pattern.

A model that names a year where a year was asked for has learned the shape and not the fact; one that answers with
another kind of text has not learned the shape either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from core.plugins import kind
from core.signals._base import Instruments, Measure, chunked
from core.signals._shapes import patterns_of
from core.text.patterns import Patterns, same_type
from core.types import Chunk, Column, RunSpec, Sample, SignalTable


class OutputType:
    name = "output_type"
    label = "Kind of the answer"
    version = 1
    needs = ("likelihood", "reproduction")
    whole = True
    columns = (
        Column("output_type_right", "flag", "Right kind", "What greedy decoding gives has the shape of the target, be"
               " it right or wrong.", indexed=True),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        asked = kind("signals", "reproduction").plan(spec)[0]
        depends = {
            "signal": self.name,
            "version": self.version,
            "dataset": spec.dataset_fingerprint,
            "asked": dict(asked.depends),
        }
        return [Measure(self.name, "final", spec.final, depends)]

    def wanted(self, table: SignalTable) -> np.ndarray:
        """Rows whose answer is known: given verbatim, or asked for."""
        return (table.get("greedy_exact") == 1) | (table.get("turns_asked") > 0)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        patterns = patterns_of(instruments.samples())
        asked = kind("signals", "reproduction").plan(instruments.spec)[0]
        for chunk in chunked(samples, lambda _: 1, 512, 512):
            if stop():
                return
            said = [instruments.details(asked, s.content_hash) for s in chunk]
            right = np.array([_is_right(patterns, answer) for answer in said])
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), {"output_type_right": right})


def _is_right(patterns: Patterns, asked: dict[str, Any] | None) -> float:
    """1 where every output has its target's shape. A row that was not asked gives its target verbatim."""
    turns = (asked or {}).get("turns", ())
    return float(all(same_type(patterns.answer(t["target"]), patterns.answer(t["output"])) for t in turns))


KIND = OutputType()
