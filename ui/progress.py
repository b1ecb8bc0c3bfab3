"""A job as the page shows it: polled while it runs, quiet once it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.services import jobs, queue
from core.text.counts import counted
from core.types import Job
from ui import errors, markup, state

ACTIVE = ("queued", "running")
_MARKS = {"done": ":material/check:", "now": ":material/play_arrow:", "to come": ":material/pending:"}
SECONDS = 1.0
_WORDS = {"queued": "Waiting", "running": "Running", "done": "Done", "failed": "Failed", "cancelled": "Cancelled"}


def watch(job_id: int, waiting: str = "") -> Job:
    """Draw the job's progress and return it as it stands; once it ends the whole page is drawn again.

    Args:
        job_id: whose progress.
        waiting: what to say while it waits and no worker is alive is not the reason.
    """
    job = jobs.get_job(job_id)
    if job.state in ACTIVE:
        st.fragment(_live, run_every=SECONDS)(job_id, waiting)
    return job


def outcome(job_id: int, waiting: str = "") -> Mapping[str, Any] | None:
    """What the job gave, once it is done; until then its progress stands, or why it ended without."""
    job = watch(job_id, waiting)
    ended(job)
    return job.result if job.state == "done" else None


def _live(job_id: int, waiting: str) -> None:
    job = jobs.get_job(job_id)
    if job.state not in ACTIVE:
        st.rerun()
    bar(job, waiting)
    no_worker(job)
    cancel(job)


def bar(job: Job, waiting: str = "") -> None:
    """One bar over the whole job: the stage, how far it is, rate and remaining time; the place in the queue before."""
    if job.state == "queued":
        place = queue.waiting_text(job)
        text = waiting or f"{job.title or job.kind}: waiting for a worker"
        st.progress(0.0, text=markup.md(f"{text}: {place}" if place else text))
        return
    parts = [job.stage or job.title or job.kind]
    if job.total > 0:
        parts.append(f"{job.done:,} of {job.total:,} {job.unit}".strip())
    if rate := queue.rate_text(job):
        parts.append(rate)
    if job.attempts:
        how = jobs.death_text(job.death)
        parts.append(f"its worker died {counted(job.attempts, 'time')}" + (f", the last time {how}" if how else ""))
    if job.cancel:
        parts.append("stopping after this chunk")
    st.progress(queue.share(job), text=markup.md(" · ".join(parts)))


def stages(job: Job) -> None:
    """The job's stages: done, now, to come."""
    steps = queue.steps(job)
    if len(steps) < 2:
        return
    over = sum(step.state == "done" for step in steps)
    with st.expander(f"Stages: {over} of {len(steps)} done"):
        lines = []
        for step in steps:
            took = "" if step.seconds is None else f" · {jobs.duration(step.seconds)}"
            lines.append(f"{_MARKS[step.state]} {markup.md(step.name)} :gray[{step.state}{took}]")
        st.markdown("  \n".join(lines))


def no_worker(job: Job) -> None:
    """Say how to start a worker when this job waits for one that does not exist."""
    if job.state == "queued" and not any(w["lane"] == job.lane for w in jobs.workers()):
        errors.message(
            "No worker is running, so this job waits.",
            f"Jobs of the {job.lane} lane are done by a worker process beside the web server.",
            f"Start everything with: make run. Or this worker alone: python -m core.worker {job.lane}",
        )


def cancel(job: Job) -> None:
    """A button that asks the job to stop."""
    if st.button("Cancel", key=state.key("cancel", job.id), disabled=job.cancel, icon=":material/stop_circle:"):
        with errors.shown():
            jobs.cancel_job(job.id)
            st.rerun()


def ended(job: Job) -> None:
    """Why the job did not end well, and the way on. Draws nothing for one that did."""
    if job.state == "failed":
        error = job.error or {}
        code = f" (id {error['code']})" if error.get("code") else ""
        errors.message(error.get("what", "The job failed.") + code, error.get("why", ""), error.get("todo", ""))
    elif job.state == "cancelled":
        st.warning("Cancelled. What was measured is kept.", icon=":material/stop_circle:")
    # A long job goes on from what it measured; a short one begins anew.
    label = "Resume" if job.lane == "long" or job.state == "cancelled" else "Try again"
    if job.state in ("failed", "cancelled") and st.button(
        label, key=state.key("resume", job.id), icon=":material/play_arrow:"
    ):
        with errors.shown():
            jobs.resume_job(job.id)
            st.rerun()


def when(moment: float | None) -> str:
    """A time on this machine, to the minute, "today" or with its date."""
    if moment is None:
        return ""
    try:
        then, today = time.localtime(moment), time.localtime()
    except (OverflowError, OSError, ValueError):  # no time that a clock can show
        return ""
    day = "today" if then[:3] == today[:3] else time.strftime("%Y-%m-%d", then)
    return f"{day} {time.strftime('%H:%M', then)}"


def state_of(job: Job) -> str:
    """The job's state in a word."""
    return _WORDS[job.state]
