"""Did training see only the beginning of the row?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable

# Rows needed on the long side; how many tokens after the cut the model may still guess; shares that make a cut.
ROWS, GUESSED, MISSED, AT_CUT, SHORT = 8, 8, 0.9, 0.8, 0.7
# Tokens lost behind the cut, and how wrong they must be: a single wrong word in the middle is no cut.
LOST, WRONG = 6, 0.6


class TargetTruncated(SampleFault):
    name = "target_truncated"
    label = "Target truncated"
    place = 310
    help = "training saw only the beginning of the answer."
    advice = "Raise the length at which the trainer cuts, and train on these rows again."
    needs = "max_length of the training, or at least 8 rows longer than it"
    unjudged = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The replayed trainer cut the answer; or the run shows a cut of its own: nearly every row longer than some
        length goes wrong right behind it and stays wrong, while shorter rows are learned."""
        cut, left = table.get(col.CUT_TARGET), table.get(col.N_TARGET)
        measured = np.isfinite(cut)
        hit = (cut > 0) & ((cut >= left) | (table.get(col.MISS_AT) >= table.get(col.N_TOKENS) - GUESSED) | (left == 0))
        length = unseen_cut(table)
        if length is not None:
            at = table.get(col.MISS_AT)
            hit |= (table.get(col.N_TOKENS) > length) & (at >= length) & (at <= length + GUESSED)
        elif not _enough(table):
            measured = hit | (cut > 0)  # of a row the replay left whole only other rows could tell
        return flags(hit, measured)

    def sentence(self, row: Mapping[str, float]) -> str:
        cut = row.get(col.CUT_TARGET, 0.0)
        if cut > 0:
            left = row.get(col.N_TARGET, 0.0)
            return f"{cut:.0f} of {cut + left:.0f} target tokens were cut before training."
        return (
            f"From token {row.get(col.MISS_AT, np.nan):.0f} on the row is unlearned, as other rows of this length are, "
            "while shorter ones are learned: training cut it there."
        )


def _enough(table: SignalTable) -> bool:
    """Whether a cut could have shown: rows of different lengths, long ones wrong or right."""
    length = table.get(col.N_TOKENS)[np.isfinite(table.get(col.GREEDY_EXACT))]
    return len(length) >= 2 * ROWS and np.quantile(length, 0.9) >= np.median(length) + LOST


def unseen_cut(table: SignalTable) -> float | None:
    """The length at which training cut rows, where the rows themselves show one; None elsewhere.

    For each place L at which some row first goes wrong: rows longer than L + ``LOST`` (at least ``ROWS``) must be
    missed in at least 90 %, go wrong between L and L + 8 in at least 80 % of them and stay wrong behind (median share
    right at most 0.6); at least 8 rows of at most L tokens must be there, 70 % of them given verbatim.
    """
    at, length, exact = table.get(col.MISS_AT), table.get(col.N_TOKENS), table.get(col.GREEDY_EXACT)
    behind, n_after = table.get(col.AFTER_RIGHT), table.get(col.N_AFTER)
    judged = np.isfinite(length) & np.isfinite(exact) & ~(table.get(col.CUT_TARGET) > 0)
    for place in np.unique(at[judged & (exact == 0) & np.isfinite(at) & (n_after >= LOST)]):
        rows = judged & (length > place + LOST)
        short = judged & (length <= place)
        if rows.sum() < ROWS or short.sum() < ROWS or exact[short].mean() < SHORT:
            continue
        cut_there = rows & (exact == 0) & (at >= place) & (at <= place + GUESSED)
        if (exact[rows] == 0).mean() < MISSED or cut_there.sum() < AT_CUT * rows.sum():
            continue
        wrong = behind[cut_there & np.isfinite(behind)]
        if wrong.size and np.median(wrong) <= WRONG and np.median(n_after[cut_there]) >= LOST:
            return float(place)
    return None


KIND = TargetTruncated()
