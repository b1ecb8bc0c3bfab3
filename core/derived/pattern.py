"""Was the sample's pattern learned where other rows have it? The sample itself and its exact copies do not count.

A pattern whose other rows are learned leaves a fact as what is missing; one whose other rows are not learned either, or
that has none, leaves the pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.derived._base import Derivation, gives_target, share_below
from core.signals import _columns as col
from core.types import Column, RunSpec, SignalTable


class Pattern(Derivation):
    name = "pattern"
    label = "Pattern"
    columns = (
        Column(col.PATTERN_LEARNED, "number", "Pattern learned", "Share of the other rows of its pattern that were "
               "learned; empty: there are none.", "", "high", indexed=True),
        Column(col.ANSWER_PATTERN_LEARNED, "number", "Answer pattern learned", "The same for the answer's pattern "
               "alone.",
               "", "high"),
        Column(col.PATTERN_PLACE, "number", "Pattern, rank", "Share of the learned samples whose pattern has fewer "
               "rows;"
               " near 0: rarer than what was learned.", "", "high"),
        Column(col.TARGET_RANK, "number", "Length, rank", "Share of the learned samples with a shorter target.", "",
               "low"),
    )  # fmt: skip

    def derive(self, spec: RunSpec, table: SignalTable) -> Mapping[str, np.ndarray]:
        learned = gives_target(table)
        count, length = table.get(col.PATTERN_COUNT), table.get(col.N_TARGET)
        return {
            col.PATTERN_LEARNED: rate_of_others(table.get(col.PATTERN), learned, table.keys),
            col.ANSWER_PATTERN_LEARNED: rate_of_others(table.get(col.ANSWER_PATTERN), learned, table.keys),
            col.PATTERN_PLACE: share_below(count, count[learned == 1]),
            col.TARGET_RANK: share_below(length, length[learned == 1]),
        }


def rate_of_others(group: np.ndarray, learned: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """(n,) mean of ``learned`` over the rows of the same group and another key; NaN where no such row was measured.

    Args:
        group: (n,) number of the group, NaN for none.
        learned: (n,) 1, 0 or NaN.
        keys: (n,) content hashes; equal ones are copies of one another.
    """
    measured = np.isfinite(group) & np.isfinite(learned)
    _, of_group = np.unique(group, return_inverse=True)
    _, of_key = np.unique(np.asarray(keys, dtype=object).astype(str), return_inverse=True)
    rows, right = (np.bincount(of_group, weights=w) for w in (measured, np.where(measured, learned, 0.0)))
    # Copies have one content, hence one pattern and one answer: a key lies in one group.
    own_rows, own_right = (np.bincount(of_key, weights=w) for w in (measured, np.where(measured, learned, 0.0)))
    others = rows[of_group] - own_rows[of_key]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (right[of_group] - own_right[of_key]) / others
    return np.where(np.isfinite(group) & (others > 0), rate, np.nan)


KIND = Pattern()
