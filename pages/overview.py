"""A run at a glance: what to do, how much was learned, what the mean loss hides, where what is missing lies."""

from __future__ import annotations

import streamlit as st

from core.services import decision as service
from core.services import runs, storage
from core.services.views import Breakdown, Overview
from core.text.counts import counted
from core.types import Filter, Run
from ui import (
    bundles,
    cached,
    charts,
    decision,
    filterbar,
    frame,
    markup,
    parts,
    people,
    selecting,
    state,
    tables,
    thresholds,
    tiles,
)
from ui.menu import Entry

PAGE = Entry(title="Overview", icon=":material/donut_small:", place=20, group="Diagnose")

_NOTES = {"fail": ":material/error:", "warn": ":material/warning:", "unknown": ":material/help:"}


def main() -> None:
    run = frame.require_run()
    head, manage = st.columns([6, 1], vertical_alignment="center")
    with head:
        frame.title(run.name, frame.subtitle(run))
    with manage:
        _manage(run)
    frame.at_work(run)
    selection = state.selection(run.columns)
    found = cached.overview(run, state.query())
    gains = cached.gains(run, state.query())
    _notes(found)
    filterbar.chips(run, selection)
    people.agreement(run, selection)
    if found.shown:
        missing = found.status["partly"].k + found.status["unlearned"].k
        decision.headline(service.decide(run, found.shown, missing, gains))
    _status(run, selection, found)
    decision.causes(run, selection, gains)
    _causes(run, selection, found)
    decision.effects(run, selection)
    _hidden(found)
    _breakdowns(run, selection, found)
    _histogram(run, selection, found)
    with st.expander("Thresholds: what counts as learned", icon=":material/tune:"):
        thresholds.panel(run, dict(run.summary.get("status", {})))


def _notes(found: Overview) -> None:
    """Run-wide facts and faults: whoever reads the numbers must have seen these."""
    if not found.notes:
        return
    lines = [markup.md(text) for _, text in found.notes]
    worst = found.notes[0][0]
    box = st.error if worst == "fail" else st.warning if worst == "warn" else st.info
    box("  \n".join(lines[:3]), icon=_NOTES.get(worst, ":material/info:"))
    if len(lines) > 3:
        with st.expander(counted(len(lines) - 3, "more note")):
            st.markdown("  \n".join(lines[3:]))


def _status(run: Run, selection: Filter, found: Overview) -> None:
    total = counted(found.total, "sample")
    st.subheader(total if found.shown == found.total else f"{found.shown:,} of {total}", anchor=False)
    if not found.shown:
        st.info("No sample passes this filter.", icon=":material/filter_alt_off:")
        return
    tiles.status(found.status)
    event = parts.chart((run.id, "status"), charts.status_bar(found.status), "Samples by status", ["points"])
    parts.open_chosen(run, selection, selecting.from_values(event, "status"))


def _causes(run: Run, selection: Filter, found: Overview) -> None:
    if not found.causes:
        return
    with st.container(border=True):
        event = parts.figure(
            (run.id, "cause"),
            "Why samples were not learned",
            lambda: tables.shares(found.causes),
            lambda: charts.causes(found.causes),
            "Samples by cause",
            ["points"],
        )
        if event is None:
            return
        n = next(iter(found.causes.values())).n
        st.caption(f"Of {counted(n, 'sample')} not learned, or only partly. Lines are 95 % Wilson intervals.")
        parts.open_chosen(run, selection, selecting.from_values(event, "cause"))
    _study(run, selection, found)


def _study(run: Run, selection: Filter, found: Overview) -> None:
    """Where the rules of the study that named the causes say otherwise."""
    if not found.study:
        return
    agree = sum(n for ours, theirs, n in found.study if ours == theirs)
    total = sum(n for _, _, n in found.study)
    with st.expander(
        f"The study's own rules agree on {agree:,} of {counted(total, 'sample')}", icon=":material/balance:"
    ):
        st.caption(
            "Multiple choice, pass@5 below 0.2, thresholds and order as in the paper that named the causes. The paper "
            "gives no test for single samples for the last two causes. Choose a line to see its samples."
        )
        ordered = sorted(found.study, key=lambda row: -row[2])
        place = tables.pick(tables.study(ordered), state.selectable("chart", run.id, "study"))
        if place is not None:
            ours, theirs, _ = ordered[place]
            terms = [selecting.one_of("cause", [ours]), selecting.one_of("study_cause", [theirs])]
            parts.open_samples(run, selection, terms)


def _hidden(found: Overview) -> None:
    if found.hidden:
        with st.container(border=True):
            st.markdown("**What the mean loss hides**" + (", over the whole run" if found.shown < found.total else ""))
            st.markdown("  \n".join(markup.md(sentence) for sentence in found.hidden))


def _breakdowns(run: Run, selection: Filter, found: Overview) -> None:
    if not found.shown or not found.breakdowns:
        return
    columns = st.columns(min(len(found.breakdowns), 2))
    for i, breakdown in enumerate(found.breakdowns):
        with columns[i % len(columns)]:
            _breakdown(run, selection, breakdown)


def _breakdown(run: Run, selection: Filter, found: Breakdown) -> None:
    with st.container(border=True):
        shown = Breakdown(found.column, found.label, found.rows[: charts.MOST], found.bounds)
        event = parts.figure(
            (run.id, found.column),
            f"By {found.label.lower()}",
            lambda: tables.breakdown(found),
            lambda: charts.breakdown(shown),
            f"Status by {found.label.lower()}",
            ["points"],
        )
        left_out = len(found.rows) - len(shown.rows)
        if left_out and event is not None:
            st.caption(f"The table has {counted(left_out, 'more value')}.")
        parts.open_chosen(run, selection, selecting.from_bars(event, shown))


def _histogram(run: Run, selection: Filter, found: Overview) -> None:
    if not found.shown or len(found.nll.edges) < 2:
        return
    with st.container(border=True):
        event = parts.figure(
            (run.id, "nll"),
            "Loss by status",
            lambda: tables.histogram(found.nll),
            lambda: charts.histogram(found.nll, "Mean loss per target token (nats); lower is better"),
            "Histogram of mean loss by status",
            ["box"],
        )
        filterbar.narrow(run, selection, selecting.from_range(event, found.nll))
        note = f" {counted(found.nll.missing, 'sample')} without a loss." if found.nll.missing else ""
        st.caption(f"Drag over a range to filter by it.{note}")


def _manage(run: Run) -> None:
    with st.popover("Manage", width="stretch"):
        name = st.text_input("Name", value=run.name, key=state.key("manage", run.id, "name"), max_chars=120)
        if st.button("Rename", key=state.key("manage", "rename"), disabled=name == run.name):
            runs.rename_run(run.id, name or "")
            st.rerun()
        st.divider()
        bundles.offer(run)
        st.divider()
        sure = st.checkbox("Delete this run and its measurements", key=state.key("manage", run.id, "sure"))
        keep = st.checkbox(
            f"Keep the measurements {storage.KEPT_DAYS} days for later runs", key=state.key("manage", run.id, "keep")
        )
        if st.button("Delete", key=state.key("manage", "delete"), disabled=not sure, icon=":material/delete:"):
            runs.delete_run(run.id, keep_measured=keep)
            state.forget_run()
            st.switch_page("pages/start.py")
        st.caption("The dataset and the checkpoints are kept.")


main()
