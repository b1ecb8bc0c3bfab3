"""A run at a glance: what to do, how much was learned, what the mean loss hides, where what is missing lies."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.services import contradictions, runs, storage
from core.services import decision as service
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
    frame.title(run.name, frame.subtitle(run), lambda: _manage(run))
    frame.at_work(run)
    selection = frame.filter_of(run)
    overview = cached.overview(run, state.query(), binned=False)
    gains = service.gains(run.id, overview.causes)
    filterbar.chips(run, selection)
    people.switch(run, selection)
    _notes(overview, fails=True)
    if overview.shown:
        missing = overview.status["partly"].k + overview.status["unlearned"].k
        disputed = contradictions.count(run.id, selection) if run.spec.final.is_nothing else 0
        decided = service.decide(run, overview.shown, missing, gains, overview.status["unknown"].k, disputed)
        decision.headline(run, selection, decided, gains, disputed)
    _status(run, selection, overview)
    decision.causes(run, selection, gains)
    _figures(run, selection, overview)
    _notes(overview, fails=False)
    people.agreement(run)
    if run.spec.final.is_nothing:
        return
    with st.expander("Thresholds: what counts as learned", icon=":material/tune:"):
        thresholds.panel(run, dict(run.summary.get("status", {})))


def _figures(run: Run, selection: Filter, overview: Overview) -> None:
    """The figures behind the decision. Only those of the open tab are computed and drawn."""
    if not overview.shown or run.spec.final.is_nothing:
        return
    tabs: dict[str, Callable[[], None]] = {
        "Causes": lambda: _causes(run, selection, overview),
        "Helped, hurt, wasted": lambda: decision.effects(run, selection),
        "Where": lambda: _breakdowns(run, selection, cached.overview(run, state.query())),
        "Loss": lambda: _loss(run, selection, cached.overview(run, state.query())),
    }
    if not overview.causes:
        del tabs["Causes"]
    if not decision.has_effects(run):
        del tabs["Helped, hurt, wasted"]
    drawn = st.tabs(list(tabs), key=state.key("overview", run.id, "figures"), on_change="rerun")
    for tab, draw in zip(drawn, tabs.values(), strict=True):
        if tab.open:
            with tab:
                draw()


def _notes(overview: Overview, fails: bool) -> None:
    """Run-wide facts and faults: those that make every number wrong, or the others, folded."""
    chosen = [(kind, markup.md(text)) for kind, text in overview.notes if (kind == "fail") == fails]
    if not chosen:
        return
    if fails:
        st.error("  \n".join(text for _, text in chosen), icon=_NOTES["fail"])
        return
    warnings = sum(kind == "warn" for kind, _ in chosen)
    label = counted(warnings, "warning") if warnings else counted(len(chosen), "note")
    with st.expander(f"{label} about this run", icon=_NOTES["warn" if warnings else "unknown"]):
        st.markdown("  \n".join(text for _, text in chosen))


def _status(run: Run, selection: Filter, overview: Overview) -> None:
    total = counted(overview.total, "sample")
    st.subheader(total if overview.shown == overview.total else f"{overview.shown:,} of {total}", anchor=False)
    if not overview.shown:
        st.info("No sample passes this filter.", icon=":material/filter_alt_off:")
        return
    if run.spec.final.is_nothing:  # shares of a status that nothing says would look like a result
        return
    tiles.status(overview.status)
    event = parts.chart((run.id, "status"), charts.status_bar(overview.status), "Samples by status", ["points"])
    parts.open_chosen(run, selection, selecting.from_values(event, "status"))


def _causes(run: Run, selection: Filter, overview: Overview) -> None:
    event = parts.figure(
        (run.id, "cause"),
        "Why samples were not learned",
        lambda: tables.shares(overview.causes),
        lambda: charts.causes(overview.causes),
        "Samples by cause",
        ["points"],
    )
    if event is not None:
        n = next(iter(overview.causes.values())).n
        st.caption(f"Of {counted(n, 'sample')} not learned. Lines are 95% Wilson intervals.")
        parts.open_chosen(run, selection, selecting.from_values(event, "cause"))
    _study(run, selection, overview)


def _study(run: Run, selection: Filter, overview: Overview) -> None:
    """Where the rules of the study that named the causes say otherwise."""
    if not overview.study:
        return
    agree = sum(n for ours, theirs, n in overview.study if ours == theirs)
    total = sum(n for _, _, n in overview.study)
    with st.expander(
        f"The study's own rules agree on {agree:,} of {counted(total, 'sample')}", icon=":material/balance:"
    ):
        st.caption(
            "Multiple choice, pass@5 below 0.2, thresholds and order as in the paper that named the causes. The paper "
            "gives no test for single samples for the last two causes. Choose a line to see its samples."
        )
        ordered = sorted(overview.study, key=lambda row: -row[2])
        place = tables.pick(tables.study(ordered), state.selectable("chart", run.id, "study"))
        if place is not None:
            ours, theirs, _ = ordered[place]
            terms = [selecting.one_of("cause", [ours]), selecting.one_of("study_cause", [theirs])]
            parts.open_samples(run, selection, terms)


def _breakdowns(run: Run, selection: Filter, overview: Overview) -> None:
    if not overview.breakdowns:
        st.caption("The rows name no stage or source, and their targets are of one length.")
        return
    columns = st.columns(min(len(overview.breakdowns), 2), gap="large")
    for i, breakdown in enumerate(overview.breakdowns):
        with columns[i % len(columns)]:
            _breakdown(run, selection, breakdown)


def _breakdown(run: Run, selection: Filter, breakdown: Breakdown) -> None:
    shown = Breakdown(breakdown.column, breakdown.label, breakdown.rows[: charts.MOST], breakdown.bounds)
    event = parts.figure(
        (run.id, breakdown.column),
        f"By {breakdown.label.lower()}",
        lambda: tables.breakdown(breakdown),
        lambda: charts.breakdown(shown),
        f"Status by {breakdown.label.lower()}",
        ["points"],
    )
    left_out = len(breakdown.rows) - len(shown.rows)
    if left_out and event is not None:
        st.caption(f"The table has {counted(left_out, 'more value')}.")
    parts.open_chosen(run, selection, selecting.from_bars(event, shown))


def _loss(run: Run, selection: Filter, overview: Overview) -> None:
    """What the mean loss hides, and how loss is spread."""
    if overview.hidden:
        st.markdown(
            "**What the mean loss hides**" + (", over the whole run" if overview.shown < overview.total else "")
        )
        st.markdown("  \n".join(markup.md(sentence) for sentence in overview.hidden))
    if len(overview.nll.edges) < 2:
        return
    event = parts.figure(
        (run.id, "nll"),
        "Loss by status",
        lambda: tables.histogram(overview.nll),
        lambda: charts.histogram(overview.nll, "Mean loss per target token (nats); lower is better"),
        "Histogram of mean loss by status",
        ["box"],
    )
    filterbar.narrow(run, selection, selecting.from_range(event, overview.nll))
    note = f" {counted(overview.nll.missing, 'sample')} without a loss." if overview.nll.missing else ""
    st.caption(f"Drag over a range to filter by it.{note}")


def _manage(run: Run) -> None:
    with st.popover("Manage", width="content"):
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
