"""Was the whole training too short or too weak?"""

from __future__ import annotations

import numpy as np

from core.faults._base import Finding, RunFault
from core.signals import _columns as col
from core.types import RunFacts, SignalTable

# Share of verbatim rows from which the run counts as trained, and up to which it can be undertrained.
ROWS, TRAINED, LITTLE = 8, 0.5, 0.3
# Loss (nats per token) that four of five rows exceed; relative falls that count as still falling, and as little.
HIGH, FALLING, HALF = 0.15, 0.05, 0.5


class UndertrainedRun(RunFault):
    name = "undertrained_run"
    label = "Undertrained run"
    place = 520
    help = "The whole run was trained too short or too weakly: the loss is high everywhere."
    advice = "Train longer, or with a higher learning rate."
    needs = "trainer_state.json, a checkpoint before the last one, or the base model"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        exact, nll = table.get(col.GREEDY_EXACT), table.get(col.NLL)
        exact, losses = exact[np.isfinite(exact)], nll[np.isfinite(nll)]
        if len(exact) < ROWS or len(losses) < ROWS:
            return Finding("unknown", f"Only {len(exact)} rows were measured.", needs=f"at least {ROWS} rows")
        share, mean = float(exact.mean()), float(losses.mean())
        measured = f"{share:.0%} of rows verbatim, mean loss {mean:.3g} nats"
        if share >= TRAINED:
            return Finding("pass", "Half of the rows or more are given verbatim.", measured)
        # Training was long enough where only the stop is missing, or where another of its checkpoints gives the rows.
        content = table.get(col.CONTENT_RIGHT)
        if np.isfinite(content).sum() >= ROWS and float(np.nanmean(content)) >= TRAINED:
            return Finding("pass", "Half of the rows or more are given whole, but for what follows them.", measured)
        for other in table.steps(col.GREEDY_EXACT).values():
            if np.isfinite(other).sum() >= ROWS and float(np.nanmean(other)) >= TRAINED:
                text = "Another checkpoint of this training gives half of the rows or more verbatim."
                return Finding("pass", text, f"{measured}; {float(np.nanmean(other)):.0%} at that checkpoint")
        # The log of a later stage falls although rows of an earlier one are being forgotten: the rows say more.
        fall = _trajectory(table) or _log(facts)
        signs = [s for s in (_against_base(table), fall) if s is not None]
        if share > LITTLE or np.quantile(losses, 0.2) < HIGH:
            return Finding("pass", "The loss is not high everywhere: some rows are learned, others are not.", measured)
        if not signs:
            return Finding(
                "unknown", "The loss is high everywhere; whether it was falling is unknown.", measured, self.needs
            )
        if confirmed := [text for yes, text in signs if yes]:
            return Finding("fail", f"{self.help} {' '.join(confirmed)}", measured)
        return Finding("pass", f"The loss is high, but no longer falling. {signs[0][1]}", measured)


def _against_base(table: SignalTable) -> tuple[bool, str] | None:
    nll, base = table.get(col.NLL), table.get(col.BASE_NLL)
    both = np.isfinite(nll) & np.isfinite(base)
    if both.sum() < ROWS:
        return None
    kept = float(nll[both].mean() / base[both].mean())
    return kept >= HALF, f"{kept:.0%} of the base's loss is left."


def _trajectory(table: SignalTable) -> tuple[bool, str] | None:
    """From the last checkpoint before the end to the final one: four of five rows lower, by 5 % in the mean."""
    if not (steps := table.steps(col.NLL)):
        return None
    before, nll = steps[max(steps)], table.get(col.NLL)
    both = np.isfinite(before) & np.isfinite(nll)
    if both.sum() < ROWS:
        return None
    fall = float(1.0 - nll[both].mean() / before[both].mean())
    lower = float((nll[both] < before[both]).mean())
    return fall >= FALLING and lower >= 0.8, f"Since the last checkpoint before the end the loss fell by {fall:.0%}."


def _log(facts: RunFacts) -> tuple[bool, str] | None:
    """Last quarter of the training log against the quarter before."""
    losses = np.array([v for _, v in facts.log.losses]) if facts.log else np.empty(0)
    if len(losses) < 4 or not np.isfinite(losses).all():
        return None
    quarter = len(losses) // 4
    last, before = losses[-quarter:].mean(), losses[-2 * quarter : -quarter].mean()
    return bool(
        last <= (1 - FALLING) * before
    ), f"The log's last quarter averages {last:.3g}, that before {before:.3g}."


KIND = UndertrainedRun()
