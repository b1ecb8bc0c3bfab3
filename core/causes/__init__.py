"""Why samples were not learned, judged from evidence. One file is one cause.

Weights come from ``parameters.json``, fitted on worlds whose causes are known: one set for each combination of what a
run has (base, trajectory), so that a cause is not judged by weights that count on evidence that is not there. A cause
that no set names is judged by the weights it declares itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.causes._base import Cause
from core.causes._evidence import has, measure_evidence, pieces, reason
from core.plugins import kinds
from core.signals import _columns as col
from core.types import EVIDENCE, STRENGTH, Column, Gap, Look, Reason, Role, RunSpec, SignalTable

PARAMETERS = Path(__file__).with_name("parameters.json")
UNDETERMINED = "undetermined"
UNDETERMINED_LOOK = Look("#8793A0", "?", "-", "Undetermined")
# Sentences for each side of a cause, the loudest first; a piece below this loudness is left out. A cause for which none
# is loud enough is not named.
SENTENCES, AUDIBLE = 4, 0.1
# A column that is there where a requirement is met, unless the backend could not measure it.
_MEASURED_BY = {"base": col.BASE_NLL, "trajectory": Role("checkpoint").column(col.GREEDY_EXACT)}


@dataclass(frozen=True, slots=True)
class Attribution:
    """Causes of n samples.

    Attributes:
        cause: (n,) object: a cause's name, ``undetermined``, or None where nothing was to be judged.
        confidence: (n,) probability that the likeliest cause is right, as calibrated; NaN where nothing speaks for it.
        strengths: cause to (n,) in [0, 1]; NaN = not judged.
        evidence: piece to (n,) in [0, 1]; NaN = not measured.
    """

    cause: np.ndarray
    confidence: np.ndarray
    strengths: Mapping[str, np.ndarray]
    evidence: Mapping[str, np.ndarray]


def ordered_causes() -> tuple[Cause, ...]:
    """The causes in the order in which they are listed."""
    return tuple(sorted(kinds("causes").values(), key=lambda c: (c.order, c.name)))


def strength_columns() -> tuple[Column, ...]:
    """A column of the verdict table for every cause."""
    return tuple(
        Column(STRENGTH.of(c.name), "number", c.label, f"Strength: {c.help}", indexed=True) for c in ordered_causes()
    )


@cache
def parameters() -> Mapping[str, Any]:
    """The calibrated parameters that ship with this version."""
    parsed: Mapping[str, Any] = json.loads(PARAMETERS.read_text(encoding="utf-8"))
    return parsed


def set_name(spec: RunSpec, table: SignalTable) -> str:
    """Which set of parameters fits the run: ``base+trajectory``, ``base``, ``trajectory`` or ``none``."""
    return "+".join(r for r in ("base", "trajectory") if has(spec, r, table)) or "none"


def parameters_of(spec: RunSpec, table: SignalTable) -> Mapping[str, Any]:
    """The parameters that judge a run which has these signals.

    Returns:
        One set of ``parameters.json``. ``causes`` also holds the weights that causes declare themselves, marked
        ``by_hand``, where the set has none and the run has what they require.
    """
    fitted = parameters()["sets"][set_name(spec, table)]
    by_hand = {
        cause.name: {
            "bias": cause.weights.bias,
            "for": dict(cause.weights.speaks_for),
            "against": dict(cause.weights.speaks_against),
            "by_hand": True,
        }
        for cause in ordered_causes()
        if cause.weights is not None and cause.name not in fitted["causes"] and _judgeable(cause, spec, table)
    }
    return {**fitted, "causes": {**fitted["causes"], **by_hand}}


def _judgeable(cause: Cause, spec: RunSpec, table: SignalTable) -> bool:
    return all(has(spec, requirement, table) for requirement in cause.requires)


def attribute(
    spec: RunSpec,
    table: SignalTable,
    learned: np.ndarray,
    unexplained: np.ndarray,
    weights: Mapping[str, Any] | None = None,
) -> Attribution:
    """Why samples were not learned. Pure: no model, no clock, no randomness.

    Args:
        table: signals, derivations and facts of all n samples.
        learned: (n,) bool, what the evidence is compared with.
        unexplained: (n,) bool, the samples that are to get a cause.
        weights: one set of ``parameters.json``; None takes what ``parameters_of`` gives.
    """
    evidence = measure_evidence(table, learned)
    weights = parameters_of(spec, table) if weights is None else weights
    strengths = {}
    for name, cause in kinds("causes").items():
        values = np.full(len(table.keys), np.nan)
        if name in weights["causes"] and _judgeable(cause, spec, table):
            values = np.where(unexplained, strength(weights["causes"][name], evidence), np.nan)
        strengths[name] = values
    cause_of, confidence = conclude(strengths, evidence, weights)
    return Attribution(cause_of, confidence, strengths, evidence)


def conclude(
    strengths: Mapping[str, np.ndarray], evidence: Mapping[str, np.ndarray], weights: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """What ``decide`` gives, but for causes for which nothing speaks: those are not named."""
    cause, confidence = decide(strengths, weights["decision"])
    for name, own in weights["causes"].items():
        silent = (cause == name) & ~speaks(own, evidence)
        cause[silent], confidence[silent] = UNDETERMINED, np.nan
    return cause, confidence


def speaks(weights: Mapping[str, Any], evidence: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) bool: whether a piece speaks for the cause loudly enough to be told. A cause that is left over because the
    evidence for others was not measured is no verdict."""
    heard = [weight * np.nan_to_num(evidence[name]) > AUDIBLE for name, weight in weights["for"].items()]
    return np.any(heard, axis=0) if heard else np.zeros(len(next(iter(evidence.values()))), dtype=bool)


