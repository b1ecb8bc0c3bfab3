"""What a derivation is.

A derivation turns the signals of a whole run into further columns by arithmetic: no model, no clock, no randomness. It
leaves its input alone, gives the same numbers in any order of the samples (up to that order), and gives NaN where what
it rests on was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from core.signals import _columns as col
from core.status import cut_of
from core.types import Column, RunSpec, SignalTable, Thresholds


class Derivation(Protocol):
    """What ``KIND`` of a file in this folder is.

    Attributes:
        name: the file's name.
        label: what people call it.
        columns: those that ``derive`` fills, all of them, in every run.
    """

    name: str
    label: str
    columns: tuple[Column, ...]

    def derive(self, spec: RunSpec, table: SignalTable) -> Mapping[str, np.ndarray]:
        """The columns, name to (n,) float64.

        Args:
            table: signals and facts of all n samples of the run, under the names of ``core/signals/_columns.py``.
        """
        ...


def gives_target(table: SignalTable) -> np.ndarray:
    """(n,) float64: 1 where the final checkpoint gives every target, verbatim or in the scorer's eyes; 0, NaN unknown.

    At the scorer's usual cut: a derivation must not change when a person moves the limits of a status.
    """
    exact = table.get(col.GREEDY_EXACT)
    right, turns = table.get(col.right_at(cut_of(Thresholds()))), table.get(col.TURNS_ASKED)
    with np.errstate(invalid="ignore"):
        judged = (right >= turns).astype(np.float64)
    measured = np.isfinite(exact) | np.isfinite(right)
    return np.where(measured, np.where(exact == 1, 1.0, judged), np.nan)


def share_below(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) share of ``among`` that lies below each value, ties counted half; NaN where either is not measured.

    A place among the run's own learned samples means the same for a model of any size, which the value itself does not.

    Args:
        values: (n,) float64.
        among: (m,) float64; NaN are left out.
    """
    reference = np.sort(among[np.isfinite(among)])
    if not reference.size:
        return np.full(len(values), np.nan)
    below, upto = np.searchsorted(reference, values, "left"), np.searchsorted(reference, values, "right")
    return np.where(np.isnan(values), np.nan, (below + upto) / (2 * reference.size))
