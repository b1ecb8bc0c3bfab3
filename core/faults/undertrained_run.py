"""Was the whole training too short or too weak?"""

from __future__ import annotations

import numpy as np

from core.faults._base import Finding, RunFault
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
    needs = "trainer_state.json, a checkpoint before the last one, or the base model"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        exact, nll = table.get("greedy_exact"), table.get("nll")
        exact, seen = exact[np.isfinite(exact)], nll[np.isfinite(nll)]
        if len(exact) < ROWS or len(seen) < ROWS:
            return Finding("unknown", f"Only {len(exact)} rows were measured.", needs=f"at least {ROWS} rows")
        share, mean = float(exact.mean()), float(seen.mean())
        said = f"{share:.0%} of rows verbatim, mean loss {mean:.3g} nats"
        if share >= TRAINED:
            return Finding("pass", "Half of the rows or more are given verbatim.", said)
        # Training was long enough where only the stop is missing, or where another of its checkpoints gives the rows.
        content = table.get("content_right")
        if np.isfinite(content).sum() >= ROWS and float(np.nanmean(content)) >= TRAINED:
            return Finding("pass", "Half of the rows or more are given whole, but for what follows them.", said)
        for name in _checkpoints(table):
            other = table.get(f"{name}_greedy_exact")
            if np.isfinite(other).sum() >= ROWS and float(np.nanmean(other)) >= TRAINED:
                text = "Another checkpoint of this training gives half of the rows or more verbatim."
                return Finding("pass", text, f"{said}; {float(np.nanmean(other)):.0%} at that checkpoint")
        signs = [s for s in (_against_base(table), _trajectory(table), _log(facts)) if s is not None]
        if share > LITTLE or np.quantile(seen, 0.2) < HIGH:
            return Finding("pass", "The loss is not high everywhere: some rows are learned, others are not.", said)
        if not signs:
            return Finding(
                "unknown", "The loss is high everywhere; whether it was falling is unknown.", said, self.needs
            )
        if said_so := [text for yes, text in signs if yes]:
            return Finding("fail", f"{self.help} {' '.join(said_so)}", said)
        return Finding("pass", f"The loss is high, but no longer falling. {signs[0][1]}", said)


def _against_base(table: SignalTable) -> tuple[bool, str] | None:
    nll, base = table.get("nll"), table.get("base_nll")
    both = np.isfinite(nll) & np.isfinite(base)
    if both.sum() < ROWS:
        return None
    kept = float(nll[both].mean() / base[both].mean())
    return kept >= HALF, f"{kept:.0%} of the base's loss is left."


def _checkpoints(table: SignalTable) -> list[str]:
    """Roles of the trajectory's checkpoints in their order."""
    places = sorted(int(n[1:-4]) for n in table.columns if n.endswith("_nll") and n[0] == "t" and n[1:-4].isdigit())
    return [f"t{i}" for i in places]


def _trajectory(table: SignalTable) -> tuple[bool, str] | None:
    """From the last checkpoint before the end to the final one: four of five rows lower, by 5 % in the mean."""
    if not (names := _checkpoints(table)):
        return None
    before, nll = table.get(f"{names[-1]}_nll"), table.get("nll")
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
