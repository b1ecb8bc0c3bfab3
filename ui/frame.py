"""What the pages of a run share: which run, its head line, the job at work on it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.errors import UserError
from core.services import jobs, runs, words
from core.text.counts import counted
from core.types import Filter, Run
from ui import bundles, copylink, errors, markup, parts, progress, state


def require_run() -> Run:
    """The run looked at; without one the page says what to do and ends."""
    run_id = state.run_id()
    if run_id is None:
        st.info("No run is chosen. Choose one on the left, or start one.", icon=":material/info:")
        for run in runs.list_runs()[:3]:
            label = f"Look at run {run.id}: {markup.md(markup.line(run.name, 60))}"
            parts.link("overview", label, "donut_small", state.link(run=run.id))
        parts.link("start", "New diagnosis", "add_circle")
        st.stop()
    return runs.get_run(run_id)


def subtitle(run: Run) -> str:
    """What was diagnosed, in one line."""
    spec = run.spec
    final = "final checkpoint" if spec.final.label == "final" else f"checkpoint “{spec.final.label}”"
    parts = [f"run {run.id}", "no model" if spec.final.is_nothing else final]
    parts.append(f"preset “{words.label('presets', spec.preset)}”")
    parts.append(f"scorer “{words.label('scorers', spec.scorer)}”")
    if spec.base:
        parts.append("with its base" if spec.base.label == "base" else f"base “{spec.base.label}”")
    if spec.trajectory:
        parts.append(counted(len(spec.trajectory), "earlier checkpoint"))
    return markup.md(" · ".join(markup.line(p, 60) for p in parts))


def title(text: str, caption: str = "", manage: Callable[[], None] | None = None) -> None:
    """The page's heading, with the button that copies its address, and what ``manage`` draws beside that."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title(markup.md(text), anchor=False, width="content")
        with st.container(horizontal=True, horizontal_alignment="right", width="content"):
            copylink.draw()
            if manage is not None:
                manage()
    if caption:
        st.caption(caption)


def at_work(run: Run) -> None:
    """The run's job while one is under way or has failed; while there are no verdicts yet the page ends here."""
    job = jobs.active_for_run(run.id)
    if job is not None:
        with st.container(border=True):
            if job.state in progress.ACTIVE:
                progress.watch(job.id, "Waiting for the worker")
                st.caption("The work goes on when this page is closed.")
            else:
                progress.ended(job)
    bundles.note(run)
    if run.state != "judged":
        if job is None:
            st.info("This run has not been measured.", icon=":material/info:")
        st.stop()


def open_run(text: str = "") -> tuple[Run, Filter]:
    """Draw the head of a page of one run, under ``text`` or the run's name; the run and the filter that stands."""
    run = require_run()
    title(text or run.name, subtitle(run))
    at_work(run)
    return run, filter_of(run)


def filter_of(run: Run) -> Filter:
    """The filter of the address. Where it cannot be read, the page says why, offers to go on without it, and ends."""
    try:
        return state.selection(run.columns)
    except UserError as error:
        # Where a name is near one that there is, the hundred others do not help.
        errors.message(error.what, "" if error.todo else error.why, error.todo)
        st.button(
            "Go on without the filter", icon=":material/filter_alt_off:", key=state.key("frame", "clear"),
            on_click=state.go, args=({"run": str(run.id)},),
        )  # fmt: skip
        st.stop()
