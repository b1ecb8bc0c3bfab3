"""What speaks for one sample's verdict: sentences, ranked causes, chances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.causes import explain_cause, ordered_causes
from core.plugins import kind
from core.status import explain_status
from core.types import (
    PIPELINE,
    STRENGTH,
    Finding,
    Gap,
    Reason,
    RunSpec,
    Thresholds,
)


def reasons(
    spec: RunSpec,
    row: Mapping[str, float],
    cause: str | None,
    thresholds: Thresholds,
    faults: Sequence[Mapping[str, Any]] = (),
    gaps: Sequence[Gap] = (),
) -> tuple[Reason, ...]:
    """Sentences behind one sample's status and cause.

    Args:
        faults: what the faults say of the run, by its summary.
        gaps: what the run could not measure.
    """
    label = kind("scorers", spec.scorer).label.lower()
    out = explain_status(row, thresholds, spec.decoding_temperature, label, gaps)
    if (code := PIPELINE.member(cause)) is not None:
        said = [f for f in faults if f["code"] == code and f["scope"] == "run" and f["state"] == "fail"]
        # What holds for the whole run is said with the run's numbers; one row's are no evidence of it.
        out += tuple(Reason(" ".join(p for p in (f["text"], f["measured"]) if p), favours="for") for f in said)
        out += () if said else (kind("faults", code).reason(row),)
    return out


def findings(row: Mapping[str, float], judged_by: Mapping[str, Any], gaps: Sequence[Gap] = ()) -> tuple[Finding, ...]:
    """The causes of one row, strongest first, each with what speaks for and against it; those not judged last.

    Args:
        row: the row of the verdict table.
        judged_by: the parameters kept with the run.
        gaps: what the run could not measure.
    """
    found = [
        Finding(c.name, row.get(STRENGTH.of(c.name), np.nan), explain_cause(c.name, row, judged_by or None, gaps))
        for c in ordered_causes()
    ]
    return tuple(sorted(found, key=lambda f: (np.isnan(f.strength), -np.nan_to_num(f.strength))))


def chances(row: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """The closed form per temperature: p of the exact sequence in one draw, at least once in 5, never in 5."""
    out: dict[str, dict[str, float | None]] = {}
    for name, temperature in (("logp_03", "0.3"), ("logp_05", "0.5"), ("logp_07", "0.7"), ("logp_10", "1.0")):
        logp = row.get(name, np.nan)
        if not np.isfinite(logp):
            out[temperature] = {"p": None, "once_in_5": None, "never_in_5": None}
            continue
        # log1p keeps (1-p)^5 exact for the tiny p of long targets.
        never = float(np.exp(5 * np.log1p(-min(np.exp(logp), 1.0)))) if logp < 0 else 0.0
        once = float(-np.expm1(5 * np.log1p(-np.exp(logp)))) if logp < 0 else 1.0
        out[temperature] = {"p": float(np.exp(logp)), "once_in_5": once, "never_in_5": never}
    return out
