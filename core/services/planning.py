"""What a diagnosis would measure and how long it would take, without measuring it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.plugins import kind
from core.services.jobs import Work
from core.services.preflight import handle_preflight
from core.signals._artefacts import providers
from core.signals._plan import gaps_of, plan
from core.types import Gap, RunSpec
from db import samples as sample_table
from db import signals as signal_table
from db.session import database


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement.

    Attributes:
        label: what is measured; ``checkpoint``: under which.
        samples: contents that it looks at, at most: some look only at what others leave open (``after``).
        stored: of these, how many were measured before and are taken from the store.
    """

    signal: str
    label: str
    checkpoint: str
    samples: int
    stored: int
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order, what cannot be measured, and what the check before a run says.

    ``estimate``: seconds, ``low`` to ``high``, of a whole run from a measured handful of rows; None where the check
    fails. ``text`` says it in words.
    """

    steps: tuple[Step, ...]
    gaps: tuple[Gap, ...]
    usable: bool
    checks: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    estimate: Mapping[str, Any] | None


def plan_of(spec: RunSpec, work: Work) -> Plan:
    """The plan of a run; the final checkpoint is opened for a moment, to be timed."""
    with database().reading() as conn:
        hashes = list(dict.fromkeys(sample_table.content_hashes(conn, spec.dataset_id)))
        steps = []
        for measure in plan(spec):
            signal = kind("signals", measure.signal)
            known = signal_table.find_measures(conn, [measure.key])
            missing = [signal_table.missing(conn, i, hashes) for i in known.values()]
            stored = len(hashes) - len(missing[0]) if missing else 0
            needed = sorted(kind("signals", name).label for name in providers(signal))
            steps.append(
                Step(measure.signal, signal.label, measure.checkpoint.label, len(hashes), stored, tuple(needed))
            )
    found = handle_preflight(work, {"spec": spec.as_dict()})
    checks = tuple(found["card"]["checks"])
    return Plan(tuple(steps), gaps_of(spec), found["usable"], checks, found["counts"], found["estimate"])