def strength(weights: Mapping[str, Any], evidence: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) strength of one cause; NaN where none of the pieces that speak for it was measured."""
    from scipy.special import expit

    favourable = [evidence[name] for name in weights["for"]]
    measured = np.any([np.isfinite(e) for e in favourable], axis=0) if favourable else False
    total = np.full(len(next(iter(evidence.values()))), float(weights["bias"]))
    for sign, side in ((1.0, "for"), (-1.0, "against")):
        for name, weight in weights[side].items():
            total = total + sign * weight * np.nan_to_num(evidence[name], nan=0.0)
    return np.where(measured, expit(total), np.nan)


def decide(strengths: Mapping[str, np.ndarray], decision: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """The strongest cause of each sample and how sure it is.

    confidence = sigmoid(bias + top * logit(strongest) + margin * (logit(strongest) - logit(second))), fitted on worlds
    with known truth (Platt 1999, with two inputs). Below ``undetermined_below`` no cause is named.

    Returns:
        cause (n,) object, confidence (n,).
    """
    from scipy.special import expit

    names = list(strengths)
    table = np.stack([strengths[n] for n in names], axis=1)
    judged = np.isfinite(table).any(axis=1)
    ranked = np.sort(np.nan_to_num(table, nan=0.0), axis=1)[:, ::-1]
    first, second = logit(ranked[:, 0]), logit(ranked[:, 1])
    total = decision["bias"] + decision["top"] * first + decision["margin"] * (first - second)
    confidence = np.where(judged, expit(total), np.nan)
    cause = np.array(names, dtype=object)[np.nan_to_num(table, nan=-1.0).argmax(axis=1)]
    cause[confidence < decision["undetermined_below"]] = UNDETERMINED
    cause[~judged] = None
    return cause, confidence


def logit(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), with p kept 1e-6 away from 0 and 1."""
    from scipy.special import logit as log_odds

    return np.asarray(log_odds(np.clip(p, 1e-6, 1 - 1e-6)))


def explain_cause(
    name: str, row: Mapping[str, float], weights: Mapping[str, Any] | None, gaps: Sequence[Gap] = ()
) -> tuple[Reason, ...]:
    """What speaks for and against a cause in one row, loudest first.

    Args:
        row: the row's signals, derivations and evidence columns; NaN = not measured.
        weights: the set that judged the run; None where there is none.
        gaps: what the run could not measure.
    """
    if weights is None or name not in weights["causes"]:
        cause = kinds("causes")[name]
        columns = {_MEASURED_BY.get(requirement, requirement) for requirement in cause.requires}
        lacking = [gap.needs for gap in gaps if columns & set(gap.columns)]
        text = f"it takes {' and '.join(lacking)}" if lacking else f"{cause.needs} would let it be"
        return (Reason(f"Not judged: {text}.", favours="note"),)
    own, by_name = weights["causes"][name], pieces()
    sides: list[list[Reason]] = []
    for side in ("for", "against"):
        said: dict[str, tuple[float, Reason]] = {}
        for piece, weight in own[side].items():
            if piece not in by_name:
                continue  # the file that brought it is gone since the run was judged
            loudness = weight * row.get(EVIDENCE.of(piece), np.nan)
            sentence = reason(by_name[piece], row, side) if loudness > AUDIBLE else None
            if sentence is not None:
                said[piece] = loudness, sentence
        again = {name for piece in said for name in by_name[piece].includes}
        loudest_first = sorted((said[piece] for piece in said if piece not in again), key=lambda pair: -pair[0])
        # Two pieces may say the same of a row, such as how well the base knew the target.
        sides.append(list(dict.fromkeys(sentence for _, sentence in loudest_first))[:SENTENCES])
    note = (Reason("The weights of this cause were set by hand, not fitted."),) if own.get("by_hand") else ()
    return (*sides[0], *sides[1], *note)
