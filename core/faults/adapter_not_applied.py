"""Is what was trained in the model that is asked?"""

from __future__ import annotations

import numpy as np

from core.faults._base import Finding, RunFault, paired
from core.signals import _columns as col
from core.types import BASE, RunFacts, SignalTable

# Two readings of one row are the same number up to rounding; rows needed; share that must agree.
SAME, ROWS, SHARE = 1e-3, 8, 0.98
# The adapter's rows against its base alone: rise of the loss (relative) and share of the rows that speak for another
# base, and how far above the end of its training log they lie. Even a poor adapter makes its own rows likelier.
WORSE, RISEN, GAP = 0.02, 0.5, 1.25


class AdapterNotApplied(RunFault):
    name = "adapter_not_applied"
    label = "Adapter not applied"
    place = 420
    help = "What was trained is not in this model: it answers as its base, or the adapter belongs to another base."
    advice = "Load the adapter on the base that it was trained on, and diagnose again."
    needs = "the model before fine-tuning; for a doubtful base also trainer_state.json"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        for code in ("adapter_not_applied", "adapter_keys"):
            if facts.state_of(code) == "fail":
                return Finding("fail", facts.checks[code].text, facts.checks[code].measured)
        if facts.state_of("base_equals_final") == "warn":
            check = facts.checks["base_equals_final"]
            return Finding("fail", check.text, check.measured)
        final, base = table.get(col.NLL), table.get(col.BASE_NLL)
        if (np.isfinite(final) & np.isfinite(base)).sum() < ROWS:
            final, base = (table.get(name) for name in (col.alt("current"), BASE.column(col.alt("current"))))
        n, loss, before, lower, _ = paired(final, base)
        if n < ROWS:
            return Finding("unknown", "The base was not measured.", needs=self.needs)
        both = np.isfinite(final) & np.isfinite(base)
        same = float((np.abs(final[both] - base[both]) <= SAME * np.maximum(1e-2, base[both])).mean())
        measured = f"loss {loss:.3g}, base alone {before:.3g}; the same in {same:.0%} of {n} rows"
        if same >= SHARE:
            return Finding(
                "fail", "The model gives its base's numbers on every row: nothing trained is in it.", measured
            )
        adapter = facts.spec is not None and facts.spec.final.base is not None
        if adapter and lower >= RISEN and loss >= (1 + WORSE) * before:
            return self._worse(facts, loss, measured)
        return Finding("pass", "The model answers otherwise than its base.", measured)

    def _worse(self, facts: RunFacts, loss: float, measured: str) -> Finding:
        text = "The adapter makes its own training rows less likely than the base alone does."
        losses = [v for _, v in facts.log.losses] if facts.log else []
        if not losses:
            return Finding("unknown", f"{text} It belongs to another base, or training diverged.", measured, self.needs)
        if np.isfinite(losses).all() and loss >= GAP * losses[-1]:
            return Finding(
                "fail", f"{text} Its log ends at {losses[-1]:.3g}: it was trained on another base.", measured
            )
        return Finding("unknown", f"{text} Its log does not end lower either.", measured, self.needs)


KIND = AdapterNotApplied()
