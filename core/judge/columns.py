"""The columns of a run's verdict table."""

from __future__ import annotations

from core.causes import strength_columns
from core.causes._evidence import evidence_columns
from core.faults import fault_columns
from core.plugins import kinds
from core.signals._plan import ordered_signals, plan
from core.types import (
    Column,
    RunSpec,
)

STUDY = Column(
    "study_cause", "category", "Cause by the study's rules", "By the rules and thresholds of arXiv 2604.10079; empty "
    "where they call the sample learned.", indexed=True,
)  # fmt: skip
VERDICT_COLUMNS: tuple[Column, ...] = (
    Column("status", "category", "Status", "Learned, partly, unlearned or unknown.", indexed=True, shown=True),
    Column("cause", "category", "Cause", "Why it was not learned; empty where nothing was judged.", indexed=True,
           shown=True),
    Column("confidence", "number", "Confidence", "Calibrated probability that the named cause is right.", "", "high",
           indexed=True, shown=True),
    Column("stage", "category", "Stage", "Training stage named by the row or its file.", indexed=True),
    Column("source", "category", "Source", "Origin named by the row.", indexed=True),
    Column("p_exact", "number", "p(exact)", "Chance of this exact token sequence in one draw at temperature 1.", "",
           "high", indexed=True, shown=True),
    Column("success_rate", "number", "Success rate", "Share of draws that were right.", "", "high", indexed=True),
)  # fmt: skip


def columns_of(spec: RunSpec) -> tuple[Column, ...]:
    """Columns of the run's verdict table, as its kinds declare them."""
    out = list(VERDICT_COLUMNS)
    for signal in ordered_signals():
        out += signal.columns
    for derivation in kinds("derived").values():
        out += derivation.columns
    out += [*strength_columns(), *evidence_columns()]
    if spec.paper_mode:
        out.append(STUDY)
    for measure in plan(spec):
        if measure.role != "final" and measure.signal == "likelihood":
            label = measure.checkpoint.label
            out.append(Column(measure.column("nll"), "number", f"Loss {label}", f"Loss under {label}.", "nats", "low"))
            text = f"Greedy decoding under {label} gives the target token by token."
            out.append(Column(measure.column("greedy_exact"), "flag", f"Verbatim {label}", text))
    return (*out, *fault_columns())
