"""The causes of incomplete learning, judged from evidence: one file a cause.

Weights come from ``parameters.json``: one set for each combination of what a run has (base, trajectory), so that a
cause is not judged by weights that count on evidence that is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.causes._evidence import has, measure_evidence, reason
from core.plugins import kinds
from core.types import Reason, RunSpec, SignalTable

PARAMETERS = Path(__file__).with_name("parameters.json")
UNDETERMINED = "undetermined"
# Sentences shown for each side of a cause, loudest first.
SAID = 4


@dataclass(frozen=True, slots=True)
class Attribution:
    """Causes of n samples.

    Attributes:
        cause: (n,) object: a cause's name, ``undetermined``, or None where nothing was to be judged.
        confidence: (n,) probability that the named cause is right, as calibrated; NaN where none is named.
        strengths: cause to (n,) in [0, 1]; NaN = not judged.
        evidence: piece to (n,) in [0, 1]; NaN = not measured.
    """

    cause: np.ndarray
    confidence: np.ndarray
    strengths: Mapping[str, np.ndarray]
    evidence: Mapping[str, np.ndarray]


@cache
def parameters() -> Mapping[str, Any]:
    """The calibrated parameters that ship with this version."""
    return json.loads(PARAMETERS.read_text(encoding="utf-8"))


def at_hand(spec: RunSpec, table: SignalTable) -> str:
    """Which set of parameters fits the run: ``base+trajectory``, ``base``, ``trajectory`` or ``none``."""
    return "+".join(r for r in ("base", "trajectory") if has(spec, r, table)) or "none"


def parameters_of(spec: RunSpec, table: SignalTable) -> Mapping[str, Any]:
    """The set of parameters that judges a run which has these signals."""
    return parameters()["sets"][at_hand(spec, table)]


def attribute(
    spec: RunSpec,
    table: SignalTable,
    learned: np.ndarray,
    asked: np.ndarray,
    weights: Mapping[str, Any] | None = None,
) -> Attribution:
    """Why samples were not learned. Pure: no model, no clock, no randomness.

    Args:
        table: signals, derivations and facts of all n samples.
        learned: (n,) bool, what the evidence is compared with.
        asked: (n,) bool, the samples that are to get a cause.
        weights: one set of ``parameters.json``; None takes the one that fits what the run has.
    """
    evidence = measure_evidence(table, learned)
    chosen = parameters_of(spec, table) if weights is None else weights
    strengths = {}
    for name, cause in kinds("causes").items():
        judged = all(has(spec, r, table) for r in cause.requires) and name in chosen["causes"]
        strengths[name] = (
            np.where(asked, strength(chosen["causes"][name], evidence), np.nan)
            if judged
            else np.full(len(table.keys), np.nan)
        )
    cause, confidence = decide(strengths, chosen["decision"])
    return Attribution(cause, confidence, strengths, evidence)


def strength(weights: Mapping[str, Any], evidence: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) strength of one cause; NaN where none of the pieces that speak for it was measured."""
    mine = [evidence[name] for name in weights["for"]]
    known = np.any([np.isfinite(e) for e in mine], axis=0) if mine else False
    total = np.full(len(next(iter(evidence.values()))), float(weights["bias"]))
    for sign, side in ((1.0, "for"), (-1.0, "against")):
        for name, weight in weights[side].items():
            total = total + sign * weight * np.nan_to_num(evidence[name], nan=0.0)
    return np.where(known, 1.0 / (1.0 + np.exp(-total)), np.nan)


def decide(strengths: Mapping[str, np.ndarray], decision: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """The strongest cause of each sample and how sure it is.

    confidence = sigmoid(bias + top * logit(strongest) + margin * (logit(strongest) - logit(second))), fitted on worlds
    with known truth (Platt 1999, with two inputs). Below ``undetermined_below`` no cause is named.

    Returns:
        cause (n,) object, confidence (n,).
    """
    names = list(strengths)
    table = np.stack([strengths[n] for n in names], axis=1)
    judged = np.isfinite(table).any(axis=1)
    ranked = np.sort(np.nan_to_num(table, nan=0.0), axis=1)[:, ::-1]
    first, second = logit(ranked[:, 0]), logit(ranked[:, 1])
    total = decision["bias"] + decision["top"] * first + decision["margin"] * (first - second)
    confidence = np.where(judged, 1.0 / (1.0 + np.exp(-total)), np.nan)
    cause = np.array(names, dtype=object)[np.nan_to_num(table, nan=-1.0).argmax(axis=1)]
    cause[confidence < decision["undetermined_below"]] = UNDETERMINED
    cause[~judged] = None
    return cause, confidence


def logit(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), with p kept 1e-6 away from 0 and 1."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def explain_cause(name: str, row: Mapping[str, float], weights: Mapping[str, Any] | None) -> tuple[Reason, ...]:
    """What speaks for and against a cause in one row, loudest first.

    Args:
        row: the row's signals, derivations and ``evidence_<piece>`` columns; NaN = not measured.
        weights: the set that judged the run; None where there is none.
    """
    cause = kinds("causes")[name]
    if weights is None or name not in weights["causes"]:
        return (Reason(f"Not judged: {cause.needs} would let it be.", favours="note"),)
    mine, said = weights["causes"][name], []
    for side in ("for", "against"):
        for piece, weight in mine[side].items():
            loud = weight * np.nan_to_num(row.get(f"evidence_{piece}", np.nan), nan=0.0)
            sentence = reason(piece, row, side) if loud > 0.1 else None
            if sentence is not None:
                said.append((loud, side, sentence))
    # One number may speak on both sides ("2 rows share its pattern"): it is said where it is louder.
    once: dict[str, tuple[str, Reason]] = {}
    for _, side, sentence in sorted(said, key=lambda found: -found[0]):
        once.setdefault(sentence.text, (side, sentence))
    return tuple(s for side in ("for", "against") for s in [s for of, s in once.values() if of == side][:SAID])
