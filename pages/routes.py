"""E-GRM: is it known and only reached by reasoning? Direct answers against chain of thought, replayed."""

from __future__ import annotations

import streamlit as st

from core.services import runs
from core.services.routes import runs as routes
from core.services.routes.runs import RoutesRun
from core.text.counts import counted
from ui import (
    downloads,
    frame,
    markup,
    parts,
    progress,
    routes_board,
    routes_item,
    routes_measured,
    routes_new,
    routes_scorers,
    state,
)
from ui.menu import Entry

PAGE = Entry(title="Routes", icon=":material/alt_route:", place=80)


def main() -> None:
    route_id = state.routes_id()
    if route_id is None:
        _all()
        return
    found = routes.get(route_id)
    frame.title(found.name, _subtitle(found), lambda: _manage(found))
    item = state.item()
    if item is not None:
        routes_item.draw(found, item)
        return
    _at_work(found)
    if found.done:
        routes_board.draw(found)


def _subtitle(found: RoutesRun) -> str:
    s = found.settings
    parts = [f"routes run {found.id}", found.checkpoint.label, f"{found.done:,} of {counted(found.n_items, 'item')}"]
    parts += [f"{counted(s.m, 'direct answer')}, {counted(s.k, 'chain of thought', 'chains of thought')}"]
    parts.append(found.source.get("words") or found.source.get("file") or "")
    if found.source.get("shapes"):
        parts.append(", ".join(f"{n:,} {name}" for name, n in found.source["shapes"].items()))
    return markup.md(" · ".join(markup.line(p, 70) for p in parts if p))


def _at_work(found: RoutesRun) -> None:
    job = routes.job_of(found.id)
    if job is None:
        return
    with st.container(border=True):
        if job.state in progress.ACTIVE:
            progress.watch(job.id, "Waiting for the worker")
            st.caption("Results so far are shown below. The work goes on when this page is closed.")
        else:
            progress.ended(job)


def _manage(found: RoutesRun) -> None:
    with st.popover("Manage", width="content"):
        parts.link("routes", "All routes runs", "arrow_back", state.link())
        if found.source["kind"] != "answers":  # elsewhere it is not known what was asked how
            st.markdown("**Prompts**")
            st.code(found.settings.direct_prompt, language=None, wrap_lines=True)
            st.code(found.settings.path_prompt, language=None, wrap_lines=True)
            st.divider()
        if found.done and found.mode == "answering":
            downloads.draw([downloads.of_routes(found.id)], state.key("routes", found.id, "answers"), quiet=True)
            st.divider()
        routes_scorers.for_run(found)
        st.divider()
        sure = st.checkbox("Delete this routes run", key=state.key("routes", found.id, "sure"))
        if st.button("Delete", key=state.key("routes", "delete"), disabled=not sure, icon=":material/delete:"):
            routes.delete(found.id)
            state.go(state.link())
            st.rerun()


def _all() -> None:
    frame.title(
        "Routes",
        "Is it known, and only reached by reasoning? Direct answers against chain of thought, on the same items. "
        "Where direct answers agree, reasoning can be spared. Where they agree and are wrong, it cannot.",
    )
    run_id = state.run_id()
    run = runs.get_run(run_id) if run_id is not None else None
    with st.container(border=True):
        st.subheader("New", anchor=False)
        routes_new.draw(run)
    found = routes.list_routes()
    st.subheader("Routes runs", anchor=False)
    if not found:
        st.caption("None yet.")
    for one in found:
        with st.container(border=True, horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            items = f"{one.done:,} of {counted(one.n_items, 'item')}"
            about = f"{items} · {one.checkpoint.label} · {progress.when(one.created)}"
            st.markdown(f"**{markup.md(markup.line(one.name, 90))}** :gray[{markup.md(about)}]", width="stretch")
            parts.link("routes", "Open", "arrow_forward", state.routes_link(one.id))
    st.subheader("Scorers", anchor=False)
    routes_scorers.draw()
    routes_measured.draw()


main()
