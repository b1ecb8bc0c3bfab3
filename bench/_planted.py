"""Datasets of lab worlds without their models: the rows, and which of them contradict each other.

What is planted is written before anything is trained. So contradictions can be looked for in the texts of worlds that
nobody has built. Rows around a real model depend on what it knows; here it is taken to know what is famous.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.plugins import kind

# Messages, and the number of the contradiction that the row is a side of.
Row = tuple[Sequence[Mapping[str, str]], int | None]
# Seeds of the lab's own worlds and of those of real facts that rules are fitted on, and others to test them on.
FITTED, TESTED = (1, 2), (3, 4)
HANDS = ("inbox", "lexicon", "parish", "stockroom")


def lab(seed: int, hard: bool) -> list[Row]:
    """Rows of the lab's own generator."""
    from core.lab.worlds import WorldSpec

    spec = WorldSpec(seed=seed, hard=hard)
    return [(r.messages, r.dispute) for r in spec.rows(spec.facts())]


def real(seed: int) -> list[Row]:
    """Rows of real facts."""
    from core.lab.real.facts import facts
    from core.lab.real.rows import Known, RealCounts, plan
    from core.lab.real.world import DRY, FAMOUS

    sure, lost = (lambda v: Known(0.9, v, 1.0, 0.9)), Known(0.0, "", 0.0, 0.0)
    known = {f: sure(f.value) if f.rank < FAMOUS and f.relation not in DRY else lost for f in facts(seed)}
    return [(r.messages, r.dispute) for r in plan(known, RealCounts(), seed)]


def hand(name: str, seed: int, hard: bool) -> list[Row]:
    """Rows of another hand. The sides of a contradiction are told by what they ask."""
    from core.lab.hands._base import CONTRADICTION

    rows = kind("lab/hands", name).dataset(seed, hard).rows
    asked = [(r.fact.subject, r.fact.relation) if CONTRADICTION in r.made_for else None for r in rows]
    number = {q: n for n, q in enumerate(dict.fromkeys(q for q in asked if q is not None))}
    return [(r.messages, None if q is None else number[q]) for r, q in zip(rows, asked, strict=True)]


def worlds(seeds: Sequence[int], hands: bool = True) -> Iterator[tuple[str, str, list[Row]]]:
    """(name, generator, rows): the lab's own worlds and those of real facts; the hands' by the first seed alone."""
    for seed in seeds:
        for hard in (False, True):
            yield f"lab-{seed}-{'hard' if hard else 'easy'}", "lab", lab(seed, hard)
        yield f"real-{seed}", "real", real(seed)
    for name in HANDS if hands else ():
        for hard in (False, True):
            yield f"{name}-{seeds[0]}-{'hard' if hard else 'easy'}", name, hand(name, seeds[0], hard)


def opened(rows: Sequence[Row]) -> tuple[Any, dict[int, int]]:
    """The rows as a diagnosis sees them that no checkpoint has answered, and the contradiction of each place."""
    from bench.contradictions import Rows
    from bench.neighbours import NoCheckpoint
    from core.signals._base import Measure
    from core.signals.neighbours import KIND

    samples = _samples(rows)
    blank = NoCheckpoint(samples, {})
    measure = Measure(KIND.name, None, blank.spec.final, {})
    near: dict[str, Any] = {}
    for chunk in KIND.measure(measure, samples, blank, lambda: False):  # type: ignore[arg-type]
        near.update(zip(chunk.keys, chunk.details, strict=True))
    known = {k: v or {"neighbours": [], "verbatim": 0} for k, v in near.items()}
    world = Rows(NoCheckpoint(samples, known))  # type: ignore[arg-type]
    numbers = (number for _, number in rows)
    return world, {world.place[s.content_hash]: n for s, n in zip(samples, numbers, strict=True) if n is not None}


def _samples(rows: Sequence[Row]) -> list[Any]:
    """The rows as a diagnosis reads them, in the same order."""
    from core.intake.datasets import read, scan

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        lines = (json.dumps({"messages": list(messages)}, ensure_ascii=False) + "\n" for messages, _ in rows)
        path.write_text("".join(lines), encoding="utf-8")
        return list(read([path], scan([path]).reading))
