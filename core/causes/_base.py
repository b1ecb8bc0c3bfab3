"""What a cause is. One file in this folder is one cause.

A piece of evidence is a number in [0, 1] per sample: 0 says nothing, 1 speaks as loudly as it can. A cause names the
pieces that speak for it and those that speak against it. Its strength is

    strength = sigmoid(bias + sum_for w_i e_i - sum_against w_j e_j),    w >= 0

It is monotone by construction: more evidence for a cause never lowers it. Nothing else enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.types import Look

# One row of numbers by column.
Row = Mapping[str, float]
# A column's name to its (n,) values, all NaN where it was not measured.
Columns = Callable[[str], np.ndarray]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence.

    Attributes:
        name: it fills the column ``evidence_<name>`` of the verdict table.
        label: what it says, in a few words.
        shows: the columns its sentence shows; the first one is the number of the reason.
        value: (columns, learned (n,) bool) to (n,) float64 in [0, 1], NaN where it was not measured.
        sentence: words for one row, from the row's columns.
        includes: names of pieces whose sentence this one holds as well; beside it they are not said again.
    """

    name: str
    label: str
    shows: tuple[str, ...]
    value: Callable[[Columns, np.ndarray], np.ndarray]
    sentence: Callable[[Row], str]
    includes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a cause that were set by hand, each 0 or more; its explanations say that they were not fitted.

    Attributes:
        bias: logit of the strength where nothing speaks, -4 or so: a cause without evidence is unlikely.
        speaks_for, speaks_against: weight by piece of evidence, among those that the cause names.
    """

    bias: float
    speaks_for: Mapping[str, float]
    speaks_against: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a sample was not learned; what ``KIND`` of a file in this folder is.

    Columns, filters, charts, explanations, exports and the command line take everything from here.

    Attributes:
        name: the file's name; stands in URLs and exports, so it never changes.
        label: what people read.
        help: what it means, in one sentence.
        look: colour, mark and pattern, unlike those of every other cause.
        order: place among the causes where they are listed; the study's five have 1 to 5.
        requires: what a run must have for the cause to be judged: ``base``, ``trajectory``, or a column's name.
        needs: what would let it be judged where it is not, in words.
        speaks_for, speaks_against: names of pieces of evidence, of ``_evidence.py`` or of ``evidence``.
        blind: what it cannot see, in one sentence.
        advice: what to do about it, in one sentence.
        evidence: pieces of its own.
        weights: used where ``parameters.json`` has none for it; without either it is never judged.
    """

    name: str
    label: str
    help: str
    look: Look
    order: int
    requires: tuple[str, ...]
    needs: str
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]
    blind: str
    advice: str
    evidence: tuple[Evidence, ...] = ()
    weights: Weights | None = None
