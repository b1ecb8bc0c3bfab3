"""The plan of a run: which signals are measured under which checkpoints, in which order, and which cannot be."""

from __future__ import annotations

from collections.abc import Mapping

from core.backends._base import CAPABILITIES, Capability
from core.plugins import kind, kinds
from core.signals._artefacts import planned, providers
from core.signals._base import Measure, Signal
from core.types import Gap, RunSpec


def ordered_signals() -> list[Signal]:
    """The signals, each after those it needs."""
    ordered: list[Signal] = []
    rest = dict(kinds("signals"))
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

    Those of one checkpoint stand together where needs allow it.
    """
    capabilities = kind("backends", spec.backend).capabilities
    measures = [m for signal in ordered_signals() for m in planned(signal, spec)]
    return [m for m in measures if capabilities.issuperset(m.requires)]


def gaps_of(spec: RunSpec) -> tuple[Gap, ...]:
    """What the run cannot measure because its backend lacks what it takes; one gap for each thing it lacks."""
    backend = kind("backends", spec.backend)
    labels: dict[Capability, list[str]] = {}
    columns: dict[Capability, list[str]] = {}
    for signal in ordered_signals():
        headings = {column.name: column.label for column in signal.columns}
        for measure in signal.plan(spec):
            for capability, names in _empty(measure, tuple(headings), backend.capabilities).items():
                words = ", ".join(headings[name].lower() for name in names if name in headings)
                whole = capability in measure.requires
                labels.setdefault(capability, []).append(signal.label if whole else f"{signal.label} ({words})")
                columns.setdefault(capability, []).extend(x for name in names for x in (name, measure.column(name)))
    return tuple(
        Gap(CAPABILITIES[c], backend.label, tuple(dict.fromkeys(labels[c])), tuple(dict.fromkeys(columns[c])))
        for c in labels
    )


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
