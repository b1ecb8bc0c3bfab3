"""What the checkpoints on the way say about each sample: learned when, lost when, still falling at the end.

A checkpoint *gives* a sample when greedy decoding gives its target (``greedy_exact``); the final one also when its
answer was judged right. Learning and forgetting events are those of Toneva et al. (arXiv 1812.05159), counted over
checkpoints instead of mini-batches; confidence and variability those of dataset cartography (Swayamdipta et al., arXiv
2009.10795), with the geometric mean probability of a target token in place of a class's probability.

A place in the training is a step divided by the final step, or where steps are not known the number of the checkpoint
divided by their count, so that it is 1 for the final one and comparable between runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from core.derived._base import Derivation, gives_target, share_below
from core.signals import _columns as col
from core.types import FINAL, Column, Role, RunSpec, SignalTable


def earlier_roles(spec: RunSpec) -> list[Role]:
    """The trajectory's checkpoints before the final one, in order.

    The final checkpoint is often among the folders of its own training; counted twice it would look like a loss that no
    longer falls. What was saved after the chosen final checkpoint says nothing about what was lost on the way to it.
    """
    last = spec.final.step
    return [
        role
        for role, checkpoint in spec.checkpoints.items()
        if role.kind == "checkpoint"
        and checkpoint.fingerprint != spec.final.fingerprint
        and (last is None or checkpoint.step is None or checkpoint.step < last)
    ]


def places(spec: RunSpec) -> np.ndarray:
    """(c,) place of each of ``earlier_roles`` and of the final checkpoint in the training, ascending, the last is 1."""
    earlier = earlier_roles(spec)
    steps = [spec.checkpoints[role].step for role in (*earlier, FINAL)]
    known_steps = [s for s in steps if s is not None]
    if len(known_steps) == len(steps) and all(a < b for a, b in pairwise(known_steps)):
        return np.array(known_steps, dtype=np.float64) / known_steps[-1]
    return np.arange(1, len(steps) + 1) / len(steps)


class Trajectory(Derivation):
    name = "trajectory"
    label = "Along the training"
    columns = (
        Column(col.LEARNED_AT, "number", "Learned at", "Share of the training after which the target was first "
               "reproduced; 0: the base model reproduced it already.", "", "low"),
        Column(col.FORGOTTEN, "flag", "Forgotten", "Reproduced by an earlier checkpoint and not by the final one.",
               indexed=True),
        Column(col.FORGOTTEN_AFTER, "number", "Lost after", "Share of the training at the last checkpoint that "
               "reproduced a target forgotten since."),
        Column(col.N_LEARNED, "number", "Times learned", "How often it changed from not reproduced to reproduced."),
        Column(col.N_FORGOTTEN, "number", "Times forgotten", "How often it changed from reproduced to not reproduced."),
        Column(col.BEST_NLL, "number", "Best loss", "Lowest loss under an earlier checkpoint.", "nats", "low"),
        Column(col.NLL_RISE, "number", "Rise since best loss", "Final loss minus the best earlier one; above 0: it got "
               "worse.", "nats", "low"),
        Column(col.NLL_FALL_END, "number", "Fall at the end", "Loss under the last earlier checkpoint minus the final "
               "one; above 0: still falling.", "nats"),
        Column(col.BEST_NLL_PLACE, "number", "Best loss, rank", "Share of the learned samples with a final loss below "
               "this sample's best earlier loss; near 0.5 or below: it once was as good as learned.", "", "low"),
        Column(col.NLL_FALL_PLACE, "number", "Fall at the end, rank", "Share of the learned samples whose loss fell "
               "less"
               " at the end."),
        Column(col.LOSS_PROGRESS, "number", "Progress to learned", "Share of the way from the base's loss to the "
               "median "
               "of the learned samples; 0: nothing gained, 1: as low as a learned one.", "", "high"),
        Column(col.DYNAMICS_CONFIDENCE, "number", "Mean probability", "Mean over checkpoints of the geometric mean "
               "probability of a target token.", "", "high", indexed=True),
        Column(col.DYNAMICS_VARIABILITY, "number", "Variability", "Standard deviation of the same.", indexed=True),
    )  # fmt: skip

    def derive(self, spec: RunSpec, table: SignalTable) -> Mapping[str, np.ndarray]:
        """All NaN in a run without an earlier checkpoint, ``loss_progress`` apart: it needs the base."""
        learned = gives_target(table) == 1
        out = {column.name: np.full(len(table.keys), np.nan) for column in self.columns}
        out[col.LOSS_PROGRESS] = _progress(table, learned)
        earlier = earlier_roles(spec)
        if earlier:
            gives = np.stack([*(table.get(role.column(col.GREEDY_EXACT)) for role in earlier), gives_target(table)])
            out |= _events(gives, table.get(col.BASE_GREEDY_EXACT), places(spec))
            out |= _losses(np.stack([table.get(role.column(col.NLL)) for role in earlier]), table.get(col.NLL), learned)
        return out


def _progress(table: SignalTable, learned: np.ndarray) -> np.ndarray:
    base, final = table.get(col.BASE_NLL), table.get(col.NLL)
    of_learned = final[learned & np.isfinite(final)]
    if not of_learned.size:
        return np.full(len(final), np.nan)
    way = base - np.median(of_learned)
    # Where the base is as good as a learned sample there is no way to go, and a share of it means nothing.
    far = base > np.quantile(of_learned, 0.9)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(far & (way > 0), (base - final) / way, np.nan)


def _events(gives: np.ndarray, base: np.ndarray, at: np.ndarray) -> dict[str, np.ndarray]:
    """Events of (c, n) ``gives`` (1, 0, NaN), checkpoints in order, the final one last; ``at`` (c,) their places."""
    before, final = gives[:-1], gives[-1]
    whole = np.isfinite(gives).all(axis=0)
    ever = (before == 1).any(axis=0)
    never = (before == 0).all(axis=0)
    # Before training nothing is given (Toneva et al.), unless the base was measured and gives it.
    path = np.vstack([np.nan_to_num(base, nan=0.0), gives])
    rises, falls = (np.diff(path, axis=0) > 0).sum(axis=0), (np.diff(gives, axis=0) < 0).sum(axis=0)
    first = np.where(base == 1, 0.0, at[np.argmax(gives == 1, axis=0)])
    last = at[:-1][len(before) - 1 - np.argmax(before[::-1] == 1, axis=0)]
    forgotten = np.where(ever & (final == 0), 1.0, np.where((final == 1) | (never & (final == 0)), 0.0, np.nan))
    return {
        col.LEARNED_AT: np.where(whole & ((gives == 1).any(axis=0) | (base == 1)), first, np.nan),
        col.FORGOTTEN: forgotten,
        col.FORGOTTEN_AFTER: np.where(whole & (forgotten == 1), last, np.nan),
        col.N_LEARNED: np.where(whole, rises, np.nan),
        col.N_FORGOTTEN: np.where(whole, falls, np.nan),
    }


def _losses(before: np.ndarray, final: np.ndarray, learned: np.ndarray) -> dict[str, np.ndarray]:
    """What (c - 1, n) losses ``before`` the ``final`` (n,) ones say; NaN where any of them is."""
    measured = np.isfinite(before).all(axis=0) & np.isfinite(final)
    before, final = np.where(measured, before, np.nan), np.where(measured, final, np.nan)
    best = before.min(axis=0)
    probabilities = np.exp(-np.vstack([before, final]))
    fall = before[-1] - final
    return {
        col.BEST_NLL: best,
        col.NLL_RISE: final - best,
        col.NLL_FALL_END: fall,
        col.BEST_NLL_PLACE: share_below(best, final[learned]),
        col.NLL_FALL_PLACE: share_below(fall, fall[learned]),
        col.DYNAMICS_CONFIDENCE: probabilities.mean(axis=0),
        col.DYNAMICS_VARIABILITY: probabilities.std(axis=0),
    }


KIND = Trajectory()
