"""The selection that drives every view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. ``op``: ``in`` (values, None = unknown), ``not_in``, ``range`` (low, high; None = open)."""

    column: str
    op: Literal["in", "not_in", "range"]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """The one selection that drives every view. Its text form is the URL query (``core/filters.py``)."""

    terms: tuple[Term, ...] = ()
    text: str = ""
    sort: str = "ordinal"
    descending: bool = False
