"""Does another checkpoint of the training reproduce clearly more than the one under diagnosis?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags, paired
from core.signals import _columns as col
from core.types import Role, RunFacts, SignalTable

# Rows needed; how much larger the share of verbatim rows must be, overall and in the last third of the order.
ROWS, MORE, LATE, P = 20, 0.1, 0.05, 1e-3


class WrongCheckpoint(SampleFault):
    name = "wrong_checkpoint"
    label = "Wrong checkpoint"
    place = 510
    help = "another checkpoint of the same training gives the target."
    advice = "Take the checkpoint that gives them."
    needs = "the other checkpoints of the training"
    symptom = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The better checkpoint, if there is one, gives the row verbatim."""
        exact = table.get(col.GREEDY_EXACT)
        others = table.steps(col.GREEDY_EXACT)
        enough = np.isfinite(exact).sum() >= ROWS and any(np.isfinite(o).sum() >= ROWS for o in others.values())
        if not enough:
            return np.full(len(table.keys), np.nan)
        role = better(table, facts)
        if role is None:
            return np.where(np.isfinite(exact), 0.0, np.nan)
        return flags((others[role] == 1) & (exact == 0), np.isfinite(others[role]) & np.isfinite(exact))

    def sentence(self, row: Mapping[str, float]) -> str:
        n = sum(bool(row[role.column(col.GREEDY_EXACT)] == 1) for role in Role.steps(row, col.GREEDY_EXACT))
        text = f"{n} other checkpoint{'s' if n != 1 else ''} of the training give it verbatim, and "
        return text + "more of the whole dataset than this one."


def better(table: SignalTable, facts: RunFacts) -> Role | None:
    """Role of the checkpoint that reproduces clearly more; None where there is none.

    More: the share of verbatim rows is larger by 0.1, by a sign test at 0.001, and the mean loss is lower. What a
    training forgets on the way is no wrong choice of checkpoint: an earlier one must also be ahead by 0.05 among the
    last third of the training order, which it has seen for a shorter time.
    """
    exact, nll, position = table.get(col.GREEDY_EXACT), table.get(col.NLL), table.get(col.POSITION)
    candidates: list[tuple[float, Role]] = []
    for role, other in table.steps(col.GREEDY_EXACT).items():
        n, missed, missed_by_other, _, p = paired(1.0 - exact, 1.0 - other)
        if n < ROWS or missed - missed_by_other < MORE or p > P:
            continue
        other_nll = table.get(role.column(col.NLL))
        both = np.isfinite(nll) & np.isfinite(other_nll)
        if not both.any() or other_nll[both].mean() >= nll[both].mean():
            continue
        late = np.isfinite(exact) & np.isfinite(other) & (position >= 2 / 3)
        ahead = late.sum() >= ROWS // 3 and float((other[late] - exact[late]).mean()) >= LATE
        if ahead or _is_later(role, facts):
            candidates.append((missed_by_other, role))
    return min(candidates)[1] if candidates else None


def _is_later(role: Role, facts: RunFacts) -> bool:
    """Whether the trajectory's checkpoint was written after the one under diagnosis."""
    spec = facts.spec
    if spec is None or role not in spec.checkpoints:
        return False
    step, final = spec.checkpoints[role].step, spec.final.step
    return step is not None and final is not None and step > final


KIND = WrongCheckpoint()
