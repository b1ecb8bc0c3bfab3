"""Was the row in the training at all?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import Finding, SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable

# Rows of a tail that was never reached; share of verbatim rows before and in it; fall of the loss against the base.
TAIL, BEFORE, INSIDE, HEAD_FALL, TAIL_FALL = 20, 0.75, 0.1, 0.75, 0.5
# A larger fall is the skill of answering so, learned from other rows, where a tenth of the tail did not gain at all.
SKILL_FALL, NO_FALL = 0.65, 0.1
# The log's epoch below which rows were certainly left out.
EPOCH = 0.97


class NeverTrained(SampleFault):
    name = "never_trained"
    label = "Never trained"
    place = 320
    help = "the trainer left the row out, or never reached it."
    advice = "See why the trainer left these rows out, and train on them."
    needs = "the list of trained rows, or the trainer's max_samples and held-out split; with a base a tail can be seen"

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The replayed trainer drops the row; or the row belongs to a tail of the training order in which nothing was
        learned and the loss hardly fell against the base, while it did right before."""
        dropped, exact = table.get(col.DROPPED), table.get(col.GREEDY_EXACT)
        hit = dropped == 1
        start = tail_start(table)
        if start is not None:
            hit |= (table.get(col.POSITION) >= start) & (exact == 0)
        # A row that is given verbatim was trained, or need not have been; of any other one it is not known.
        return flags(hit, np.isfinite(dropped) & (exact == 1))

    def judge(self, table: SignalTable, facts: RunFacts, missed: np.ndarray) -> Finding:
        finding = super().judge(table, facts, missed)
        ends = [s.epoch for s in facts.states if s.epoch is not None]
        if ends and max(ends) < EPOCH and finding.state != "fail":
            text = f"Training ended after {max(ends):.2f} epochs: part of the rows was never trained; which is unknown."
            return Finding("fail", text, f"epoch {max(ends):.3f}", "the order in which rows were trained")
        return finding

    def sentence(self, row: Mapping[str, float]) -> str:
        if row.get(col.DROPPED) == 1:
            return "The trainer leaves this row out of training."
        return (
            "From some row on nothing of the dataset was learned and the loss stayed near the base's; "
            "this row lies behind it."
        )


def tail_start(table: SignalTable) -> float | None:
    """Position in [0, 1] from which on training never came; None where there is no such place.

    The place that parts verbatim from missed rows best. Behind it at least 20 rows of which at most 10 % are verbatim
    and whose loss fell by at most half against the base (median), or by at most 65 % while a tenth of them fell by less
    than a tenth: rows that were trained hardly ever keep their loss. Before it, in the last as many rows too, at least
    75 % verbatim and a fall of at least 75 %. Without the base's losses no tail is claimed: hard rows look alike.
    """
    position, exact = table.get(col.POSITION), table.get(col.GREEDY_EXACT)
    nll, base = table.get(col.NLL), table.get(col.BASE_NLL)
    measured = np.isfinite(position) & np.isfinite(exact) & np.isfinite(nll) & (base > 0)
    n = int(measured.sum())
    if n < 2 * TAIL:
        return None
    order = np.flatnonzero(measured)[np.argsort(position[measured], kind="stable")]
    right = exact[order]
    fall = 1.0 - nll[order] / base[order]
    before = np.cumsum(right)
    cuts = np.arange(TAIL, n - TAIL + 1)
    # Verbatim rows before the cut plus missed rows behind it.
    agree = before[cuts - 1] + (n - cuts) - (before[-1] - before[cuts - 1])
    cut = int(cuts[np.argmax(agree)])
    tail, head, near = slice(cut, n), slice(0, cut), slice(max(0, cut - TAIL), cut)
    never_reached = (
        right[tail].mean() <= INSIDE
        and right[head].mean() >= BEFORE
        and right[near].mean() >= BEFORE
        and (
            np.median(fall[tail]) <= TAIL_FALL
            or (np.median(fall[tail]) <= SKILL_FALL and np.quantile(fall[tail], 0.1) <= NO_FALL)
        )
        and np.median(fall[near]) >= HEAD_FALL
    )
    return float(position[order[cut]]) if never_reached else None


KIND = NeverTrained()
