"""Does another checkpoint of the training reproduce clearly more than the one under diagnosis?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags, paired
from core.types import Reason, RunFacts, SignalTable

# Rows needed; how much larger the share of verbatim rows must be, overall and in the last third of the order.
ROWS, MORE, LATE, P = 20, 0.1, 0.05, 1e-3


class WrongCheckpoint(SampleFault):
    name = "wrong_checkpoint"
    label = "Wrong checkpoint"
    place = 510
    help = "another checkpoint of the same training gives the target."
    needs = "the other checkpoints of the training"
    symptom = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The better checkpoint, if there is one, gives the row verbatim."""
        exact = table.get("greedy_exact")
        others = _others(table)
        enough = np.isfinite(exact).sum() >= ROWS and any(np.isfinite(o).sum() >= ROWS for o in others.values())
        if not enough:
            return np.full(len(table.keys), np.nan)
        name = better(table, facts)
        if name is None:
            return np.where(np.isfinite(exact), 0.0, np.nan)
        return flags((others[name] == 1) & (exact == 0), np.isfinite(others[name]) & np.isfinite(exact))

    def reason(self, row: Mapping[str, float]) -> Reason:
        given = [row[n] for n in row if n.endswith("_greedy_exact") and n != "base_greedy_exact" and row[n] == 1]
        text = f"{len(given)} other checkpoint{'s' if len(given) != 1 else ''} of the training give it verbatim, and "
        return Reason(text + "more of the whole dataset than this one.", float(len(given)), favours="for")


def _others(table: SignalTable) -> dict[str, np.ndarray]:
    names = (n.removesuffix("_greedy_exact") for n in table.columns if n.endswith("_greedy_exact"))
    return {n: table.get(f"{n}_greedy_exact") for n in sorted(names) if n != "base"}


def better(table: SignalTable, facts: RunFacts) -> str | None:
    """Role of the checkpoint that reproduces clearly more; None where there is none.

    More: the share of verbatim rows is larger by 0.1, by a sign test at 0.001, and the mean loss is lower. What a
    training forgets on the way is no wrong choice of checkpoint: an earlier one must also be ahead by 0.05 among the
    last third of the training order, which it has seen for a shorter time.
    """
    exact, nll, position = table.get("greedy_exact"), table.get("nll"), table.get("position")
    found: list[tuple[float, str]] = []
    for name, other in _others(table).items():
        n, mine, theirs, _, p = paired(1.0 - exact, 1.0 - other)
        if n < ROWS or mine - theirs < MORE or p > P:
            continue
        both = np.isfinite(nll) & np.isfinite(table.get(f"{name}_nll"))
        if not both.any() or table.get(f"{name}_nll")[both].mean() >= nll[both].mean():
            continue
        late = np.isfinite(exact) & np.isfinite(other) & (position >= 2 / 3)
        ahead = late.sum() >= ROWS // 3 and float((other[late] - exact[late]).mean()) >= LATE
        if ahead or _is_later(name, facts):
            found.append((theirs, name))
    return min(found)[1] if found else None


def _is_later(name: str, facts: RunFacts) -> bool:
    """Whether the trajectory's checkpoint was written after the one under diagnosis."""
    spec = facts.spec
    if spec is None or not name[1:].isdigit() or int(name[1:]) >= len(spec.trajectory):
        return False
    step, mine = spec.trajectory[int(name[1:])].step, spec.final.step
    return step is not None and mine is not None and step > mine


KIND = WrongCheckpoint()
