"""Which rows ask the same question and give answers that cannot both be right, and which side the checkpoint takes.

Groups, not only pairs. Evidence of wording comes from the neighbours signal; the checkpoint adds its own behaviour: two
wordings of one question give it nearly the same preference between the two answers, two questions do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from core.pairs.groups import Pair, grouped
from core.signals import _columns as col
from core.signals._artefacts import DISPUTE, NEAR_ROWS, OUTPUTS, measure_of
from core.signals._base import Instruments, Measure, Signal, supervision_facts
from core.signals._disputes import Disputes
from core.types import FINAL, Chunk, Column, RunSpec, Sample, SignalTable

_CHUNK = 256


class Contradictions(Signal):
    name = "contradictions"
    label = "Contradictions"
    version = 7
    artefact = DISPUTE
    needs = (col.SAME_QUESTION, col.GREEDY_EXACT, NEAR_ROWS, OUTPUTS)
    whole = True
    columns = (
        Column(col.CONTRADICTION, "number", "Contradiction",
               "How sure it is that another row asks the same and both answers cannot be right.", "", indexed=True),
        Column(col.GROUP, "number", "Group", "Number of the contradiction group.", indexed=True),
        Column(col.GROUP_SIZE, "number", "Group size", "Rows in the group, copies included."),
        Column(col.SIDE_SHARE, "number", "Side share", "Share of the group's rows that give this row's answer."),
        Column(col.SIDE_WINS, "flag", "Other side wins", "The checkpoint gives another side's answer.", indexed=True),
        Column(col.BOTH_VALID, "number", "Both valid", "How sure it is that both answers may be right."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {
            "signal": self.name,
            "version": self.version,
            "weights": spec.final.fingerprint,
            "neighbours": measure_of(spec, NEAR_ROWS).key,
            "reproduction": measure_of(spec, OUTPUTS).key,
            **supervision_facts(spec),
        }
        return [Measure(self.name, FINAL, spec.final, depends)]

    def applies_to(self, table: SignalTable) -> np.ndarray:
        return np.asarray(np.isfinite(table.get(col.SAME_QUESTION)))

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        with closing(Disputes(instruments)) as disputes:
            yield from self._found(measure, samples, disputes, stop)

    def _found(
        self, measure: Measure, samples: Sequence[Sample], disputes: Disputes, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        pairs = disputes.pairs(stop)
        if pairs is None:
            return
        groups = [g for g in grouped(pairs, disputes.copies) if g.strength > 0]
        of = {m: (number, g) for number, g in enumerate(groups, 1) for side in g.sides for m in side}
        best: dict[int, Pair] = {}
        for p in pairs:
            for m in (p.a, p.b):
                if m not in best or p.contradiction > best[m].contradiction:
                    best[m] = p
        for at in range(0, len(samples), _CHUNK):
            if stop():
                return
            block = samples[at : at + _CHUNK]
            columns = {c.name: np.full(len(block), np.nan) for c in self.columns}
            details: list[dict[str, Any] | None] = []
            for i, sample in enumerate(block):
                row = disputes.place[sample.content_hash]
                strongest = best.get(row)
                columns[col.CONTRADICTION][i] = strongest.contradiction if strongest else 0.0
                columns[col.BOTH_VALID][i] = disputes.both_valid(row)
                if row not in of:
                    details.append(None)
                    continue
                values, dispute = disputes.describe(row, *of[row])
                for name, value in values.items():
                    columns[name][i] = value
                details.append(dispute.as_dict())
            yield Chunk(measure.key, tuple(s.content_hash for s in block), columns, tuple(details))


KIND = Contradictions()
