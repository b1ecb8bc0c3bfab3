"""What runs, what waits, what failed and why."""

from __future__ import annotations

import streamlit as st

from core.services import jobs
from core.text.counts import counted
from core.types import Job
from ui import frame, markup, parts, progress, state
from ui.menu import Entry

PAGE = Entry(title="Jobs", icon=":material/schedule:", place=120)

_COLOURS = {"queued": "gray", "running": "blue", "done": "green", "failed": "red", "cancelled": "orange"}
_LANES = {"long": "diagnoses", "short": "previews, imports, checks"}


def main() -> None:
    frame.title("Jobs", "Worker processes do the work. It goes on when the browser is closed.")
    st.fragment(_all, run_every=2.0)()


def _all() -> None:
    _workers()
    found = jobs.list_jobs(limit=100)
    active = [j for j in found if j.state in progress.ACTIVE]
    ended = [j for j in found if j.state not in progress.ACTIVE]
    st.subheader("Running and waiting", anchor=False)
    if not active:
        st.caption("No job is running or waiting.")
    for job in active:
        _active(job)
    st.subheader("Finished", anchor=False)
    if not ended:
        st.caption("No job has ended yet.")
    for job in ended[:30]:
        _ended(job)
    if len(ended) > 30:
        st.caption("The 30 most recent are shown.")


def _workers() -> None:
    alive = jobs.workers()
    missing = [lane for lane in _LANES if not any(w["lane"] == lane for w in alive)]
    if not missing:
        words = ", ".join(f"{sum(w['lane'] == lane for w in alive)} for {what}" for lane, what in _LANES.items())
        st.caption(f":material/check_circle: {counted(len(alive), 'worker')} running: {words}.")
        return
    what = " and ".join(f"{lane} lane ({_LANES[lane]})" for lane in missing)
    st.warning(
        f"No worker is running for the {what}. Its jobs wait.  \n"
        "Start everything with `make run`, or the workers alone with "
        + " and ".join(f"`python -m core.worker {lane}`" for lane in missing)
        + ".",
        icon=":material/warning:",
    )


def _title(job: Job) -> str:
    return markup.md(markup.line(job.title or job.kind, 100))


def _active(job: Job) -> None:
    with st.container(border=True):
        head, button = st.columns([6, 1], vertical_alignment="center")
        with head:
            st.markdown(f"**{_title(job)}** :gray[job {job.id} · {job.lane} lane · since {progress.when(job.created)}]")
        with button:
            progress.cancel(job)
        progress.bar(job)
        _run_link(job)


def _ended(job: Job) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            took = f" · took {jobs.duration(job.finished - job.started)}" if job.finished and job.started else ""
            about = f"job {job.id} · {progress.when(job.finished)}{took}"
            st.markdown(f"**{_title(job)}** :gray[{markup.md(about)}]", width="stretch")
            _run_link(job)
            st.badge(progress.state_of(job), color=_COLOURS[job.state])  # type: ignore[arg-type]
        if job.state in ("failed", "cancelled"):
            progress.ended(job)


def _run_link(job: Job) -> None:
    if job.run_id is not None:
        parts.link("overview", f"Run {job.run_id}", "arrow_forward", state.link(run=job.run_id))


main()
