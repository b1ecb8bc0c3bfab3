"""The rules of the study that named the five causes, as far as it states them.

"Why Supervised Fine-Tuning Fails to Learn" (arXiv 2604.10079, v4), section 3 and table 10, applied to the columns of
one run. A sample is unlearned if fewer than a fifth of five multiple-choice presentations are right, which with five
means none. The causes are tried in the order of the text, and the first that fits is taken. The study gives no
precedence, and no test of single samples for the last two causes.

Where the study leaves something open, a choice is made here. It has no more authority than that:

- I, missing knowledge. The base does not know it: P_exist = 0, that is, it is right in at most 0.8 of the
  presentations. This is narrowed to blind spots as in section 3.2: right in less than 0.2, and wrong where it is
  surest. The study measures blind spots on ten runs of triples drawn from the samples. Here the sample's own five
  presentations are used.
- II, conflict with the base. The Jensen-Shannon divergence between the options' distributions before and after is above
  0.3. The study does not state the base of the logarithm; here it is natural.
- III, conflict inside the data. Another prompt is more similar than X. The study does not give X and has a language
  model judge each pair afterwards. Here X is a cosine of 0.9, and no model judges.
- IV, left-side forgetting. The sample's tenth of the training order lost more than 5 % of its accuracy, relatively,
  from one checkpoint to the next. The study measures this every 500 steps on a held-out set, for data sets and not
  samples.
- V, insufficient training. Everything else: the study has no test for it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from core.signals import _columns as col
from core.types import SignalTable

ORDER = ("missing_knowledge", "base_conflict", "data_inconsistency", "left_side_forgetting", "under_optimised")


UNLEARNED_BELOW = 0.2
EXISTS_ABOVE = 0.8
BLIND_BELOW = 0.2
BLIND_BEST_BELOW = 0.1
DIVERGENCE_ABOVE = 0.3
RELATIVE_DROP = 0.05
# These are Lacuna's own, because the study gives none.
SIMILAR_ABOVE = 0.9
PARTS = 10


def unlearned(table: SignalTable) -> np.ndarray:
    """(n,) float64: 1 = unlearned by the study's rule, 0 = not, NaN = multiple choice was not measured."""
    right = table.get(col.OPTIONS_RIGHT)
    return np.where(np.isfinite(right), (right < UNLEARNED_BELOW).astype(float), np.nan)


def fits(table: SignalTable, whole: SignalTable | None = None) -> dict[str, np.ndarray]:
    """Cause to (n,) float64: 1 = the rule fits, 0 = it does not, NaN = what it needs was not measured.

    Args:
        table: the samples to label.
        whole: all samples of the run, for the accuracy along the training order; by default ``table``.
    """

    def above(name: str, limit: float) -> np.ndarray:
        values = table.get(name)
        return np.where(np.isfinite(values), (values > limit).astype(float), np.nan)

    right, best = table.get(col.BASE_OPTIONS_RIGHT), table.get(col.BASE_OPTIONS_BEST)
    measured = np.isfinite(right) & np.isfinite(best)
    blind = (right <= EXISTS_ABOVE) & (right < BLIND_BELOW) & (best < BLIND_BEST_BELOW)
    return {
        "missing_knowledge": np.where(measured, blind.astype(float), np.nan),
        "base_conflict": above(col.OPTIONS_JSD, DIVERGENCE_ABOVE),
        "data_inconsistency": above(col.NEIGHBOUR_SIMILARITY, SIMILAR_ABOVE),
        "left_side_forgetting": _lost(table, whole or table),
        "under_optimised": np.ones(len(table.keys)),
    }


def label(table: SignalTable, whole: SignalTable | None = None) -> np.ndarray:
    """(n,) object: the first cause that fits, in the order of the text; None if not unlearned or not measured."""
    matches = fits(table, whole)
    out = np.full(len(table.keys), None, dtype=object)
    missed = unlearned(table) == 1.0
    for cause in reversed(ORDER):
        out[missed & (matches[cause] == 1.0)] = cause
    return out


def _lost(table: SignalTable, whole: SignalTable) -> np.ndarray:
    """Whether the sample's tenth of the training order lost accuracy between two successive checkpoints."""
    steps = list(whole.steps(col.GREEDY_EXACT).values())
    if not steps:
        return np.full(len(table.keys), np.nan)
    steps.append(whole.get(col.GREEDY_EXACT))
    tenth = _tenth(whole.get(col.POSITION))
    fell = np.full(PARTS, np.nan)
    for part in range(PARTS):
        inside = tenth == part
        accuracy = [float(np.nanmean(s[inside])) for s in steps if np.isfinite(s[inside]).any()]
        if len(accuracy) > 1:
            drops = [(a - b) / a > RELATIVE_DROP + 1e-9 for a, b in pairwise(accuracy) if a > 0]
            fell[part] = float(any(drops))
    part_of = _tenth(table.get(col.POSITION))
    return np.where(part_of >= 0, fell[np.maximum(part_of, 0)], np.nan)


def _tenth(position: np.ndarray) -> np.ndarray:
    """(n,) int: the part of the training order that a position in [0, 1] lies in; -1 if it is unknown."""
    measured = np.isfinite(position)
    return np.where(measured, np.minimum((np.nan_to_num(position) * PARTS).astype(int), PARTS - 1), -1)
