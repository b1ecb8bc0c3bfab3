"""Tables of one look, and the rows behind figures as tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.services.causes import look as cause_look
from core.services.knowledge import Points
from core.services.views import Breakdown, Histogram, Share
from ui import charts, markup, selecting

# A cell without a value: not measured, or nothing to say.
UNKNOWN = "–"
# Characters of a text cell; the row view has the whole.
CELL = 160
MARGINS = ("before (nats per token)", "after (nats per token)")
# Rows up to which a table stands whole; of a longer one so many are seen at once, the others by scrolling.
_WHOLE, _SHOWN = 15, 10
# Pixels of a row that holds four lines of text, and of a table's head. Streamlit breaks lines in rows above 4 rem.
_TALL, _HEAD = 58, 34


def cell(value: Any) -> Any:
    """A value as the table shows it: text on one line and clipped."""
    return markup.line(value, CELL) if isinstance(value, str) else value


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
    ids, statuses = [markup.line(s, 80) for s in points.sid], [charts.status_name(s) for s in points.status]
    return pd.DataFrame({"id": ids, "status": statuses, MARGINS[0]: points.before, MARGINS[1]: points.after})


def draw(rows: Any, formats: Mapping[str, Sequence[str]] | None = None, wrapped: bool = False, **more: Any) -> Any:
    """A table without row numbers, each column headed like the beginning of a sentence.

    Args:
        formats: number formats to columns; ``percent`` is for shares.
        wrapped: texts have up to four lines.
        more: goes to ``st.dataframe``.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    config: dict[str, Any] = dict(more.pop("column_config", None) or {})
    for how, names in (formats or {}).items():
        known = [name for name in names if name in frame]
        if how == "percent":
            # The browser's own "percent" shows as many places as a value has, so that points do not stand in line.
            frame = frame.assign(**{name: pd.to_numeric(frame[name]) * 100 for name in known})
        form = "%.1f%%" if how == "percent" else how
        config |= {name: dict(st.column_config.NumberColumn(format=form)) | (config.get(name) or {}) for name in known}
    for name in map(str, frame.columns):
        if config.get(name, ...) is not None:  # None hides a column
            own = dict(config.get(name, {}))
            config[name] = own | {"label": _heading(own.get("label") or name)}
    if len(frame) <= _WHOLE:
        more.setdefault("height", "content")
    if wrapped:
        more |= {"row_height": _TALL} | ({} if "height" in more else {"height": _SHOWN * _TALL + _HEAD})
    return st.dataframe(frame, hide_index=True, column_config=config, **more)


def _heading(name: str) -> str:
    """A column's name with a capital, unless it begins with a sign such as τ or p."""
    return name[0].upper() + name[1:] if name[:2].isascii() and name[:2].isalpha() else name


def pick(rows: Any, key: str, formats: Mapping[str, Sequence[str]] | None = None, **more: Any) -> int | None:
    """A table whose rows can be clicked; the place of the one that was."""
    modes = ("single-row", "single-cell")
    place = selecting.row_from(draw(rows, formats, key=key, on_select="rerun", selection_mode=modes, **more))
    return place if place is not None and place < len(rows) else None
