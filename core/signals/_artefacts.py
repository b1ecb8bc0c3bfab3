"""What signals keep of a sample beside its numbers, and who measures it.

An artefact is named by what it is, so that a signal which reads it does not know which signal made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.plugins import kinds
from core.types import FINAL, Role, RunSpec

if TYPE_CHECKING:
    from core.signals._base import Measure, Signal


@dataclass(frozen=True, slots=True)
class Artefact:
    """Details that one signal keeps of each sample (``Chunk.details``); ``name`` says what they are."""

    name: str


TOKENS = Artefact("token scores of the rendered row")
OUTPUTS = Artefact("greedy and sampled answers of each turn")
NEAR_ROWS = Artefact("rows that may ask the same")
DISPUTE = Artefact("the group of contradicting rows")
BELIEF = Artefact("the base's answers")
CHOICES = Artefact("probabilities of the options")
SHAPES = Artefact("patterns of question and answer")


def provider(need: str | Artefact) -> Signal:
    """The signal that measures a column or keeps an artefact."""
    for signal in kinds("signals").values():
        if need == signal.artefact or any(need == column.name for column in signal.columns):
            return signal
    raise RuntimeError(f"no signal provides {need!r}")


def providers(signal: Signal) -> frozenset[str]:
    """Names of the signals that must be measured before this one."""
    return frozenset(provider(need).name for need in signal.needs)


def measure_of(spec: RunSpec, artefact: Artefact, role: Role = FINAL) -> Measure:
    """The measurement that keeps an artefact in a run, under a checkpoint or without weights.

    Raises:
        RuntimeError: the run does not make it.
    """
    for measure in provider(artefact).plan(spec):
        if measure.role in (role, None):
            return measure
    raise RuntimeError(f"no {artefact.name} under the {role.kind} checkpoint in this run")
