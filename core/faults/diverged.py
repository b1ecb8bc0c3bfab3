"""Did training blow up?"""

from __future__ import annotations

import numpy as np

from core.faults._base import Finding, RunFault, paired
from core.signals import _columns as col
from core.types import RunFacts, SignalTable, TrainerState

# Log entries needed; how far the end may lie above the lowest loss; rows and rise against the base.
ENTRIES, ABOVE, ROWS, RISE, SHARE = 3, 1.0, 8, 0.5, 0.9
# Share of verbatim rows from which training cannot have blown up, and up to which a risen loss says that it did.
LEARNED, NOTHING = 0.5, 0.1


class Diverged(RunFault):
    name = "diverged"
    label = "Diverged"
    place = 410
    help = "Training blew up: the loss became NaN or rose for good."
    advice = "Take the last checkpoint before it blew up, or train again with a smaller learning rate."
    needs = "trainer_state.json of the training"

    def examine(self, table: SignalTable, facts: RunFacts) -> Finding:
        if facts.state_of("weights_finite") == "fail":
            check = facts.checks["weights_finite"]
            return Finding("fail", check.text, check.measured)
        scored, nll = table.get(col.N_TARGET) > 1, table.get(col.NLL)
        if scored.sum() >= ROWS and (np.isnan(nll) & scored).sum() >= 0.5 * scored.sum():
            return Finding("fail", "The model gives no number for half of the rows or more: its output is NaN.",
                           f"{int((np.isnan(nll) & scored).sum())} of {int(scored.sum())} rows")  # fmt: skip
        exact = table.get(col.GREEDY_EXACT)
        exact = exact[np.isfinite(exact)]
        share = float(exact.mean()) if len(exact) >= ROWS else np.nan
        # The longest log alone: one that ends where a later stage begins ends high without having diverged.
        for state in (facts.log,) if facts.log is not None else ():
            if share >= LEARNED:
                break  # whatever the log shows, a model that gives half of its rows verbatim has not blown up
            if (sentence := log_blew_up(state)) is not None:
                return Finding("fail", sentence, f"log of {state.label}")
            if (sentence := log_rose(state)) is not None:
                # The first batches of a new stage of the data look the same in the log; its rows do not in the end.
                if share <= NOTHING:
                    return Finding("fail", sentence, f"log of {state.label}; {share:.0%} of rows verbatim")
                return Finding("unknown", f"{sentence} It may be a new stage of the data.", f"log of {state.label}",
                               "rows of every stage, measured")  # fmt: skip
        if log_of_base := _thrown(table, facts, share):
            return Finding("fail", log_of_base, f"{share:.0%} of rows verbatim")
        log = facts.log
        if log is not None and len(log.losses) >= ENTRIES:
            last = log.losses[-1][1]
            return Finding("pass", f"The log's losses are finite and end at {last:.3g}.", f"{len(log.losses)} entries")
        return self._against_base(table, facts)

    def _against_base(self, table: SignalTable, facts: RunFacts) -> Finding:
        n, final, base, share, p = paired(nll := table.get(col.NLL), table.get(col.BASE_NLL))
        adapter = facts.spec is not None and facts.spec.final.base is not None
        both = np.isfinite(nll) & np.isfinite(table.get(col.BASE_NLL))
        if n >= ROWS and share >= SHARE and final - base >= RISE and p <= 1e-2 and not adapter:
            text = f"Training made the rows less likely than they were under the base: {final:.3g} against {base:.3g}."
            return Finding("fail", text, f"higher in {share:.0%} of {int(both.sum())} rows", self.needs)
        return Finding("unknown", "There is no training log.", needs=self.needs)


def _thrown(table: SignalTable, facts: RunFacts, share: float) -> str:
    """A sentence where training threw the loss far above where the base stood and learned nothing after; else empty.

    A training begins at the base's loss; half of that is allowed for, as the log's first batches are other rows. One
    that ended at less than half of it has recovered, whatever makes the rows unlikely here.
    """
    base = table.get(col.BASE_NLL)
    base = base[np.isfinite(base)]
    losses = [v for _, v in facts.log.losses] if facts.log is not None else []
    if len(base) < ROWS or len(losses) < ENTRIES or not np.isfinite(losses).all() or not share <= NOTHING:
        return ""
    start, highest = float(base.mean()), max(losses)
    if highest < 1.5 * start or highest - start < ABOVE or losses[-1] < 0.5 * start:
        return ""
    return f"Training threw the loss up to {highest:.3g}; the base stood at {start:.3g}. It ended at {losses[-1]:.3g}."


def log_blew_up(state: TrainerState) -> str | None:
    """What is wrong with this log; None where nothing is.

    Single gradients that are not finite are normal in half precision, where such steps are skipped; losses are not.
    """
    losses = np.array([v for _, v in state.losses])
    norms = np.array([v for _, v in state.grad_norms])
    if (~np.isfinite(losses)).any():
        step = state.losses[int(np.flatnonzero(~np.isfinite(losses))[0])][0]
        return f"The training loss is not finite from step {step} on."
    if len(norms) >= ENTRIES and (~np.isfinite(norms[-ENTRIES:])).all():
        return "The gradient was not finite at the end of training, so nothing was learned any more."
    return None


def log_rose(state: TrainerState) -> str | None:
    """How the log's end lies at or above its beginning; None where it does not."""
    losses = np.array([v for _, v in state.losses])
    if len(losses) < ENTRIES or not np.isfinite(losses).all():
        return None
    width = max(1, len(losses) // 10)
    end = float(np.median(losses[-max(width, min(3, len(losses) // 3)) :]))
    smooth = np.array([np.median(losses[max(0, i - 1) : i + 2]) for i in range(len(losses))])
    lowest, first = float(smooth.min()), float(losses[0])
    if end >= first and end - lowest > ABOVE:
        return f"The training loss rose from {lowest:.3g} to {end:.3g}, where it began ({first:.3g}) or above."
    return None


KIND = Diverged()
