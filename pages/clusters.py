"""Groups of unlearned samples with titles: a list to read, a map to draw on, and from either to the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.services import clusters as service
from core.services import jobs
from core.services.clusters import Grouping, GroupView, MapPoints
from core.text.counts import counted
from core.types import Filter, Job, Run
from ui import (
    along,
    cached,
    charts,
    errors,
    filterbar,
    forms,
    frame,
    markup,
    onward,
    parts,
    progress,
    selecting,
    state,
    tables,
)
from ui.menu import Entry

PAGE = Entry(title="Clusters", icon=":material/hub:", place=40)


# Rows of the map's table.
ROWS = 1_000
# Words that set a group apart, as far as they are shown.
_TERMS = 4


def main() -> None:
    run, selection = frame.open_run("Clusters")
    filterbar.chips(run, selection)
    if run.spec.final.is_nothing:
        st.info("No model was given, so no sample is known to be unlearned.", icon=":material/info:")
        return
    job = _job(run)
    grouping = service.grouping(run.id, selection)
    if grouping is None:
        if job is None and run.state == "judged":  # who opens this page wants groups, and they need no model
            service.request(run.id)
            st.rerun()
        _ask(run, job)
        return
    _head(run, grouping, job)
    if not grouping.rows:
        st.success("No sample of this run is unlearned, so there is nothing to group.", icon=":material/check_circle:")
        return
    _list(run, selection, grouping)
    _map(run, selection, grouping)


def _job(run: Run) -> Job | None:
    """The newest grouping of the run that has not ended well."""
    mine = [j for j in jobs.list_jobs() if j.run_id == run.id and j.kind == "cluster"]
    return mine[0] if mine and mine[0].state != "done" else None


def _ask(run: Run, job: Job | None) -> None:
    with st.container(border=True):
        st.markdown("**Which unlearned samples belong together?**")
        st.caption(
            "Lacuna groups similar unlearned samples once and keeps the result. This takes seconds for a few thousand "
            "samples and needs no model."
        )
        _start(run, job, "Find groups")


def _start(run: Run, job: Job | None, label: str) -> None:
    if job is not None and job.state in progress.ACTIVE:
        return  # drawn at the head of the page, as every job of the run
    if job is not None:
        progress.ended(job)
    options = dict(service.embeddings())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = forms.choose(
            st, "Similarity", options, state.key("clusters", "embedding"), next(iter(options)), width=320
        )
        if st.button(label, type="primary", icon=":material/hub:", key=state.key("clusters", "start")):
            service.request(run.id, chosen)
            st.rerun()


def _head(run: Run, grouping: Grouping, job: Job | None) -> None:
    labels = dict(service.embeddings())
    grouped = sum(g.size for g in grouping.groups)
    st.caption(
        markup.md(
            f"{counted(len(grouping.groups), 'group')} with {grouped:,} of "
            f"{counted(grouping.rows, 'unlearned sample')}; the others resemble no group. "
            f"Similarity: {labels.get(grouping.embedding, grouping.embedding)}."
        )
    )
    if grouping.stale:
        st.warning(
            "The thresholds of this run have changed: the samples unlearned now are not those that were grouped.",
            icon=":material/update:",
        )
    if grouping.stale or job is not None:
        _start(run, job, "Find groups again")
    else:
        with st.popover("Find groups again", icon=":material/refresh:"):
            _start(run, None, "Find groups")


def _map(run: Run, selection: Filter, grouping: Grouping) -> None:
    with st.container(border=True):
        points = cached.cluster_points(run, state.query())
        if not points.sids:
            st.markdown("**Map**")
            st.info("No grouped sample passes this filter.", icon=":material/filter_alt_off:")
            return
        event = parts.figure(
            (run.id, "clusters"),
            "Map",
            lambda: _point_rows(points),
            lambda: along.cluster_map(points),
            "Unlearned samples as points, close together where they are similar",
            ("points", "box", "lasso"),
            tools=True,
        )
        if event is None and len(points.sids) > ROWS:
            st.caption(f"The first {ROWS:,} of them. The samples page lists all under the same filter.")
        corners = selecting.outline_from(event) or selecting.rectangle_from(event)
        if corners:
            with errors.shown():
                _picked(run, selection, corners)
        parts.open_sample(run, selecting.point_from(event, points.sids))
        drawn = (
            f"The map shows {len(points.sids):,} of {points.total:,} samples, evenly spread and always the same ones. "
            "A selection takes in all of them. "
            if len(points.sids) < points.total
            else ""
        )
        st.caption(
            f"{drawn}The axes are two principal components of the samples' vectors: points close together are similar, "
            "points far apart need not differ. Colours are causes, outlines are groups. Draw around points "
            "to pick them, or click one to open it."
        )


def _picked(run: Run, selection: Filter, corners: Sequence[tuple[float, float]]) -> None:
    """What can be done with the samples inside an outline; the map keeps all of them, the others dimmed."""
    term, n = service.pick_inside(run.id, selection, corners)
    these = selecting.with_terms(selection, [term])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{counted(n, 'sample')} picked**", width="content")
        label = f"Open the {counted(n, 'row')}"
        if st.button(label, icon=":material/table_rows:", type="primary", key=state.key("clusters", "picked")):
            parts.open_samples(run, these)
        if st.button("Treat them", icon=":material/healing:", key=state.key("clusters", "treat")):
            state.leave("pages/mitigation.py", state.link(run=run.id, selection=these))
        if st.button("Show only these", icon=":material/filter_alt:", key=state.key("clusters", "only")):
            filterbar.apply(run, these)
            st.rerun()


def _point_rows(points: MapPoints) -> list[Mapping[str, Any]]:
    rows = zip(points.sids[:ROWS], points.x, points.y, points.groups, points.parts, strict=False)
    return [{"id": markup.line(s, 60), "x": x, "y": y, "cluster": g, "part": p} for s, x, y, g, p in rows]


def _list(run: Run, selection: Filter, grouping: Grouping) -> None:
    shown = [g for g in grouping.groups if g.matching]
    opened = selecting.values_of(selection, "cluster")
    st.subheader("Groups" if len(shown) == len(grouping.groups) else "Groups in this selection", anchor=False)
    if shown:
        _groups(run, selection, shown, "groups")
    elif grouping.groups:
        st.info("No group has a sample in this selection.", icon=":material/filter_alt_off:")
    else:
        st.info(
            "There is no group: too few unlearned samples resemble each other in this way. Choose another similarity "
            "and find groups again, or read the samples one by one.",
            icon=":material/scatter_plot:",
        )
    if grouping.outside and st.button(
        f"{counted(grouping.outside, 'sample')} in no group",
        icon=":material/table_rows:",
        key=state.key("clusters", "outside"),
    ):
        parts.open_samples(run, selection, [selecting.one_of("cluster", ["0"])])
    for group in grouping.groups:
        if opened and any(str(o).partition(".")[0] == group.name for o in opened):
            _one(run, selection, group)
    chosen = cached.matching(run, state.query()) if opened or selecting.values_of(selection, "picked") else 0
    if chosen:
        onward.draw(run, chosen)


def _groups(run: Run, selection: Filter, groups: Sequence[GroupView], name: str) -> None:
    """The groups as a table; a click keeps one of them."""
    place = tables.pick(
        [
            {
                "group": g.name,
                "title": markup.line(g.title, 160),
                "samples": g.size,
                "in selection": g.matching,
                "dominant cause": charts.cause_name(g.cause),
                "lift": g.lift,
                "parts": len(g.parts) or None,
            }
            for g in groups
        ],
        state.selectable("clusters", run.id, name),
        placeholder=tables.UNKNOWN,
        column_config={
            "title": st.column_config.TextColumn(
                "title", width=300, help="What the prompts of the group share, and how they are answered."
            ),
            "group": st.column_config.TextColumn(width=55),
            "samples": st.column_config.NumberColumn(width=70),
            # Without a filter it repeats the samples.
            "in selection": None
            if all(g.matching == g.size for g in groups)
            else st.column_config.NumberColumn(width=90),
            "parts": st.column_config.NumberColumn(width=50),
            "lift": st.column_config.NumberColumn(
                "lift",
                width=55,
                format="%.1f×",
                help="Share unlearned among all samples in the group's region, divided by the share in the whole run.",
            ),
            "dominant cause": st.column_config.TextColumn("dominant cause", width=150, help="Its most frequent cause."),
        },
    )
    if place is not None:
        filterbar.narrow(run, selection, [selecting.one_of("cluster", [groups[place].name])])


def _one(run: Run, selection: Filter, group: GroupView) -> None:
    """The group that the filter names: its causes, its parts, the way to its rows."""
    with st.container(border=True):
        name = f"Group {group.name}, {counted(group.size, 'row')}: {markup.line(group.title, 160)}"
        st.markdown(f"**{markup.md(name)}**")
        causes = sorted(group.causes.items(), key=lambda pair: -pair[1])
        apart = ", ".join(group.terms[:_TERMS])
        words = "; ".join(f"{charts.cause_name(c) or 'no cause judged'} {n:,}" for c, n in causes)
        st.caption(
            markup.md(
                f"{group.size:,} of {counted(group.region, 'sample')} in this region are unlearned, {group.lift:.1f} "
                f"times the share in the whole run. Words that set them apart: {apart or 'none'}. "
                f"Causes in this selection: {words or 'none'}."
            )
        )
        rows = st.button(
            f"Open {counted(group.matching, 'sample')}", icon=":material/table_rows:", type="primary",
            key=state.key("clusters", "open", group.name),
        )  # fmt: skip
        if rows:
            parts.open_samples(run, selection)
        if group.parts:
            st.markdown("Parts")
            _groups(run, selection, group.parts, f"parts {group.name}")


main()
