"""The plan of a run: which signals are measured under which checkpoints, in which order, and which cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from core.backends import _base as backends
from core.backends._base import CAPABILITIES, FOLLOWING, Capability
from core.plugins import kind, kinds
from core.signals._artefacts import planned, providers
from core.signals._base import Measure, Signal
from core.types import Checkpoint, Gap, RunSpec

_WORDS = {**CAPABILITIES, **FOLLOWING}
_Of = Literal["backend", "file", "nothing"]


def ordered_signals() -> list[Signal]:
    """The signals, each after those it needs."""
    return list(_ordered(tuple(kinds("signals").items())))


@lru_cache(maxsize=8)
def _ordered(signals: tuple[tuple[str, Signal], ...]) -> list[Signal]:
    ordered: list[Signal] = []
    rest = dict(signals)
    while rest:
        ready = [s for s in rest.values() if not providers(s) & rest.keys()]
        if not ready:
            raise RuntimeError(f"signals need each other in a circle: {', '.join(rest)}")
        ordered += ready
        for signal in ready:
            del rest[signal.name]
    return ordered


def plan(spec: RunSpec) -> list[Measure]:
    """All measurements of a run that its backend can make, in the order to make them.

    Those of one checkpoint stand together where needs allow it. One that would leave all its columns empty is left out.
    """
    measures = []
    for signal in ordered_signals():
        declared = {column.name for column in signal.columns}
        for measure in planned(signal, spec):
            capabilities = capabilities_of(spec, measure.checkpoint)
            empty = {n for names in _empty(measure, (), capabilities).values() for n in names}
            if capabilities.issuperset(measure.requires) and declared - empty:
                measures.append(measure)
    return measures


def capabilities_of(spec: RunSpec, checkpoint: Checkpoint) -> frozenset[Capability]:
    """What is given of a checkpoint: by the run's backend, or where it has no weights by its files.

    All checkpoints are given the token ids of the final one's tokenizer.
    """
    given = set(checkpoint.gives or ())
    if checkpoint.has_weights:
        given = set(backends.capabilities_of(kind("backends", spec.backend), checkpoint))
    given |= {"losses"} if "logprobs" in given else set()
    given |= {"outputs"} if "generations" in given else set()
    given -= {"tokens"}
    if spec.final.gives is None or "tokens" in spec.final.gives:
        given.add("tokens")
    return frozenset(c for c in _WORDS if c in given)


def gaps_of(spec: RunSpec) -> tuple[Gap, ...]:
    """What the run cannot measure because its backend lacks what it takes; one gap for each thing it lacks."""
    labels: dict[tuple[Capability, str, _Of], list[str]] = {}
    columns: dict[tuple[Capability, str, _Of], list[str]] = {}
    for signal in ordered_signals():
        headings = {column.name: column.label for column in signal.columns}
        for measure in signal.plan(spec):
            capabilities = capabilities_of(spec, measure.checkpoint)
            for capability, names in _empty(measure, tuple(headings), capabilities).items():
                lack = (capability, *_giver(spec, measure.checkpoint))
                words = ", ".join(headings[name].lower() for name in names if name in headings)
                whole = capability in measure.requires or headings.keys() <= set(names)
                labels.setdefault(lack, []).append(signal.label if whole else f"{signal.label} ({words})")
                columns.setdefault(lack, []).extend(x for name in names for x in (name, measure.column(name)))
    return tuple(
        Gap(_WORDS[c], by, tuple(dict.fromkeys(labels[c, by, of])), tuple(dict.fromkeys(columns[c, by, of])), of)
        for c, by, of in labels
    )


def _giver(spec: RunSpec, checkpoint: Checkpoint) -> tuple[str, _Of]:
    """What should give the numbers of a checkpoint, and what that is."""
    if checkpoint.has_weights:
        return kind("backends", spec.backend).label, "backend"
    return (Path(checkpoint.files[0]).name, "file") if checkpoint.files else ("", "nothing")


def _empty(
    measure: Measure, declared: tuple[str, ...], capabilities: frozenset[Capability]
) -> Mapping[Capability, tuple[str, ...]]:
    """Columns of a measurement that stay empty, each under the first thing it lacks."""
    for capability in measure.requires:
        if capability not in capabilities:
            return {capability: declared}
    empty: dict[Capability, tuple[str, ...]] = {}
    for capability, names in measure.partly.items():
        counted = {name for own in empty.values() for name in own}
        if capability not in capabilities and (rest := tuple(n for n in names if n not in counted)):
            empty[capability] = rest
    return empty
