"""What a diagnosis would measure and how long it would take, without measuring it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.services.jobs import Work
from core.services.preflight import handle_preflight
from core.services.reuse import Step
from core.signals._plan import gaps_of
from core.types import Gap, RunSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order, what cannot be measured, and what the check before a run says.

    ``estimate``: seconds, ``low`` to ``high``, of a whole run from a measured handful of rows; None where the check
    fails. ``text`` says it in words. ``known``: what earlier runs measured, in words.
    """

    steps: tuple[Step, ...]
    gaps: tuple[Gap, ...]
    usable: bool
    checks: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    estimate: Mapping[str, Any] | None
    known: str = ""


def plan_of(spec: RunSpec, work: Work) -> Plan:
    """The plan of a run; the final checkpoint is opened for a moment, to be timed."""
    result = handle_preflight(work, {"spec": spec.as_dict()})
    checks = tuple(result["card"]["checks"])
    steps = tuple(Step(**{**step, "after": tuple(step["after"])}) for step in result["steps"])
    return Plan(steps, gaps_of(spec), result["usable"], checks, result["counts"], result["estimate"], result["known"])
