"""Was something lost by merging, quantising or another number type?"""

from __future__ import annotations

import numpy as np

from core.faults._base import Finding, RunFault, paired
from core.types import RunFacts, SignalTable

# A gap: absolute (nats per token), relative to the better reading, in so many rows, on at least so many.
GAP, TIMES, SHARE, ROWS, P = 0.1, 0.25, 0.75, 8, 1e-3


class PrecisionOrMerge(RunFault):
    name = "precision_or_merge"
    label = "Precision or merge"
    place = 480
    help = "Merging, quantising or another number type lost part of what was trained."
    needs = "the adapter before merging as a checkpoint of the trajectory, and at least 8 rows"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        return self._seen(table, facts)[0]

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """A loss that only another way to hold the model would bring on explains nothing that is missing here."""
        found, here = self._seen(table, facts)
        value = {"fail": float(here), "pass": 0.0, "unknown": np.nan}[found.state]
        return np.full(len(table.keys), value)

    def _seen(self, table: SignalTable, facts: RunFacts) -> tuple[Finding, bool]:
        """The finding, and whether the reading under diagnosis is the one that lost."""
        before = _before_merging(table, facts)
        if before is not None:
            name, unmerged = before
            n, mine, theirs, share, p = paired(table.get("nll"), unmerged)
            said = f"loss {mine:.3g}, {theirs:.3g} under the adapter {name}; lower there in {share:.0%} of {n} rows"
            if n >= ROWS and _gap(mine, theirs) and share >= SHARE and p <= P:
                return Finding("fail", "The merged model lost what its adapter had learned.", said), True
            if n >= ROWS:
                return Finding("pass", "The merged model says what its adapter says.", said), False
        n, mine, other, share, p = paired(table.get("prec_nll"), table.get("prec_other_nll"))
        if n < ROWS:
            return Finding("unknown", "Nothing to compare with was measured.", needs=self.needs), False
        said = f"loss {mine:.3g} as loaded, {other:.3g} held otherwise, on {n} rows"
        if _gap(mine, other) and share >= SHARE and p <= P:
            return Finding("fail", "As loaded the model lost what it says when held in full precision.", said), True
        if _gap(other, mine) and share <= 1 - SHARE:
            return Finding(
                "fail", "Merged in bfloat16, or in the other type, the model loses what it says here.", said
            ), False
        if facts.spec is not None and facts.spec.final.base is None and _may_be_merged(facts):
            text = "Another number type changes nothing; whether merging did cannot be seen without the adapter."
            return Finding("unknown", text, said, self.needs), False
        return Finding("pass", "Held otherwise, the model says the same.", said), False


def _gap(worse: float, better: float) -> bool:
    return worse - better >= max(GAP, TIMES * better)


def _before_merging(table: SignalTable, facts: RunFacts) -> tuple[str, np.ndarray] | None:
    """Label and losses of the trajectory's last checkpoint, where it is an adapter and the final one a full model."""
    spec = facts.spec
    if spec is None or spec.final.base is not None or not spec.trajectory or spec.trajectory[-1].base is None:
        return None
    nll = table.get(f"t{len(spec.trajectory) - 1}_nll")
    return (spec.trajectory[-1].label, nll) if np.isfinite(nll).any() else None


def _may_be_merged(facts: RunFacts) -> bool:
    """A full model in 16 bits or quantised may have been merged; one in float32 hardly ever was."""
    return facts.arguments.get("stored_dtype", "F32") != "F32" or bool(facts.arguments.get("quantised"))


KIND = PrecisionOrMerge()
