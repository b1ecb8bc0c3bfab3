"""The verdict on one sample, made in this one place for pages, exports and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.causes import explain_cause, ordered_causes
from core.plugins import kind
from core.signals import _columns as col
from core.status import explain_status
from core.types import PIPELINE, STRENGTH, TEMPERATURES, Finding, Reason, Run, Status, Verdict


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The measured numbers of a row of the verdict table."""
    return {name: float(value) for name, value in row.items() if isinstance(value, (int, float))}


def verdict_of(
    run: Run,
    row: Mapping[str, Any],
    signals: Mapping[str, float],
    proof: tuple[Reason, ...] = (),
    others: bool = True,
) -> Verdict:
    """What is concluded about one sample of a judged run.

    Args:
        row: its row of the verdict table.
        signals: its signals by column, NaN = not measured. Numbers of the row take precedence.
        proof: what a proof of its cause's recipe says about it.
        others: whether causes that are not named are told too.
    """
    numbers = {**signals, **numbers_of(row)}
    return Verdict(
        status=Status(row["status"]),
        reasons=_status_reasons(run, numbers) + _fault_reasons(run, numbers, row["cause"]),
        cause=row["cause"],
        confidence=row["confidence"],
        findings=_findings(run, numbers, None if others else row["cause"]) if row["cause"] is not None else (),
        proof=proof,
    )


def _status_reasons(run: Run, numbers: Mapping[str, float]) -> tuple[Reason, ...]:
    scorer = kind("scorers", run.spec.scorer).label
    return explain_status(numbers, run.thresholds, run.spec.decoding_temperature, scorer, run.gaps)


def _fault_reasons(run: Run, numbers: Mapping[str, float], cause: str | None) -> tuple[Reason, ...]:
    """The reasons of the fault that explains the sample. A fault of the whole run is stated with the run's numbers."""
    code = PIPELINE.member(cause)
    if code is None:
        return ()
    of_run = [f for f in run.summary.get("faults", ()) if (f["code"], f["scope"], f["state"]) == (code, "run", "fail")]
    sentences = [" ".join(part for part in (f["text"], f["measured"]) if part) for f in of_run]
    return tuple(Reason(s, "for") for s in sentences or [kind("faults", code).sentence(numbers)])


def _findings(run: Run, numbers: Mapping[str, float], only: str | None) -> tuple[Finding, ...]:
    """The causes, the strongest first and those that were not judged last; of all, or of one alone."""
    weights = run.summary.get("causes")
    findings = []
    for cause in ordered_causes():
        if only not in (None, cause.name):
            continue
        reasons = explain_cause(cause.name, numbers, weights or None, run.gaps)
        findings.append(Finding(cause.name, numbers.get(STRENGTH.of(cause.name), np.nan), reasons))
    return tuple(sorted(findings, key=lambda f: (np.isnan(f.strength), -np.nan_to_num(f.strength))))


def chances(numbers: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """For each temperature the chance of the exact sequence: in one draw, at least once in 5, never in 5."""
    return {f"{t:.1f}": _chance(numbers.get(col.logp_at(t), np.nan)) for t in TEMPERATURES}


def _chance(logp: float) -> dict[str, float | None]:
    if not np.isfinite(logp):
        return {"p": None, "once_in_5": None, "never_in_5": None}
    # With log1p, (1-p)^5 stays exact for the tiny p of long targets.
    never = float(np.exp(5 * np.log1p(-min(np.exp(logp), 1.0)))) if logp < 0 else 0.0
    once = float(-np.expm1(5 * np.log1p(-np.exp(logp)))) if logp < 0 else 1.0
    return {"p": float(np.exp(logp)), "once_in_5": once, "never_in_5": never}
