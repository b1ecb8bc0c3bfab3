"""Judging: status, fault and cause of every sample, computed from what was measured. No model runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.causes import UNDETERMINED, attribute, parameters_of
from core.derived import derive
from core.faults import explain, states
from core.judge.study import label as label_by_study
from core.signals import _columns as col
from core.status import STATUSES, cut_of, judge_status
from core.types import (
    EVIDENCE,
    FAULT,
    PIPELINE,
    STRENGTH,
    RunFacts,
    RunSpec,
    SignalTable,
    Status,
    Thresholds,
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of n samples side by side.

    Attributes:
        status: (n,) object, values of ``Status``.
        cause: (n,) object: a cause, ``pipeline:<fault>``, ``undetermined``, or None.
        columns: name to (n,) float64; NaN = not measured.
        study: (n,) object, the cause by the study's own rules; None if they name none or were not measured.
        judged_by: the parameters that named the causes.
    """

    status: np.ndarray
    cause: np.ndarray
    columns: Mapping[str, np.ndarray]
    study: np.ndarray
    judged_by: Mapping[str, Any] = field(default_factory=dict)


def judge(spec: RunSpec, table: SignalTable, thresholds: Thresholds, facts: RunFacts | None = None) -> Judgement:
    """Status, fault, cause and columns of every sample. A pure function: no model, no clock.

    Args:
        table: signals of n samples, with columns named by ``Measure.column``.
        facts: what else is known about the run; by default the spec alone.
    """
    facts = facts or RunFacts(spec)
    table = derive(spec, table)
    codes = judge_status(table, thresholds, spec.decoding_temperature)
    status = np.array([s.value for s in STATUSES], dtype=object)[codes]
    missed = (status == Status.UNLEARNED) | (status == Status.PARTLY)
    faults = states(table, facts)
    codes_of = explain(table, facts, missed, faults)
    cause = np.array([None if code is None else PIPELINE.of(code) for code in codes_of], dtype=object)
    unexplained = np.array([code is None for code in codes_of], dtype=bool)
    attribution = attribute(spec, table, status == Status.LEARNED, missed & unexplained)
    cause = np.where(unexplained, attribution.cause, cause)
    judged = np.array([name is not None for name in attribution.cause], dtype=bool)
    edge = on_the_edge(status, table) & unexplained & judged
    cause[edge] = UNDETERMINED
    hits, draws = table.get(col.hits_at(cut_of(thresholds))), table.get(col.DRAWS)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(draws > 0, hits / draws, np.nan)
    columns = {name: table.get(name) for name in table.columns}
    columns["p_exact"] = np.exp(table.get(col.logp_at(1.0)))
    columns["success_rate"] = rate
    columns["confidence"] = np.where(edge, np.nan, attribution.confidence)
    columns |= STRENGTH.columns(attribution.strengths) | EVIDENCE.columns(attribution.evidence) | FAULT.columns(faults)
    return Judgement(status, cause, columns, label_by_study(table), parameters_of(spec, table))


def on_the_edge(status: np.ndarray, table: SignalTable) -> np.ndarray:
    """(n,) bool: rounding may decide whether the row is learned. There is nothing to explain until that is settled."""
    return np.asarray((status == Status.PARTLY) & (table.get(col.NEAR_TIE) == 1))
