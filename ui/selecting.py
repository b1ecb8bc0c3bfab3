"""A click on a chart or a filter as a new filter: pure functions, so that they can be tested without a browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.services.views import Breakdown, Histogram
from core.types import Filter, Term


def values_of(selection: Filter, column: str) -> tuple[Any, ...]:
    """The values that ``column`` is filtered to; empty for all."""
    return next((t.values for t in selection.terms if t.column == column and t.op == "in"), ())


def range_of(selection: Filter, column: str) -> tuple[float | None, float | None]:
    """The range that ``column`` is filtered to, None for an open end."""
    return next(
        ((t.values[0], t.values[1]) for t in selection.terms if t.column == column and t.op == "range"), (None, None)
    )


def without(selection: Filter, term: Term) -> Filter:
    """``selection`` less one of its terms."""
    return replace(selection, terms=tuple(t for t in selection.terms if t != term))


def with_terms(selection: Filter, terms: Iterable[Term]) -> Filter:
    """``selection`` with each term in place of what stood for its column; a term without bounds or values clears it."""
    new = tuple(terms)
    columns = {t.column for t in new}
    kept = tuple(t for t in selection.terms if t.column not in columns)
    return replace(selection, terms=kept + tuple(t for t in new if any(v is not None for v in t.values) or _unknown(t)))


def _unknown(term: Term) -> bool:
    return term.op != "range" and None in term.values


def one_of(column: str, values: Iterable[Any]) -> Term:
    return Term(column, "in", tuple(values))


def between(column: str, low: float | None, high: float | None) -> Term:
    return Term(column, "range", (low, high))


def from_values(event: Mapping[str, Any] | None, column: str) -> tuple[Term, ...]:
    """What a click on points that carry ``[place, value of column]`` asks for; empty when nothing was clicked."""
    values = [p["customdata"][1] for p in _part(event, "points") if p.get("customdata")]
    return (one_of(column, values),) if values else ()


def points_of(event: Mapping[str, Any] | None) -> list[Any]:
    """The points of a chart that were clicked."""
    return _part(event, "points")


def _clicked(event: Mapping[str, Any] | None, most: int) -> tuple[list[int], Term]:
    """Rows of the bars clicked, below ``most``, and their statuses; points carry ``[row, status]``."""
    points = [p["customdata"] for p in _part(event, "points") if p.get("customdata")]
    rows = sorted({int(p[0]) for p in points if 0 <= int(p[0]) < most})
    return rows, one_of("status", sorted({str(p[1]) for p in points}))


def from_bars(event: Mapping[str, Any] | None, breakdown: Breakdown) -> tuple[Term, ...]:
    """What a click on a breakdown's bars asks for: a term for its column, one for the status; empty without a click."""
    rows, statuses = _clicked(event, len(breakdown.rows))
    if not rows:
        return ()
    if breakdown.bounds:
        bounds = [breakdown.bounds[r] for r in rows]
        return between(breakdown.column, min(low for low, _ in bounds), max(high for _, high in bounds)), statuses
    return one_of(breakdown.column, [breakdown.rows[r][0] for r in rows]), statuses


def overflow(edges: Sequence[float]) -> bool:
    """Whether the last bin is so wide that it stands for "everything above": drawn like the others, read as open."""
    return len(edges) > 2 and edges[-1] - edges[-2] > 2 * (edges[-2] - edges[-3])


def drawn_edges(edges: Sequence[float]) -> list[float]:
    """Edges as they are drawn: an overflow bin is as wide as its neighbour."""
    if not overflow(edges):
        return list(edges)
    return [*edges[:-1], edges[-2] + (edges[-2] - edges[-3])]


def from_range(event: Mapping[str, Any] | None, bins: Histogram) -> tuple[Term, ...]:
    """What a range drawn over a histogram asks for: the bins it touches; empty when none was drawn."""
    shown = drawn_edges(bins.edges)
    for box in _part(event, "box"):
        ends = sorted(float(x) for x in box.get("x", ()))
        if len(ends) < 2 or ends[-1] <= shown[0] or ends[0] >= shown[-1]:
            continue
        low = max(edge for edge in shown[:-1] if edge <= max(ends[0], shown[0]))
        high = min((edge for edge in shown if edge >= ends[-1]), default=shown[-1])
        # Beyond the last edge lies nothing, or what the overflow bin stands for.
        return (between(bins.column, low if low > shown[0] else None, high if high < shown[-1] else None),)
    return ()


def from_area(event: Mapping[str, Any] | None, x: str, y: str) -> tuple[Term, ...]:
    """What a rectangle drawn over a map of column ``y`` over column ``x`` asks for; empty when none was drawn."""
    for box in _part(event, "box"):
        across, up = (sorted(float(v) for v in box.get(side, ())) for side in ("x", "y"))
        if len(across) > 1 and len(up) > 1:
            return between(x, across[0], across[-1]), between(y, up[0], up[-1])
    return ()


def point_from(event: Mapping[str, Any] | None, sids: Sequence[str]) -> str | None:
    """The id of the one point of a map that was clicked; points carry ``[place in sids, ...]``. None for an area."""
    places = {int(p["customdata"][0]) for p in _part(event, "points") if p.get("customdata")}
    if len(places) != 1 or _part(event, "box") or _part(event, "lasso"):
        return None
    return next((sids[i] for i in places if 0 <= i < len(sids)), None)


def step_from(event: Mapping[str, Any] | None, steps: Sequence[int]) -> int | None:
    """The step that was clicked on a chart whose points carry ``[place in steps]``; None where none was."""
    places = {int(p["customdata"][0]) for p in _part(event, "points") if p.get("customdata")}
    return next((steps[i] for i in places if 0 <= i < len(steps)), None) if len(places) == 1 else None


def from_order(event: Mapping[str, Any] | None, parts: Sequence[tuple[int, int]]) -> tuple[Term, ...]:
    """What a click on bars along the training order asks for; its points carry ``[part, status]``."""
    rows, statuses = _clicked(event, len(parts))
    return (between("ordinal", float(parts[rows[0]][0]), float(parts[rows[-1]][1])), statuses) if rows else ()


def outline_from(event: Mapping[str, Any] | None) -> tuple[tuple[float, float], ...]:
    """The corners of an outline drawn by hand, three or more; empty when none was drawn."""
    for lasso in _part(event, "lasso"):
        corners = tuple((float(x), float(y)) for x, y in zip(lasso.get("x", ()), lasso.get("y", ()), strict=False))
        if len(corners) > 2:
            return corners
    return ()


def rectangle_from(event: Mapping[str, Any] | None) -> tuple[tuple[float, float], ...]:
    """The corners of a rectangle drawn over a map; empty when none was drawn."""
    sides = from_area(event, "x", "y")
    if not sides:
        return ()
    (left, right), (low, high) = (term.values for term in sides)
    return (left, low), (right, low), (right, high), (left, high)


def _places(event: Mapping[str, Any] | None) -> list[int]:
    return [int(i) for i in (*_part(event, "rows"), *(cell[0] for cell in _part(event, "cells")))]


def row_from(event: Mapping[str, Any] | None) -> int | None:
    """The place of the row that was clicked in a table, or None."""
    return next(iter(_places(event)), None)


def _part(event: Mapping[str, Any] | None, name: str) -> list[Any]:
    selected = (event or {}).get("selection") or {}
    return list(selected.get(name) or ())
