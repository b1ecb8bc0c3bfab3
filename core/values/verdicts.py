"""What is measured and what is concluded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from core.values.checkpoints import Role


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a signal yields and the worker stores.

    Attributes:
        measure: key of the measurement (signal, its version and settings, checkpoint, supervision).
        keys: (k,) content hashes of the samples.
        columns: name to (k,) float64; NaN = not measured.
        details: per sample, JSON-able bulky evidence (per-token values, generated texts), or None.
    """

    measure: str
    keys: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    details: tuple[Mapping[str, Any] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """What a run cannot measure for lack of something that its backend, or what stands for a model, does not give.

    Attributes:
        lack: what is not given, in words that follow "needs".
        backend: label of the backend or file that does not give it; empty where no model was given.
        labels: headings of what is not measured.
        columns: names that stay empty in the run's table.
        of: what ``backend`` names.
    """

    lack: str
    backend: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    of: Literal["backend", "file", "nothing"] = "backend"

    @property
    def needs(self) -> str:
        if self.of == "nothing":
            return f"{self.lack} (no model was given)"
        return f"{self.lack}, which the {self.of} “{self.backend}” does not give"

    @property
    def text(self) -> str:
        labels = ", ".join(self.labels)
        if self.of == "nothing":
            return f"No model was given. Not measured for want of the {self.lack}: {labels}."
        return f"The {self.of} “{self.backend}” does not give {self.lack}. Not measured: {labels}."


@dataclass(frozen=True, slots=True)
class SignalTable:
    """Signals of n samples side by side. ``columns``: name to (n,) float64, NaN = not measured."""

    keys: tuple[str, ...]
    columns: Mapping[str, np.ndarray]

    def get(self, name: str) -> np.ndarray:
        """(n,) float64; all NaN where nothing of that name was measured."""
        values = self.columns.get(name)
        return values if values is not None else np.full(len(self.keys), np.nan)

    def steps(self, name: str) -> dict[Role, np.ndarray]:
        """The column under each checkpoint of the trajectory that it was measured under, in their order."""
        return {role: self.get(role.column(name)) for role in Role.steps(self.columns, name)}


class Status(StrEnum):
    LEARNED = "learned"
    PARTLY = "partly"
    UNLEARNED = "unlearned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence of evidence with its numbers, and what it speaks for."""

    text: str
    favours: Literal["for", "against", "note"] = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause with its strength in [0, 1]; NaN = not judged."""

    cause: str
    strength: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is concluded about one sample.

    Attributes:
        status: learned, partly, unlearned, unknown.
        reasons: sentences for the status and the fault.
        cause: None (learned, or nothing was judged), a cause's name, ``pipeline:<fault>`` or ``undetermined``.
        confidence: calibrated probability that the named cause is right, None where none is named.
        findings: the causes where one was looked for, strongest first; those not judged last, each saying why not.
        proof: what a proof of the cause's recipe says of the sample.
    """

    status: Status
    reasons: tuple[Reason, ...] = ()
    cause: str | None = None
    confidence: float | None = None
    findings: tuple[Finding, ...] = ()
    proof: tuple[Reason, ...] = ()

    @property
    def evidence(self) -> tuple[Reason, ...]:
        """Everything that speaks for or against what is concluded: the status, the named cause or fault, the proof."""
        of_cause = (reason for finding in self.findings if finding.cause == self.cause for reason in finding.reasons)
        return (*self.reasons, *of_cause, *self.proof)

    def strength(self, cause: str) -> float:
        """Strength of a cause in [0, 1]; NaN where it was not judged."""
        return next((f.strength for f in self.findings if f.cause == cause), math.nan)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits that turn signals into a status. Moving them loads no model.

    Attributes:
        unlearned_below: success rate under sampling below which a sample counts as unlearned (0.2 as in the paper).
        certainty: posterior probability asked for before saying on which side of the limit the rate lies.
        success_cut: score from which a scorer's graded judgement counts as right (token F1, embedding).
    """

    unlearned_below: float = 0.2
    certainty: float = 0.9
    success_cut: float = 0.8
