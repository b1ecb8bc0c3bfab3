"""The table under one filter, page by page from the database; one sample with its evidence; the way out."""

from __future__ import annotations

import streamlit as st

from core.services import results
from core.services.views import Page
from core.types import Column, Filter, Run
from ui import downloads, filterbar, frame, people, row, selecting, state, tables

_PAGE = 50
# Columns of the sample itself, beside those that the run declares.
_FIRST = (Column("ordinal", "number", "#", "Place in the training order, from 0."),)
_TEXT = (Column("prompt", "text", "Prompt"), Column("response", "text", "Target"))


def main() -> None:
    run = frame.require_run()
    frame.title(run.name, frame.subtitle(run))
    frame.at_work(run)
    selection = state.selection(run.columns)
    sid = state.sample_id()
    if sid is not None:
        filterbar.chips(run, selection)
        row.draw(run, sid, selection)
        return
    filterbar.bar(run, selection)
    filterbar.chips(run, selection)
    page = results.page(run.id, selection, state.cursor(), _PAGE)
    people.agreement(run)
    _count(run, selection, page)
    if page.matching == 0:
        st.info("No sample passes this filter. Remove a condition above.", icon=":material/filter_alt_off:")
    else:
        _table(run, selection, page)
        _send(run, page.matching)
    downloads.draw(downloads.of_run(run, state.query(), page.matching), key=state.key("downloads"))


def _count(run: Run, selection: Filter, page: Page) -> None:
    left, saved, columns, before, after = st.columns([4, 1.5, 1.3, 1, 1], vertical_alignment="bottom")
    left.subheader(f"{page.matching:,} of {page.total:,} samples", anchor=False)
    with saved:
        people.filters(run, selection)
    with columns, st.popover("Columns", icon=":material/view_column:", width="stretch"):
        _columns(run)
    for box, cursor, label, icon in (
        (before, page.previous, "Previous", ":material/chevron_left:"),
        (after, page.next, "Next", ":material/chevron_right:"),
    ):
        if box.button(label, icon=icon, disabled=cursor is None, key=state.key("page", label), width="stretch"):
            state.go(state.link(run=run.id, cursor=cursor))
            st.rerun()


def _send(run: Run, count: int) -> None:
    """The way from a selection to the question whether it is known but only reached by reasoning."""
    st.page_link(
        "pages/routes.py",
        label=f"Ask {'this sample' if count == 1 else f'these {count:,} samples'} directly and by reasoning",
        icon=":material/alt_route:",
        query_params=state.link(run=run.id),
    )


def _columns(run: Run) -> None:
    """Which of the run's columns the table shows; those its kinds declare as shown unless chosen otherwise."""
    key = state.key("columns", run.id)
    labels = {c.name: c.label for c in run.columns}
    st.multiselect("Columns", list(labels), default=_usual(run), format_func=labels.__getitem__, key=key)


def _usual(run: Run) -> list[str]:
    return [c.name for c in run.columns if c.shown]


def _table(run: Run, selection: Filter, page: Page) -> None:
    chosen = state.get(state.key("columns", run.id), _usual(run))
    status = [c for c in run.columns if c.name == "status" and c.name in chosen]
    others = [c for c in run.columns if c.name in chosen and c.name != "status"]
    columns = (*_FIRST, *status, *_TEXT, *others)
    shown = tables.samples(page.rows, columns)
    along = tables.losses_along(page.rows, run.columns)
    config = tables.config(columns)
    if along is not None:
        shown.insert(len(_FIRST) + len(status) + len(_TEXT), "along", along)
        config["along"] = tables.SPARKLINE
    event = st.dataframe(
        tables.colour_status(shown),
        hide_index=True,
        column_config=config,
        on_select="rerun",
        # A column can be picked, so a click on its heading orders the whole run instead of this page alone.
        selection_mode=("single-row", "single-column", "single-cell"),
        height=_height(len(page.rows)),
        # The key names the place, so that a selection cannot land on another page's row.
        key=state.key("samples", run.id, state.cursor() or "", *(f"{k}={v}" for k, v in state.query().items())),
    )
    st.caption("Click a row to see its evidence, a heading to order by it.")
    picked = selecting.from_table(event, page.rows)
    if picked is not None:
        place = {"cursor": c} if (c := state.cursor()) else {}
        state.go(state.link(run=run.id, sample=picked) | place)
        st.rerun()
    order = selecting.order_from(event, selection, {name for name, _ in filterbar.sortable(run)})
    if order is not None:
        filterbar.apply(run, order)
        st.rerun()


def _height(rows: int) -> int:
    return min(rows, 18) * 35 + 38


main()
