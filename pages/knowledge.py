"""What the base model knew before the fine-tune, what it believed otherwise, and whether the fine-tune moved it."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from core.services import knowledge
from core.services.knowledge import Points, Summary
from core.text.counts import counted
from core.types import Filter, Run
from ui import along, cached, charts, filterbar, frame, markup, parts, selecting, state, tables
from ui.menu import Entry

PAGE = Entry(title="Knowledge", icon=":material/psychology:", place=60)

_PAGE = 25
# Columns of the table: what a row has under a name, the column's width in pixels, its help. Together they fit a window
# of 768; the share is hidden at first, the table's own menu of columns shows it.
_COLUMNS = {
    "Status": ("status", 90, None),
    "Knowledge": ("knowledge", 90, "What the base knew about the target."),
    "Prompt": ("prompt", 138, None),
    "Target": ("target", 95, None),
    "Base's answer": ("belief", 105, "What most of the base's own answers agree on."),
    "Agreement": ("base_belief_share", None, "Share of its own answers that agree."),
    "Margin before": (
        "base_belief_margin",
        98,
        "Log-probability of the base's own answer minus the target's, in nats per token, before fine-tuning.",
    ),
    "Margin after": ("belief_margin", 88, "The same after fine-tuning."),
}
_NUMBERS = ("Agreement", "Margin before", "Margin after")


def main() -> None:
    run, selection = frame.open_run("Knowledge")
    gap = knowledge.missing(run)
    if gap is not None:
        st.info("  \n".join(markup.md(part) for part in gap), icon=":material/psychology_alt:")
        st.page_link("pages/start.py", label="Start a run with its base", icon=":material/add_circle:")
        return
    filterbar.chips(run, selection)
    summary, points = cached.known(run, state.query())
    st.subheader(f"{summary.measured:,} of {counted(summary.shown, 'sample')} with a short answer", anchor=False)
    if not summary.measured:
        st.info(
            "No sample under this filter has one short answer (at most 24 tokens and 12 words), so none was measured.",
            icon=":material/filter_alt_off:",
        )
        return
    if summary.way:
        st.caption(markup.md(summary.way))
    _classes(run, selection, summary)
    _margins(run, points)
    _list(run, selection)


def _classes(run: Run, selection: Filter, summary: Summary) -> None:
    with st.container(border=True):
        event = parts.figure(
            (run.id, "classes"),
            "What the base knew, and what was learned of it",
            lambda: tables.breakdown(summary.classes),
            lambda: charts.breakdown(summary.classes),
            "Status by what the base knew",
            ["points"],
        )
        parts.open_chosen(run, selection, selecting.from_bars(event, summary.classes))
        st.caption(markup.md("; ".join(f"{name}: {text}" for name, text in knowledge.HELP.items()) + "."))


def _margins(run: Run, points: Points) -> None:
    with st.container(border=True):
        title = "The base's own answer against the target, before and after fine-tuning"
        if not points.total:
            st.markdown(f"**{title}**")
            st.caption("The base's own answer is the target in every sample.")
            return
        event = parts.figure(
            (run.id, "margins"),
            title,
            lambda: tables.margins(points),
            lambda: along.margins(points),
            "Margin of the base's own answer over the target, before and after",
            ["points"],
            height=380,
            column_config=dict.fromkeys(tables.MARGINS, st.column_config.NumberColumn(format="%.3f")),
        )
        parts.open_sample(run, selecting.point_from(event, points.sid))
        drawn = len(points.sid)
        part = (
            f"{drawn:,} of {points.total:,}, spread over the training order" if drawn < points.total else f"{drawn:,}"
        )
        st.caption(
            f"Samples whose target is not the base's own answer: {part}. Right of the line the base preferred its own "
            "answer; above it the fine-tuned model still does. Compared over the tokens in which the two differ. Click "
            "a point to see its evidence."
        )


def _list(run: Run, selection: Filter) -> None:
    place = state.key("known", run.id, *(f"{k}={v}" for k, v in state.query().items()))
    cursor = state.get(place)
    page = knowledge.listing(run.id, selection, cursor, _PAGE)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader("The base's answers beside the targets", anchor=False, width="content")
        parts.turn("known", (page.previous, page.next), partial(state.put, place))
    config = {
        name: (st.column_config.NumberColumn(width=width, help=help, format="%.2f") if name in _NUMBERS
               else st.column_config.TextColumn(width=width, help=help))
        for name, (_, width, help) in _COLUMNS.items()
    }  # fmt: skip
    shown = [{name: _cell(row[key], key) for name, (key, _, _) in _COLUMNS.items()} for row in page.rows]
    row = tables.pick(
        shown, state.selectable("answers", run.id, cursor or ""), placeholder=tables.UNKNOWN, wrapped=True,
        column_config=config | {"Agreement": None},
    )  # fmt: skip
    st.caption("Click a row to see how the base was asked.")
    parts.open_sample(run, None if row is None else page.rows[row]["sid"])


def _cell(value: Any, name: str) -> Any:
    return charts.status_name(value) if name == "status" else tables.cell(value)


main()
