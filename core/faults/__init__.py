"""Faults of the pipeline, judged before any cause. One file is one fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.faults._base import Fault, RunFinding
from core.faults._gaps import needs_of, watched
from core.plugins import kinds
from core.signals import _columns as col
from core.types import FAULT, Column, Gap, RunFacts, SignalTable


def ordered_faults() -> tuple[Fault, ...]:
    """The faults by precedence: who speaks first where several explain a sample."""
    return tuple(sorted(kinds("faults").values(), key=lambda f: (f.place, f.name)))


def fault_columns() -> tuple[Column, ...]:
    """A column of the verdict table for every fault."""
    help = "Whether it explains this sample; empty: cannot tell."
    return tuple(Column(FAULT.of(f.name), "flag", f.label, help) for f in ordered_faults())


def states(table: SignalTable, facts: RunFacts) -> dict[str, np.ndarray]:
    """Name of every fault to (n,) float64: 1 explains, 0 does not, NaN cannot tell."""
    return {fault.name: fault.explains(table, facts) for fault in ordered_faults()}


def explain(
    table: SignalTable, facts: RunFacts, missed: np.ndarray, states_of: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """(n,) object: code of the fault that explains the sample, or None.

    Args:
        missed: (n,) bool, samples with a status that says not learned.
        states_of: what ``states`` gives, where it was computed already.
    """
    states_of = states(table, facts) if states_of is None else states_of
    codes = np.full(len(table.keys), None, dtype=object)
    faults = ordered_faults()
    # Under a fault of every row, signs of lesser faults are its symptoms.
    whole = any(f.scope == "run" and bool((states_of[f.name] == 1).any()) for f in faults)
    for fault in faults:
        if not (fault.symptom and whole):
            explained = _candidates(fault, table, missed) & (states_of[fault.name] == 1)
            codes[explained & (codes == None)] = fault.name  # noqa: E711
    return codes


def _candidates(fault: Fault, table: SignalTable, missed: np.ndarray) -> np.ndarray:
    """(n,) bool: the samples that the fault may explain; of rows that nobody was asked about it says what it sees."""
    candidates = missed | unasked(table)
    return np.asarray(candidates | nothing_to_judge(table) if fault.unjudged else candidates)


def unasked(table: SignalTable) -> np.ndarray:
    """(n,) bool: rows with a target of which no loss and no answer is known, as where there is no model."""
    known = np.any([np.isfinite(table.get(name)) for name in (col.NLL, col.GREEDY_EXACT, col.SCORE)], axis=0)
    return np.asarray((table.get(col.TURNS) > 0) & ~known)


def nothing_to_judge(table: SignalTable) -> np.ndarray:
    """(n,) bool: rows that were rendered, or refused, and hold no target."""
    return np.asarray((table.get(col.REFUSED) == 1) | ((table.get(col.REFUSED) == 0) & ~(table.get(col.TURNS) > 0)))


def judge_run(table: SignalTable, facts: RunFacts, status: np.ndarray, gaps: Sequence[Gap] = ()) -> list[RunFinding]:
    """What every fault says of the run, by precedence.

    Args:
        status: (n,) of ``Status`` values.
        gaps: what the run could not measure; a fault that cannot tell for lack of it says so.
    """
    missed = (status == "unlearned") | (status == "partly")
    codes = explain(table, facts, missed)
    findings = []
    for fault in ordered_faults():
        watched_table, reads = watched(table)
        finding = fault.judge(watched_table, facts, _candidates(fault, table, missed))
        needs = finding.needs
        if finding.state == "unknown":
            needs = needs_of(reads, gaps) or needs or fault.needs
        findings.append(
            RunFinding(
                fault.name, fault.label, fault.scope, finding.state, finding.text, finding.measured, needs,
                int((codes == fault.name).sum()),
            )
        )  # fmt: skip
    return findings
