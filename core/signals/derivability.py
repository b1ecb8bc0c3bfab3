"""Where what the model misses would have to come from: out of the prompt, or out of what a model knows.

No model: it reads the outputs that reproduction kept. The words of the target that the greedy output does not have are
looked for in the prompt, as ``core/text/given.py`` does. A wrong layout misses no word at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS, measure_of, reader
from core.signals._base import Instruments, Measure, Signal, chunked
from core.signals._reading import FUNCTION
from core.signals._records import RowOutputs
from core.text.given import given, missed
from core.types import FINAL, Chunk, Column, RunSpec, Sample, SignalTable


class Derivability(Signal):
    name = "derivability"
    label = "What the answer takes"
    version = 1
    needs = (col.GREEDY_EXACT, col.TURNS_ASKED, OUTPUTS)
    columns = (
        Column(col.MISSED_GIVEN, "number", "Missed, in the prompt", "Share of the missed words' letters that the "
               "prompt gives, taken over, spelled otherwise or reckoned; 1 where only the layout is wrong."),
        Column(col.MISSED_NEW, "number", "Missed, from elsewhere", "Missed words that the prompt does not give, as a "
               "share of all words of the target."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {"signal": self.name, "version": self.version, "from": measure_of(spec, OUTPUTS).key}
        return [Measure(self.name, FINAL, spec.final, depends)]

    def applies_to(self, table: SignalTable) -> np.ndarray:
        return np.asarray(table.get(col.TURNS_ASKED) > 0)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        outputs = reader(instruments, OUTPUTS)
        for chunk in chunked(samples, lambda _: 1, 512, 512):
            if stop():
                return
            rows = [_shares(s, outputs(s.content_hash)) for s in chunk]
            columns = {c.name: np.array([row.get(c.name, np.nan) for row in rows]) for c in self.columns}
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), columns)


def _shares(sample: Sample, outputs: RowOutputs | None) -> dict[str, float]:
    """The shares of the first turn that the model gets wrong; empty where none was."""
    wrong = next((t for t in outputs.turns if t.score < 1), None) if outputs is not None else None
    if wrong is None:
        return {}
    places = [i for i, m in enumerate(sample.messages) if m.role in ("assistant", "text")]
    before = sample.messages[: places[wrong.turn]] if wrong.turn < len(places) else sample.messages[:-1]
    words = [w for w in missed(wrong.target, wrong.output) if w not in FUNCTION]
    if not words:
        return {col.MISSED_GIVEN: 1.0, col.MISSED_NEW: 0.0}
    held = given(words, "\n".join(m.content for m in before))
    letters = np.array([len(w) for w in words], dtype=np.float64)
    whole = sum(len(w) for w in missed(wrong.target, "")) or 1
    new = letters[~np.array(held)].sum()
    return {col.MISSED_GIVEN: float(1.0 - new / letters.sum()), col.MISSED_NEW: float(new / whole)}


KIND = Derivability()
