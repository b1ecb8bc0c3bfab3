"""What a derivation is.

A derivation turns the signals of a whole run into further columns by arithmetic: no model, no clock, no randomness. It
leaves its input alone, gives the same numbers in any order of the samples (up to that order), and gives NaN where what
it rests on was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from core.status import cut_of
from core.types import Column, RunSpec, SignalTable, Thresholds


class Derivation(Protocol):
    """One file in this folder. ``columns`` are those that ``derive`` fills, all of them, in every run."""

    name: str
    label: str
    columns: tuple[Column, ...]

    def derive(self, spec: RunSpec, table: SignalTable) -> Mapping[str, np.ndarray]:
        """Name to (n,) float64. ``table`` holds signals as ``judge`` names them, and the facts of the samples."""
        ...


def gives_target(table: SignalTable) -> np.ndarray:
    """(n,) float64: 1 where the final checkpoint gives every target, verbatim or in the scorer's eyes; 0, NaN unknown.

    At the scorer's usual cut: a derivation must not change when a person moves the limits of a status.
    """
    exact = table.get("greedy_exact")
    right, turns = table.get(f"right_{cut_of(Thresholds())}"), table.get("turns_asked")
    with np.errstate(invalid="ignore"):
        judged = (right >= turns).astype(np.float64)
    known = np.isfinite(exact) | np.isfinite(right)
    return np.where(known, np.where(exact == 1, 1.0, judged), np.nan)


def share_below(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) share of ``among`` that lies below each value, ties counted half; NaN where either is not measured.

    A place among the run's own learned samples means the same for a model of any size, which the value itself does not.

    Args:
        values: (n,) float64.
        among: (m,) float64; NaN are left out.
    """
    known = np.sort(among[np.isfinite(among)])
    if not known.size:
        return np.full(len(values), np.nan)
    below, upto = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
    return np.where(np.isnan(values), np.nan, (below + upto) / (2 * known.size))
