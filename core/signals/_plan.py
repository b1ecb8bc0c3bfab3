"""The plan of a run: which signals are measured under which checkpoints, and in which order."""

from __future__ import annotations

from typing import Any

from core.plugins import kinds
from core.signals._base import Measure
from core.types import (
    RunSpec,
)


def ordered_signals() -> list[Any]:
    """The signals, each after those it needs."""
    found, out = kinds("signals"), []
    while len(out) < len(found):
        ready = [s for s in found.values() if s not in out and all(found[n] in out for n in s.needs)]
        if not ready:
            raise RuntimeError(f"signals need each other in a circle: {sorted(set(found) - {s.name for s in out})}")
        out += ready
    return out


def plan(spec: RunSpec) -> list[Measure]:
    """All measurements of a run, in the order to make them; one checkpoint's stand together where needs allow it."""
    return [m for signal in ordered_signals() for m in signal.plan(spec)]
