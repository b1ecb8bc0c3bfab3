"""The table under one filter, page by page from the database; one sample with its evidence; the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.errors import UserError
from core.services import samples
from core.services.views import Page
from core.text.counts import counted
from core.types import Column, Filter, Run
from ui import cached, downloads, errors, filterbar, frame, onward, parts, people, row, selecting, state, tables
from ui.menu import Entry

PAGE = Entry(title="Samples", icon=":material/table_rows:", place=30)

_PAGE = 50
# Columns of the sample itself, beside those that the run declares.
_FIRST = (Column("ordinal", "number", "#", "Position in the training order, from 0."),)
_TEXT = (Column("prompt", "text", "Prompt"), Column("response", "text", "Target"))


def main() -> None:
    run, selection = frame.open_run()
    sid = state.sample_id()
    if sid is not None:
        filterbar.chips(run, selection)
        row.draw(run, sid, selection)
        return
    filterbar.bar(run, selection)
    filterbar.chips(run, selection)
    people.agreement(run, selection)
    matching = cached.matching(run, state.query())
    st.fragment(_rows)(run, selection, matching)
    if matching:
        onward.draw(run, matching)
    downloads.draw(downloads.of_run(run, state.query(), matching), key=state.key("downloads"))


def _rows(run: Run, selection: Filter, matching: int) -> None:
    """The count and the table: all that a turned page draws anew."""
    try:
        page = samples.page(run.id, selection, state.cursor(), _PAGE, matching)
    except UserError as error:  # in a fragment the app's own handler does not see it
        errors.show(error)
        return
    _count(run, selection, page)
    if page.matching == 0:
        st.info("No sample passes this filter. Remove a condition above.", icon=":material/filter_alt_off:")
    else:
        _table(run, selection, page)


def _count(run: Run, selection: Filter, page: Page) -> None:
    left, saved, columns, before, after = st.columns([4, 1.5, 1.3, 1, 1], vertical_alignment="bottom")
    left.subheader(f"{page.matching:,} of {counted(page.total, 'sample')}", anchor=False)
    with saved:
        people.filters(run, selection)
    with columns:
        _columns(run)
    parts.turn((before, after), "page", (page.previous, page.next), state.turn)


def _columns(run: Run) -> None:
    """Which of the run's columns the table shows; those its kinds declare as shown unless chosen otherwise."""
    drawer = st.popover(
        "Columns", icon=":material/view_column:", width="stretch", key=state.key("columns", "open"), on_change="rerun"
    )
    key = state.key("columns", run.id)
    state.keep(key)
    if drawer.open:
        labels = {c.name: c.label for c in run.columns}
        if state.get(key) is None:
            state.put(key, _usual(run))
        drawer.multiselect("Columns", list(labels), format_func=labels.__getitem__, key=key)


def _usual(run: Run) -> list[str]:
    return [c.name for c in run.columns if c.shown]


def _table(run: Run, selection: Filter, page: Page) -> None:
    chosen = state.get(state.key("columns", run.id), _usual(run))
    chips = [c for c in run.columns if c.name in ("status", "cause") and c.name in chosen]
    others = [c for c in run.columns if c.name in chosen and c not in chips]
    columns = (*_FIRST, *chips, *_TEXT, *others)
    shown = tables.samples(page.rows, columns)
    along = tables.losses_along(page.rows, run.columns)
    config = tables.config(columns, shown)
    if along is not None:
        shown.insert(len(_FIRST) + len(chips) + len(_TEXT), "along", along)
        config["along"] = tables.SPARKLINE
    # The key names the place, so that a selection cannot land on another page's row.
    key = state.selectable("samples", run.id, state.cursor() or "")
    # A click is answered before anything is drawn for it.
    _clicked(run, selection, page, state.get(key))
    st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        on_select="rerun",
        # A column can be picked, so a click on its heading orders the whole run instead of this page alone.
        selection_mode=("single-row", "single-column", "single-cell"),
        height=_height(len(page.rows)),
        key=key,
        placeholder=tables.UNKNOWN,
    )
    st.caption("Click a row to see its evidence, or a heading to sort by it.")


def _clicked(run: Run, selection: Filter, page: Page, event: Mapping[str, Any] | None) -> None:
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
