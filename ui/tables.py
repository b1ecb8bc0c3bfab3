"""Tables from declared columns: labels, units and formats come from the declaration, values stay values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.services import causes
from core.services.causes import look as cause_look
from core.services.knowledge import Points
from core.services.views import Breakdown, Histogram, Share
from core.types import PIPELINE, STRENGTH, Column
from ui import charts, markup, selecting

# A cell without a value: not measured, or nothing to say.
UNKNOWN = "–"
# Characters of a text cell; the row view has the whole.
CELL = 160
MARGINS = ("before (nats per token)", "after (nats per token)")


def cell(value: Any) -> Any:
    """A value as the table shows it: text on one line and clipped, flags as words, unknown left empty."""
    if isinstance(value, str):
        return markup.line(value, CELL)
    return value


def samples(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    """Rows of a page, one column for each of ``columns``, in that order; status and cause are lists, drawn as chips."""
    flags = {0: "no", 1: "yes"}
    data: dict[str, list[Any]] = {}
    for column in columns:
        values = [row.get(column.name) for row in rows]
        if column.name == "status":
            values = [[_status(v)] for v in values]
        elif column.name == "cause":
            values = [[charts.cause_name(v)] if v is not None else None for v in values]
        elif column.kind == "flag":
            values = [None if v is None else flags.get(int(v), str(v)) for v in values]
        data[column.name] = [cell(v) for v in values]
    return pd.DataFrame(data)


def _status(value: Any) -> str:
    look = charts.STATUS.get(str(value))
    return f"{look.mark} {look.label.lower()}" if look else str(value)


def _chips(label: str, help: str | None, looks: Mapping[str, str]) -> Any:
    """A column of chips: text to colour; mark and word carry the meaning, the colour repeats it."""
    return st.column_config.MultiselectColumn(
        label, help=help, options=list(looks), color=list(looks.values()), width=max(96, max(map(len, looks)) * 7)
    )


def _looks(column: Column, frame: pd.DataFrame) -> dict[str, str]:
    if column.name == "status":
        return {_status(name): look.colour for name, look in charts.STATUS.items()}
    texts = {cell[0] for cell in frame[column.name] if cell}
    looks = {charts.cause_name(value): cause_look(value).colour for value in causes.values()}
    # A fault is offered where a row has it: all of them would widen the column.
    rare = {charts.cause_name(value) for value in causes.values() if PIPELINE.member(value) is not None} - texts
    others = dict.fromkeys(sorted(texts - set(looks)), charts.STATUS["unknown"].colour)
    return {text: colour for text, colour in looks.items() if text not in rare} | others


def config(columns: Sequence[Column], frame: pd.DataFrame, widths: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Streamlit's column settings for ``columns`` of ``frame``; ``widths``: pixels of those that have a width set."""
    out: dict[str, Any] = {}
    for column in columns:
        label = f"{column.label} ({column.unit})" if column.unit else column.label
        direction = {"low": " Lower is better.", "high": " Higher is better."}.get(column.better, "")
        help = markup.md((column.help + direction).strip()) or None
        if column.name in ("status", "cause"):
            out[column.name] = _chips(label, help, _looks(column, frame))
        elif STRENGTH.member(column.name) is not None:
            out[column.name] = st.column_config.ProgressColumn(
                label, help=help, format="%.2f", min_value=0.0, max_value=1.0
            )
        elif column.kind == "number":
            out[column.name] = st.column_config.NumberColumn(label, help=help, format="%.3g")
        else:
            width = 220 if column.kind == "text" and column.name != "sid" else None
            out[column.name] = st.column_config.TextColumn(label, help=help, width=width)
    for name, pixels in (widths or {}).items():
        out[name]["width"] = pixels
    return out


def _by_status(counts: Mapping[str, int]) -> dict[str, int]:
    return {look.label: int(counts.get(name, 0)) for name, look in charts.STATUS.items()}


def breakdown(values: Breakdown) -> pd.DataFrame:
    """A breakdown as a table: counts by status and total."""
    rows = [
        {values.label: markup.line(charts.name_of(value), CELL), **_by_status(counts), "Total": sum(counts.values())}
        for value, counts in values.rows
    ]
    return pd.DataFrame(rows)


def shares(values: Mapping[str, Share]) -> pd.DataFrame:
    """Causes with count, share and interval, the largest first."""
    pairs = sorted(values.items(), key=lambda pair: -pair[1].k)
    rows = [(cause_look(name).label, s.k, s.share, s.low, s.high) for name, s in pairs]
    return pd.DataFrame(rows, columns=["Cause", "Samples", "Share", "from", "to"])


def study(rows: Sequence[tuple[str | None, str | None, int]]) -> pd.DataFrame:
    """Our cause, the study's, and how many samples."""

    def name(cause: str | None) -> str:
        return "no cause" if cause is None else cause_look(cause).label

    return pd.DataFrame([{"Lacuna": name(a), "The study's rules": name(b), "Samples": n} for a, b, n in rows])


def histogram(spread: Histogram) -> pd.DataFrame:
    """A histogram as a table: one row a bin."""
    bins = enumerate(itertools.pairwise(spread.edges))
    return pd.DataFrame(
        {"from": low, "to": high} | _by_status({name: counts[i] for name, counts in spread.counts.items()})
        for i, (low, high) in bins
    )


def margins(points: Points) -> pd.DataFrame:
    """The base's own answer over the target, before and after fine-tuning: one row a sample."""
    ids, statuses = [markup.line(s, 80) for s in points.sid], [_status(s) for s in points.status]
    return pd.DataFrame({"id": ids, "status": statuses, MARGINS[0]: points.before, MARGINS[1]: points.after})


def draw(rows: Any, formats: Mapping[str, Sequence[str]] | None = None, **more: Any) -> Any:
    """A table without row numbers. ``formats``: number formats to columns; ``more`` goes to ``st.dataframe``."""
    config: dict[str, Any] = dict(more.pop("column_config", {}))
    for how, names in (formats or {}).items():
        config |= dict.fromkeys(names, st.column_config.NumberColumn(format=how))
    return st.dataframe(rows, hide_index=True, column_config=config or None, **more)


def pick(rows: Sequence[Any], key: str, formats: Mapping[str, Sequence[str]] | None = None, **more: Any) -> int | None:
    """A table whose rows can be clicked; the place of the one that was."""
    modes = ("single-row", "single-cell")
    place = selecting.row_from(draw(rows, formats, key=key, on_select="rerun", selection_mode=modes, **more))
    return place if place is not None and place < len(rows) else None
