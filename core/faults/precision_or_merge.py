"""Was something lost by merging, quantising or another number type?"""

from __future__ import annotations

import numpy as np

from core.faults._base import Finding, RunFault, paired
from core.signals import _columns as col
from core.types import Role, RunFacts, SignalTable

# A gap: absolute (nats per token), relative to the better reading, in so many rows, on at least so many.
GAP, TIMES, SHARE, ROWS, P = 0.1, 0.25, 0.75, 8, 1e-3


class PrecisionOrMerge(RunFault):
    name = "precision_or_merge"
    label = "Precision or merge"
    place = 480
    help = "Merging, quantising or another number type lost part of what was trained."
    advice = "Use the weights as they were trained, or merge and quantise again with more precision."
    needs = "the adapter before merging as a checkpoint of the trajectory, and at least 8 rows"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        return self._compare(table, facts)[0]

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """A loss that only another way to hold the model would bring on explains nothing that is missing here."""
        finding, lost_here = self._compare(table, facts)
        value = {"fail": float(lost_here), "pass": 0.0, "unknown": np.nan}[finding.state]
        return np.full(len(table.keys), value)

    def _compare(self, table: SignalTable, facts: RunFacts) -> tuple[Finding, bool]:
        """The finding, and whether the reading under diagnosis is the one that lost."""
        before = _before_merging(table, facts)
        if before is not None:
            name, unmerged = before
            n, nll, unmerged_nll, share, p = paired(table.get(col.NLL), unmerged)
            measured = (
                f"loss {nll:.3g}, {unmerged_nll:.3g} under the adapter {name}; lower there in {share:.0%} of {n} rows"
            )
            if n >= ROWS and _gap(nll, unmerged_nll) and share >= SHARE and p <= P:
                return Finding("fail", "The merged model lost what its adapter had learned.", measured), True
            if n >= ROWS:
                return Finding("pass", "The merged model says what its adapter says.", measured), False
        n, nll, other_nll, share, p = paired(table.get(col.PREC_NLL), table.get(col.PREC_OTHER_NLL))
        if n < ROWS:
            return Finding("unknown", "Nothing to compare with was measured.", needs=self.needs), False
        measured = f"loss {nll:.3g} as loaded, {other_nll:.3g} held otherwise, on {n} rows"
        if _gap(nll, other_nll) and share >= SHARE and p <= P:
            return Finding("fail", "As loaded the model lost what it says when held in full precision.", measured), True
        if _gap(other_nll, nll) and share <= 1 - SHARE:
            return Finding(
                "fail", "Merged in bfloat16, or in the other type, the model loses what it says here.", measured
            ), False
        if facts.spec is not None and facts.spec.final.base is None and _may_be_merged(facts):
            text = "Another number type changes nothing; whether merging did cannot be seen without the adapter."
            return Finding("unknown", text, measured, self.needs), False
        return Finding("pass", "Held otherwise, the model says the same.", measured), False


def _gap(worse: float, better: float) -> bool:
    return worse - better >= max(GAP, TIMES * better)


def _before_merging(table: SignalTable, facts: RunFacts) -> tuple[str, np.ndarray] | None:
    """Label and losses of the trajectory's last checkpoint, where it is an adapter and the final one a full model."""
    spec = facts.spec
    if spec is None or spec.final.base is not None or not spec.trajectory or spec.trajectory[-1].base is None:
        return None
    nll = table.get(Role("checkpoint", len(spec.trajectory) - 1).column(col.NLL))
    return (spec.trajectory[-1].label, nll) if np.isfinite(nll).any() else None


def _may_be_merged(facts: RunFacts) -> bool:
    """A full model in 16 bits or quantised may have been merged; one in float32 hardly ever was."""
    return facts.arguments.get("stored_dtype", "F32") != "F32" or bool(facts.arguments.get("quantised"))


KIND = PrecisionOrMerge()
