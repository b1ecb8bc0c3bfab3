"""Columns, settings and looks: what kinds declare and pages draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

ColumnKind = Literal["category", "number", "flag", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a run's verdict table, declared by the kind that fills it.

    Attributes:
        name: identifier in SQL, URL and JSON.
        kind: ``category`` (filter by value), ``number`` (range), ``flag`` (0/1/unknown), ``text`` (search).
        label: heading; ``unit`` and ``better`` ("low", "high", "") say how to read it.
        help: one sentence.
        indexed: whether filters and sorts on it must be fast at a million rows.
        shown: whether the table shows it unasked.
    """

    name: str
    kind: ColumnKind
    label: str
    help: str = ""
    unit: str = ""
    better: Literal["low", "high", ""] = ""
    indexed: bool = False
    shown: bool = False


@dataclass(frozen=True, slots=True)
class ColumnFamily:
    """Columns, or values of a category, that are named after members of a register: ``strength_<cause>``.

    This is the one place that builds such a name and takes it apart.
    """

    prefix: str

    def of(self, member: str) -> str:
        """The name for a member."""
        return self.prefix + member

    def member(self, name: str | None) -> str | None:
        """The member that a name stands for; None where the name is not of this family."""
        return name.removeprefix(self.prefix) if name is not None and name.startswith(self.prefix) else None

    def columns(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values by member as values by column."""
        return {self.of(member): v for member, v in values.items()}


STRENGTH = ColumnFamily("strength_")


EVIDENCE = ColumnFamily("evidence_")


FAULT = ColumnFamily("fault_")


# The value of the column ``cause`` where a fault of the pipeline explains the sample.
PIPELINE = ColumnFamily("pipeline:")


@dataclass(frozen=True, slots=True)
class Look:
    """How a cause, a fault or a status is drawn wherever it appears.

    Attributes:
        colour: ``#RRGGBB``, legible on a light and on a dark ground: contrast of at least 3 with both.
        mark: one character that tells it apart where there is no colour.
        pattern: Plotly's fill pattern that does so in bars: empty, ``/``, ``\\``, ``x``, ``-``, ``|``, ``+`` or ``.``.
        label: the name that people read.
    """

    colour: str
    mark: str
    pattern: str = ""
    label: str = ""

    @property
    def ink(self) -> str:
        """The colour of text upon ``colour``: white or nearly black, whichever stands out more."""
        return _ink(self.colour)


@lru_cache(maxsize=256)
def _ink(colour: str) -> str:
    return max(("#FFFFFF", "#1C2630"), key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours ``#RRGGBB``, from 1 to 21 (WCAG 2.2). Text needs 4.5, a figure 3."""

    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a form, declared by the kind that needs it.

    Attributes:
        choices: the values of a ``choice``, as the command line and exports name them; of a text, what is usual.
        words: what people read for each of ``choices``; empty: the values themselves.
        hidden: Lacuna fills it in, and forms leave it out.
    """

    name: str
    kind: Literal["bool", "int", "float", "choice", "date", "text"]
    default: Any
    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    words: tuple[str, ...] = ()
    hidden: bool = False
