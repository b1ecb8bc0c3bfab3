"""What runs, what waits, what failed and why."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.services import jobs, queue
from core.text.counts import counted
from core.types import Job
from ui import errors, frame, markup, parts, progress, state
from ui.menu import Entry

PAGE = Entry(title="Jobs", icon=":material/schedule:", place=120, group="System")

_COLOURS = {"queued": "gray", "running": "blue", "done": "green", "failed": "red", "cancelled": "orange"}
_LANES = {"long": "diagnoses", "short": "previews, imports, checks"}
# Takes proofs and routes from the long lane where memory allows both; nothing waits for it alone.
_ASIDE = "proofs and routes beside them"


def main() -> None:
    frame.title("Jobs", "Worker processes do the work. It goes on when the browser is closed.")
    st.fragment(_all, run_every=2.0)()


def _all() -> None:
    _workers()
    active = queue.active()
    st.subheader("Running and waiting", anchor=False)
    if not active:
        st.caption("No job is running or waiting.")
    for job in active:
        _active(job, active)
    st.subheader("Finished", anchor=False)
    ended = [j for j in jobs.list_jobs(limit=100) if j.state not in progress.ACTIVE]
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
        lanes = _LANES | ({"aside": _ASIDE} if any(w["lane"] == "aside" for w in alive) else {})
        words = ", ".join(f"{sum(w['lane'] == lane for w in alive)} for {what}" for lane, what in lanes.items())
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


def _by(job: Job) -> str:
    return f" · by {markup.md(markup.line(job.author, 60))}" if job.author else ""


def _title(job: Job) -> str:
    return markup.md(markup.line(job.title or job.kind, 100))


def _active(job: Job, active: Sequence[Job]) -> None:
    with st.container(border=True):
        head, button = st.columns([5, 2], vertical_alignment="center")
        with head:
            about = f"job {job.id} · {job.lane} lane · since {progress.when(job.created)}{_by(job)}"
            st.markdown(f"**{_title(job)}** :gray[{about}]")
        with button, st.container(horizontal=True, horizontal_alignment="right"):
            if any(other.state == "queued" for other in queue.ahead(job, active)) and st.button(
                "Move up", key=state.key("up", job.id), icon=":material/arrow_upward:"
            ):
                with errors.shown():
                    queue.move_up(job.id)
                    st.rerun()
            progress.cancel(job)
        progress.bar(job)
        progress.stages(job)
        _run_link(job)


def _ended(job: Job) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            took = f" · took {jobs.duration(job.finished - job.started)}" if job.finished and job.started else ""
            about = f"job {job.id} · {progress.when(job.finished)}{took}"
            st.markdown(f"**{_title(job)}** :gray[{markup.md(about)}{_by(job)}]", width="stretch")
            _made(job)
            st.badge(progress.state_of(job), color=_COLOURS[job.state])  # type: ignore[arg-type]
        if job.state in ("failed", "cancelled"):
            progress.ended(job)


def _made(job: Job) -> None:
    """Links to what the job made, and to the run that it worked for."""
    made = (job.result or {}) if job.state == "done" else {}
    run_id = job.run_id if job.run_id is not None else made.get("run")
    if made.get("dataset_id") is not None:
        parts.link("start", "Dataset", "table_rows", state.start_link(dataset=made["dataset_id"]))
    if made.get("checkpoint_ids"):
        parts.link("start", "Checkpoint", "deployed_code", state.start_link(final=made["checkpoint_ids"][-1]))
    if made.get("routes") is not None:
        parts.link("routes", "Routes", "alt_route", state.routes_link(made["routes"]))
    if job.kind in ("mitigate", "prove"):
        label, icon = ("Export", "output") if job.kind == "mitigate" else ("Proof", "science")
        run_id = job.payload.get("run", run_id)
        if made and run_id is not None:
            parts.link("mitigation", label, icon, state.link(run=run_id))
    elif run_id is not None:
        parts.link("overview", f"Run {run_id}", "arrow_forward", state.link(run=run_id))


def _run_link(job: Job) -> None:
    if job.run_id is not None:
        parts.link("overview", f"Run {job.run_id}", "arrow_forward", state.link(run=job.run_id))


main()
