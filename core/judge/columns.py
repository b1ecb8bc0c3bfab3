"""The columns of a run's verdict table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core.causes import strength_columns
from core.causes._evidence import evidence_columns
from core.derived._base import Derivation
from core.faults import fault_columns
from core.plugins import kind, kinds
from core.signals._base import Measure, Signal
from core.signals._plan import ordered_signals, plan
from core.types import FINAL, Column, RunSpec

STUDY = Column(
    "study_cause", "category", "Cause by the study's rules", "By the rules and thresholds of arXiv 2604.10079; empty "
    "if they call the sample learned.", indexed=True,
)  # fmt: skip
VERDICT_COLUMNS: tuple[Column, ...] = (
    Column("status", "category", "Status", "Learned, partly, unlearned or unknown.", indexed=True, shown=True),
    Column("cause", "category", "Cause", "Why it was not learned; empty if nothing was judged.", indexed=True,
           shown=True),
    Column("confidence", "number", "Confidence", "Calibrated probability that the named cause is right.", "", "high",
           indexed=True, shown=True),
    Column("stage", "category", "Stage", "Training stage named by the row or its file.", indexed=True),
    Column("source", "category", "Source", "Origin named by the row.", indexed=True),
    Column("p_exact", "number", "p(exact)", "Chance of this exact token sequence in one draw at temperature 1.", "",
           "high", indexed=True),
    Column("success_rate", "number", "Success rate", "Share of draws that were right.", "", "high", indexed=True),
)  # fmt: skip


def columns_of(spec: RunSpec) -> tuple[Column, ...]:
    """The columns of the run's verdict table, as its kinds declare them."""
    declared: list[Signal | Derivation] = [*ordered_signals(), *kinds("derived").values()]
    return (
        *VERDICT_COLUMNS,
        *(column for member in declared for column in member.columns),
        *strength_columns(),
        *evidence_columns(),
        *([STUDY] if spec.paper_mode else ()),
        *(column for measure in plan(spec) for column in _compared(measure)),
        *fault_columns(),
    )


def _compared(measure: Measure) -> Iterator[Column]:
    """The columns of a measurement under another checkpoint than the final one."""
    signal = kind("signals", measure.signal)
    for column in signal.columns:
        if column.name in (*signal.compared, *measure.compared) and measure.role not in (FINAL, None):
            label = f"{column.label} {measure.checkpoint.label}"
            help = f"{column.label} under {measure.checkpoint.label}. {column.help}"
            yield replace(column, name=measure.column(column.name), label=label, help=help, indexed=False, shown=False)
