"""Was the sample's pattern learned where other rows have it? The sample itself and its exact copies do not count.

A pattern whose other rows are learned leaves a fact as what is missing; one whose other rows are not learned either, or
that has none, leaves the pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.derived._base import gives_target, share_below
from core.types import Column, RunSpec, SignalTable


class Pattern:
    name = "pattern"
    label = "Pattern"
    columns = (
        Column("pattern_learned", "number", "Pattern learned", "Share learned of the other rows of its pattern; empty: "
               "there are none.", "", "high", indexed=True),
        Column("answer_pattern_learned", "number", "Answer pattern learned", "The same for the answer's pattern alone.",
               "", "high"),
        Column("pattern_place", "number", "Pattern, place", "Share of the learned samples whose pattern has fewer rows;"
               " near 0: rarer than what was learned.", "", "high"),
        Column("target_rank", "number", "Length, place", "Share of the learned samples with a shorter target.", "",
               "low"),
    )  # fmt: skip

    def derive(self, spec: RunSpec, table: SignalTable) -> Mapping[str, np.ndarray]:
        given = gives_target(table)
        count, length = table.get("pattern_count"), table.get("n_target")
        return {
            "pattern_learned": rate_of_others(table.get("pattern"), given, table.keys),
            "answer_pattern_learned": rate_of_others(table.get("answer_pattern"), given, table.keys),
            "pattern_place": share_below(count, count[given == 1]),
            "target_rank": share_below(length, length[given == 1]),
        }


def rate_of_others(group: np.ndarray, given: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """(n,) mean of ``given`` over the rows of the same group and another key; NaN where no such row is known.

    Args:
        group: (n,) number of the group, NaN for none.
        given: (n,) 1, 0 or NaN.
        keys: (n,) content hashes; equal ones are copies of one another.
    """
    known = np.isfinite(group) & np.isfinite(given)
    _, of_group = np.unique(group, return_inverse=True)
    _, of_key = np.unique(np.asarray(keys, dtype=object).astype(str), return_inverse=True)
    rows, right = (np.bincount(of_group, weights=w) for w in (known, np.where(known, given, 0.0)))
    # Copies have one content, hence one pattern and one answer: a key lies in one group.
    own_rows, own_right = (np.bincount(of_key, weights=w) for w in (known, np.where(known, given, 0.0)))
    others = rows[of_group] - own_rows[of_key]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (right[of_group] - own_right[of_key]) / others
    return np.where(np.isfinite(group) & (others > 0), rate, np.nan)


KIND = Pattern()
