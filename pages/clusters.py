"""Groups of unlearned samples with titles: a list to read, a map to draw on, and from either to the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.services import clusters as service
from core.services import jobs
from core.services.clusters import Grouping, GroupView, MapPoints
from core.types import Filter, Job, Run
from ui import along, cached, charts, filterbar, frame, markup, onward, parts, progress, selecting, state, tables
from ui.menu import Entry

PAGE = Entry(title="Clusters", icon=":material/hub:", place=40)


def main() -> None:
    run = frame.require_run()
    frame.title("Clusters", frame.subtitle(run))
    frame.at_work(run)
    selection = state.selection(run.columns)
    filterbar.chips(run, selection)
    job = _job(run)
    found = service.grouping(run.id, selection)
    if found is None:
        if job is None and run.state == "judged":  # who opens this page wants groups, and they need no model
            service.request(run.id)
            st.rerun()
        _ask(run, job)
        return
    _head(run, found, job)
    if not found.rows:
        st.success("No sample of this run is unlearned, so there is nothing to group.", icon=":material/check_circle:")
        return
    _map(run, selection, found)
    _list(run, selection, found)


def _job(run: Run) -> Job | None:
    """The newest grouping of the run that has not ended well."""
    mine = [j for j in jobs.list_jobs() if j.run_id == run.id and j.kind == "cluster"]
    return mine[0] if mine and mine[0].state != "done" else None


def _ask(run: Run, job: Job | None) -> None:
    with st.container(border=True):
        st.markdown("**Which unlearned samples belong together?**")
        st.caption(
            "Groups of similar unlearned samples are found once and kept. It takes seconds for a few thousand samples "
            "and needs no model."
        )
        _start(run, job, "Find groups")


def _start(run: Run, job: Job | None, label: str) -> None:
    if job is not None and job.state in progress.ACTIVE:
        return  # drawn at the head of the page, as every job of the run
    if job is not None:
        progress.ended(job)
    options = dict(service.embeddings())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Alike by",
            list(options),
            format_func=options.__getitem__,
            key=state.key("clusters", "embedding"),
            width=320,
        )
        if st.button(label, type="primary", icon=":material/hub:", key=state.key("clusters", "start")):
            service.request(run.id, chosen or service.WORDS)
            st.rerun()


def _head(run: Run, found: Grouping, job: Job | None) -> None:
    labels = dict(service.embeddings())
    grouped = sum(g.size for g in found.groups)
    st.caption(
        markup.md(
            f"{len(found.groups):,} groups hold {grouped:,} of {found.rows:,} unlearned samples; the others are like "
            f"no group. Alike by: {labels.get(found.embedding, found.embedding)}."
        )
    )
    if found.stale:
        st.warning(
            "The limits of this run were moved since: other samples are unlearned now than were grouped.",
            icon=":material/update:",
        )
    if found.stale or job is not None:
        _start(run, job, "Find groups again")
    else:
        with st.popover("Find groups again", icon=":material/refresh:"):
            _start(run, None, "Find groups")


def _map(run: Run, selection: Filter, found: Grouping) -> None:
    with st.container(border=True):
        as_table = parts.heading("Map", run, "clusters")
        points = cached.cluster_points(run, state.query())
        if not points.sids:
            st.info("No grouped sample passes this filter.", icon=":material/filter_alt_off:")
            return
        if as_table:
            rows = _point_rows(points)
            parts.table(run, "clusters", rows)
            if len(points.sids) > len(rows):
                st.caption(f"The first {len(rows):,}; the samples page lists all under the same filter.")
        else:
            titles = {int(g.name): g.title for g in found.groups}
            event = parts.chart(
                run,
                "clusters",
                along.cluster_map(points, titles),
                "Unlearned samples as points, near where they are alike; the table has the same numbers",
                ("points", "box", "lasso"),
                tools=True,
            )
            _selected(run, selection, event, points)
        drawn = (
            f"{len(points.sids):,} of {points.total:,} rows are drawn, an even draw that stays the same; a selection "
            "takes all. "
            if len(points.sids) < points.total
            else ""
        )
        st.caption(
            f"{drawn}Two principal components of the samples' vectors: near means alike, far need not mean unlike. "
            "Draw around points to keep those rows, click one to open it."
        )


def _point_rows(points: MapPoints) -> list[Mapping[str, Any]]:
    rows = zip(points.sids[:1000], points.x, points.y, points.groups, points.parts, strict=False)
    return [{"id": markup.line(s, 60), "x": x, "y": y, "cluster": g, "part": p} for s, x, y, g, p in rows]


def _selected(run: Run, selection: Filter, event: Mapping[str, Any] | None, points: MapPoints) -> None:
    corners = selecting.outline_from(event) or selecting.rectangle_from(event)
    if corners:
        term = service.pick_inside(run.id, selection, corners)
        filterbar.apply(run, selecting.with_terms(selection, [term]))
        st.rerun()
    sid = selecting.point_from(event, points.sids)
    if sid is not None:
        parts.open_sample(run, sid)


def _list(run: Run, selection: Filter, found: Grouping) -> None:
    shown = [g for g in found.groups if g.matching]
    opened = selecting.values_of(selection, "cluster")
    st.subheader("Groups" if len(shown) == len(found.groups) else "Groups in this selection", anchor=False)
    if shown:
        _groups(run, selection, shown, "groups")
    elif found.groups:
        st.info("No group has a sample in this selection.", icon=":material/filter_alt_off:")
    else:
        st.info(
            "No group: too few unlearned samples are alike in this way. Find groups again by another one, or read them "
            "one by one.",
            icon=":material/scatter_plot:",
        )
    if found.outside and st.button(
        f"{found.outside:,} rows in no group", icon=":material/table_rows:", key=state.key("clusters", "outside")
    ):
        parts.open_samples(run, selecting.with_terms(selection, [selecting.one_of("cluster", ["0"])]))
    for group in found.groups:
        if opened and any(str(o).partition(".")[0] == group.name for o in opened):
            _one(run, selection, group)
    chosen = cached.matching(run, state.query()) if opened or selecting.values_of(selection, "picked") else 0
    if chosen:
        onward.draw(run, chosen)


def _groups(run: Run, selection: Filter, groups: Sequence[GroupView], name: str) -> None:
    """The groups as a table; a click keeps one of them."""
    event = st.dataframe(
        [
            {
                "group": g.name,
                "title": markup.line(g.title, 160),
                "rows": g.size,
                "in selection": g.matching,
                "dominant cause": charts.cause_name(g.cause),
                "lift": g.lift,
                "parts": len(g.parts) or None,
            }
            for g in groups
        ],
        hide_index=True,
        key=state.selectable("clusters", run.id, name),
        on_select="rerun",
        selection_mode=("single-row", "single-cell"),
        placeholder=tables.UNKNOWN,
        column_config={
            "title": st.column_config.TextColumn(
                "title", width=420, help="Words that more of its rows have than rows elsewhere."
            ),
            "lift": st.column_config.NumberColumn(
                "lift",
                format="%.1f×",
                help="Share unlearned among all samples that lie where the group lies, over that of the whole run.",
            ),
            "dominant cause": st.column_config.TextColumn("dominant cause", help="The cause most of its rows have."),
        },
    )
    place = selecting.row_from(event)
    if place is not None and place < len(groups):
        filterbar.apply(run, selecting.with_terms(selection, [selecting.one_of("cluster", [groups[place].name])]))
        st.rerun()


def _one(run: Run, selection: Filter, group: GroupView) -> None:
    """The group that the filter names: its causes, its parts, the way to its rows."""
    with st.container(border=True):
        st.markdown(f"**Group {group.name}: {markup.md(markup.line(group.title, 160))}**")
        causes = sorted(group.causes.items(), key=lambda pair: -pair[1])
        words = "; ".join(f"{charts.cause_name(c) or 'no cause judged'} {n:,}" for c, n in causes)
        st.caption(
            markup.md(
                f"{group.size:,} unlearned of {group.region:,} samples that lie here, {group.lift:.1f} times the share "
                f"of the whole run. Causes in this selection: {words or 'none'}."
            )
        )
        rows = st.button(
            f"Open the {group.matching:,} rows", icon=":material/table_rows:", type="primary",
            key=state.key("clusters", "open", group.name),
        )  # fmt: skip
        if rows:
            parts.open_samples(run, selection)
        if group.parts:
            st.markdown("Parts")
            _groups(run, selection, group.parts, f"parts {group.name}")


main()
