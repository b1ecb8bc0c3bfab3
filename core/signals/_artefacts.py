"""What signals keep of a sample beside its numbers, and who measures it.

An artefact is named by what it is, so that a signal which reads it does not know which signal made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from core.plugins import kinds
from core.signals._records import BaseAnswers, Choices, Dispute, NearRows, Record, RowOutputs, RowTokens
from core.types import FINAL, Role, RunSpec

if TYPE_CHECKING:
    from core.signals._base import Instruments, Measure, Signal

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Artefact(Generic[R]):
    """Details that one signal keeps of each sample (``Chunk.details``): what they are, and their record."""

    name: str
    record: type[R]


TOKENS = Artefact("token scores of the rendered row", RowTokens)
OUTPUTS = Artefact("greedy and sampled answers of each turn", RowOutputs)
NEAR_ROWS = Artefact("rows that may ask the same", NearRows)
DISPUTE = Artefact("the group of contradicting rows", Dispute)
BELIEF = Artefact("the base's answers", BaseAnswers)
CHOICES = Artefact("probabilities of the options", Choices)


def provider(need: str | Artefact[Any]) -> Signal:
    """The signal that measures a column or keeps an artefact."""
    for signal in kinds("signals").values():
        if need == signal.artefact or any(need == column.name for column in signal.columns):
            return signal
    raise RuntimeError(f"no signal provides {need!r}")


def providers(signal: Signal) -> frozenset[str]:
    """Names of the signals that must be measured before this one."""
    return frozenset(provider(need).name for need in signal.needs)


def planned(signal: Signal, spec: RunSpec) -> list[Measure]:
    """The measurements of a signal in a run. Those of a run that came as a bundle have keys of their own."""
    measures = signal.plan(spec)
    if not spec.origin:
        return measures
    return [replace(m, depends={**m.depends, "origin": spec.origin}) for m in measures]


def find_measure(spec: RunSpec, artefact: Artefact[Any], role: Role = FINAL) -> Measure | None:
    """The measurement of a run that keeps an artefact, under a checkpoint or without weights; None: it has none."""
    return next((m for m in planned(provider(artefact), spec) if m.role in (role, None)), None)


def measure_of(spec: RunSpec, artefact: Artefact[Any], role: Role = FINAL) -> Measure:
    """``find_measure`` of what the run must have; raises RuntimeError where it has not."""
    measure = find_measure(spec, artefact, role)
    if measure is None:
        raise RuntimeError(f"no {artefact.name} under the {role.kind} checkpoint in this run")
    return measure


def reader(instruments: Instruments, artefact: Artefact[R], role: Role = FINAL) -> Callable[[str], R | None]:
    """Content hash to what the run kept of that sample; None where it kept nothing."""
    measure = measure_of(instruments.spec, artefact, role)

    def read(content_hash: str) -> R | None:
        value = instruments.details(measure, content_hash)
        return None if value is None else artefact.record.from_dict(value)

    return read
