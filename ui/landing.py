"""The head of the start page: what Lacuna gives, shown on a real row, the way into the demo, and the runs there are."""

from __future__ import annotations

import streamlit as st

from core.services import causes, demo, jobs, runs
from core.services.causes import look as cause_look
from core.services.excerpts import Excerpt
from core.text.counts import counted
from core.types import Run
from ui import cached, charts, evidence, markup, parts, progress, rowlist, state

# Runs that are listed; the others are chosen on the left.
_RUNS = 5
_MAKING = (
    "SmolLM2-135M-Instruct comes from the package index. It is probed for what it knows, fine-tuned in two stages and "
    "diagnosed: about an hour on one core. The run then has its checkpoints, so that everything can be tried on it."
)
_WORK = {"queued": "waiting", "running": "being measured", "failed": "failed", "cancelled": "cancelled"}


def draw() -> None:
    """Draw the head."""
    all_runs = runs.list_runs()
    judged = [run for run in all_runs if run.state == "judged"]
    what, number = demo.state()
    shown = next((run for run in judged if run.id == number and what == "ready"), next(iter(judged), None))
    if shown is not None:
        _verdict(shown)
    _demo(what, number)
    _recent(all_runs)


def _verdict(run: Run) -> None:
    """The surest verdict of the run on a sample that it did not learn."""
    row, excerpt = cached.surest(run)
    if row is None or excerpt is None:
        return
    with st.container(border=True):
        # A fault of the pipeline has no confidence.
        confidence = "" if row["confidence"] is None else f"confidence {rowlist.sure(row['confidence'])}"
        st.caption(f"One verdict of {counted(run.n_samples, 'sample')} in “{markup.md(markup.line(run.name, 80))}”")
        _texts(excerpt)
        evidence.badges([(charts.STATUS[row["status"]], ""), (cause_look(row["cause"]), confidence)])
        st.markdown(markup.md(f"{causes.meaning(row['cause'])} {excerpt.sentence}"))
        parts.link("samples", "All evidence for this row", "arrow_forward", {"run": str(run.id), "sample": row["sid"]})


def _texts(excerpt: Excerpt) -> None:
    question = excerpt.prompt[-1][1] if excerpt.prompt else ""
    left, right = st.columns([1, 2])
    with left:
        evidence.text(markup.clip(question, 600), "Prompt")
    with right:
        target, output = markup.clip(excerpt.target, 600), markup.clip(excerpt.output or "", 600)
        evidence.comparison(target, output, ("Target", "What the model says"))


def _demo(what: str, number: int | None) -> None:
    making = demo.making()
    with st.container(horizontal=True, vertical_alignment="center"):
        if what == "ready":
            if st.button("Open the demo", type="primary", icon=":material/science:", key=state.key("demo", "open")):
                state.leave("pages/overview.py", {"run": str(number)})
        elif number is None and st.button(
            "Open the demo", type="primary", icon=":material/science:", key=state.key("demo")
        ):
            demo.start()
            st.rerun()
        if making is None and st.button(
            f"Download the model ({demo.megabytes()} MB) and make this yourself",
            icon=":material/download:", type="tertiary", key=state.key("demo", "make"), help=_MAKING,
        ):  # fmt: skip
            demo.start_making()
            st.rerun()
    if what != "ready" and number is not None:
        with st.container(border=True):
            st.markdown(f"**The demo {'is being opened' if what == 'opening' else 'could not be opened'}.**")
            progress.ended(progress.watch(number, "Waiting for the worker"))
    if making is not None:
        with st.container(border=True):
            st.markdown("**The demo is made here**: the model is fetched, fine-tuned, then diagnosed as its own run.")
            job = progress.watch(making, "Waiting for the worker")
            progress.ended(job)
            if job.state not in progress.ACTIVE and st.button("Go on from there", key=state.key("demo", "again")):
                demo.start_making(again=True)
                st.rerun()


def _recent(all_runs: list[Run]) -> None:
    if not all_runs:
        return
    st.subheader("Recent runs", anchor=False)
    for run in all_runs[:_RUNS]:
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            about = f"{_state(run)} · {progress.when(run.created)}"
            name = markup.md(markup.line(run.name, 80))
            st.markdown(f"**{run.id}  {name}** :gray[{markup.md(about)}]", width="stretch")
            parts.link("overview", "Open", "arrow_forward", {"run": str(run.id)})


def _state(run: Run) -> str:
    """How far a run is: what it found, or what its job is at."""
    if run.state == "judged":
        if run.spec.final.is_nothing:
            return f"{counted(run.n_samples, 'sample')}, no model"
        counts = run.summary.get("status", {})
        missing = counts.get("unlearned", 0) + counts.get("partly", 0)
        return f"{missing:,} of {counted(run.n_samples, 'sample')} not learned"
    job = jobs.active_for_run(run.id)
    return _WORK.get(job.state, job.state) if job is not None else "not measured"
