"""The rows under one filter, page by page from the database; one of them with its evidence; the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.errors import UserError
from core.services import people as judgements
from core.services import samples
from core.services.views import Page
from core.text.counts import counted
from core.types import Filter, Run
from ui import acting, cached, downloads, errors, filterbar, frame, grouping, onward, parts, people, row, rowlist, state
from ui.menu import Entry

PAGE = Entry(title="Samples", icon=":material/table_rows:", place=30)

_PAGE = 50


def main() -> None:
    run = frame.require_run()
    opened = state.sample_id() is not None
    if not opened:
        frame.title(run.name, frame.subtitle(run))
    frame.at_work(run)
    selection = frame.filter_of(run)
    if opened:
        filterbar.chips(run, selection)
        st.fragment(_rows)(run, opened, None)
        return
    filterbar.bar(run, selection, lambda: people.switch(run, selection))
    filterbar.chips(run, selection)
    by = grouping.chosen(run)
    if by:
        grouping.draw(run, selection, by)
    st.fragment(_rows)(run, opened, by)
    people.agreement(run)
    matching = cached.matching(run, state.query())
    if matching:
        onward.draw(run, matching)
    downloads.draw(downloads.of_run(run, state.query(), matching), key=state.key("downloads"))


def _rows(run: Run, opened: bool, by: str | None) -> None:
    """The rows and, where one is open, its evidence: all that a turned page or the next row draws anew."""
    try:
        act = rowlist.taken()
        if act is not None:
            _do(run, act)
        sid = state.sample_id()
        if opened != (sid is not None):
            st.rerun()
        selection = state.selection(run.columns)
        page = _around(run, selection, sid) if sid is not None else _page(run, selection)
        if sid is None:
            _count(run, selection, page, by)
        if page.rows:
            _list(run, selection, page, sid)
        else:
            st.info("No sample passes this filter. Remove a condition above.", icon=":material/filter_alt_off:")
        if sid is not None:
            row.draw(run, samples.sample(run.id, sid, selection))
    except UserError as error:  # in a fragment the app's own handler does not see it
        if opened:
            frame.title(run.name)
        errors.show(error)


def _list(run: Run, selection: Filter, page: Page, sid: str | None) -> None:
    chosen = state.get(state.key("columns", run.id), _usual(run))
    rowlist.draw(
        run, selection, page,
        excerpts=cached.excerpts(run, page.rows),
        columns=[c for c in run.columns if c.name in chosen],
        sortable={name for name, _ in filterbar.sortable(run)},
        scale=cached.loss_scale(run),
        alike=dict(cached.facets(run, {}, ["cause"]).get("cause", [])),
        tags=judgements.tags_of(run.id, [r["ordinal"] for r in page.rows]),
        opened=sid,
    )  # fmt: skip


def _page(run: Run, selection: Filter) -> Page:
    return samples.page(run.id, selection, state.cursor(), _PAGE, cached.matching(run, state.query()))


def _around(run: Run, selection: Filter, sid: str) -> Page:
    """The rows beside an open one. They stay the same ones while the steps go from one to the other of them."""
    key, here = state.key("walk"), (run.id, tuple(state.query().items()))
    kept = state.get(key)
    if kept is None and state.cursor() is not None:
        page = _page(run, selection)
    else:
        first = kept[1] if kept is not None and kept[0] == here else sid
        page = samples.around(run.id, first, selection, _PAGE, cached.matching(run, state.query()))
    if all(r["sid"] != sid for r in page.rows):
        state.put(key, (here, sid))
        page = samples.around(run.id, sid, selection, _PAGE, page.matching)
    elif kept is None or kept[0] != here:
        state.put(key, (here, sid))
    return page


def _do(run: Run, act: Mapping[str, Any]) -> None:
    """What a person did to the rows; what leads to another place goes there."""
    place = {"cursor": c} if (c := state.cursor()) else {}
    selection = state.selection(run.columns)
    match act:
        case {"do": "open", "sid": str(sid)}:
            state.go(state.link(run=run.id, sample=sid) | place)
        case {"do": "open"}:
            state.go(state.link(run=run.id) | place)
        case {"do": "sort", "column": str(name)} if name in {n for n, _ in filterbar.sortable(run)}:
            filterbar.order_by(run, selection, name)
            st.rerun()
        case {"do": "beyond", "by": int(by)}:
            _beyond(run, selection, by)
        case {"do": str(what), "sids": [*sids]}:
            acting.do(run, selection, what, [str(s) for s in sids])


def _beyond(run: Run, selection: Filter, by: int) -> None:
    """The row or page before or behind what the list holds."""
    sid = state.sample_id()
    if sid is None:
        page = _page(run, selection)
        to = page.next if by > 0 else page.previous
        if to is not None:
            state.turn(to)
        return
    view = samples.sample(run.id, sid, selection)
    to = view.next if by > 0 else view.previous
    if to is not None:
        state.go(state.link(run=run.id, sample=to))


def _count(run: Run, selection: Filter, page: Page, by: str | None) -> None:
    heading = f"{page.matching:,} of {counted(page.total, 'sample')}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(heading, anchor=False, width="stretch")
        if grouping.choose(run) != by:
            st.rerun()
        people.filters(run, selection)
        _columns(run)
        parts.turn("page", (page.previous, page.next), state.turn)


def _columns(run: Run) -> None:
    """Which of the run's columns the table shows; those its kinds declare as shown unless chosen otherwise."""
    drawer = st.popover(
        "Columns", icon=":material/view_column:", width="content", key=state.key("columns", "open"), on_change="rerun"
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


main()
