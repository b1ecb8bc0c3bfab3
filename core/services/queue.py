"""How far a job is and what stands before it: stages, remaining time, place in the queue.

A stage of a job is ``[name, began, done, kind]``: ``began`` in epoch seconds, None while it is still to come; ``done``
as it stood then; stages of one kind are alike, so that one that is to come takes about as long as one that has ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.services.jobs import duration
from core.types import Job
from db import jobs as table
from db.session import database

# A rate measured over less is noise.
SHORTEST = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a job. ``seconds``: how long it took, or has taken so far; None while it is to come."""

    name: str
    state: Literal["done", "now", "to come"]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds until the job ends. ``source``: rates of its own stages, or the estimate of the check before it."""

    seconds: float
    source: Literal["measured", "estimate"]


def steps(job: Job, now: float | None = None) -> list[Step]:
    """The job's stages in order; empty for one that has not begun or says nothing about them."""
    stages, end = job.stages or (), job.finished or (time.time() if now is None else now)
    begun = [i for i, stage in enumerate(stages) if stage[1] is not None]
    out = []
    for i, (name, began, *_) in enumerate(stages):
        if began is None:
            out.append(Step(name, "to come", None))
            continue
        later = [stages[k][1] for k in begun if k > i]
        over = bool(later) or job.state == "done"
        out.append(Step(name, "done" if over else "now", max(0.0, (later[0] if later else end) - began)))
    return out


def rate(job: Job, now: float) -> float | None:
    """Units a second of the stage at hand; None where too little of it is known."""
    current = _current(job)
    if current is None or now - current[1] < SHORTEST or job.done <= current[2]:
        return None
    return float((job.done - current[2]) / (now - current[1]))


def remaining(job: Job, now: float | None = None) -> Remaining | None:
    """How long the whole job takes from now; None where nothing that was measured or estimated says."""
    now = time.time() if now is None else now
    if job.state != "running" or not job.stages:
        return None
    took = {stage[3]: step.seconds for stage, step in zip(job.stages, steps(job, now), strict=True) if stage[3]
            and step.state == "done" and step.seconds is not None}  # fmt: skip
    speed, current = rate(job, now), _current(job)
    left: float | None = None
    if speed and job.total:
        left = (job.total - job.done) / speed
    elif current is not None and current[3] in took:
        left = max(0.0, took[current[3]] - (now - current[1]))
    elif current is not None and not current[3]:
        left = 0.0
    # Stages without a kind are over in a moment: a check, a look, the writing of what was measured.
    to_come = [took.get(stage[3]) for stage in job.stages if stage[1] is None and stage[3]]
    if left is not None and None not in to_come:
        return Remaining(left + sum(seconds for seconds in to_come if seconds is not None), "measured")
    estimate = job.payload.get("estimate")
    if isinstance(estimate, (int, float)):
        return Remaining(max(left or 0.0, estimate - (now - _began(job, now))), "estimate")
    return None


def share(job: Job, now: float | None = None) -> float:
    """How much of the whole job is done, in [0, 1]: by time where the rest is known, else by stages."""
    now = time.time() if now is None else now
    within = min(job.done / job.total, 1.0) if job.total > 0 else 0.0
    if not job.stages or job.state != "running":
        return within
    if (rest := remaining(job, now)) is not None:
        elapsed = max(0.0, now - _began(job, now))
        return elapsed / max(elapsed + rest.seconds, 1e-9)
    over = sum(step.state == "done" for step in steps(job, now))
    return min(1.0, (over + within) / len(job.stages))


def rate_text(job: Job, now: float | None = None) -> str:
    """Rate of the stage and remaining time of the job, in words; empty where too little is known."""
    now = time.time() if now is None else now
    if job.state != "running":
        return ""
    speed, rest = rate(job, now), remaining(job, now)
    parts = []
    if speed is not None:
        number = f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
        parts.append(f"{number} {job.unit or 'steps'}/s")
    if rest is not None:
        source = " (estimate of the check)" if rest.source == "estimate" else ""
        parts.append(f"about {duration(rest.seconds)} left{source}")
    elif speed is not None and job.total:
        to_come = sum(stage[1] is None for stage in job.stages or ())
        stage = f"about {duration((job.total - job.done) / speed)} left"
        parts.append(f"{stage} in this stage, {to_come} to come" if to_come else stage)
    return ", ".join(parts)


def _current(job: Job) -> Sequence[Any] | None:
    begun = [stage for stage in job.stages or () if stage[1] is not None]
    return begun[-1] if begun and job.state == "running" else None


def _began(job: Job, now: float) -> float:
    """When its first stage began; ``now`` between the claim of a job and its first stage."""
    return min((float(stage[1]) for stage in job.stages or () if stage[1] is not None), default=now)


# ------------------------------------------------------------------------------------------------------------ queue


def active() -> list[Job]:
    """What runs, then what waits in the order in which it is taken."""
    with database().reading() as conn:
        waiting = table.list_jobs(conn, states=("running", "queued"), limit=1000)
    return sorted(waiting, key=lambda job: (job.state != "running", order(job)))


def order(job: Job) -> float:
    """Jobs of a lane are taken from the lowest on."""
    return float(job.id) if job.place is None else job.place


def ahead(job: Job, others: Sequence[Job] | None = None) -> list[Job]:
    """What is taken before a waiting job of the same lane: what runs there, then what waits before it."""
    if job.state != "queued":
        return []
    mine = [other for other in (active() if others is None else others) if other.lane == job.lane]
    return [other for other in mine if other.state == "running" or order(other) < order(job)]


def waiting_text(job: Job, others: Sequence[Job] | None = None) -> str:
    """The place in the queue and what is ahead, in words; empty where nothing is."""
    before = ahead(job, others)
    if not before:
        return ""
    first = before[0]
    rest = remaining(first)
    left = f" (about {duration(rest.seconds)} left)" if rest is not None else ""
    more = f" and {len(before) - 1} more" if len(before) > 1 else ""
    waiting = sum(other.state == "queued" for other in before) + 1
    return f"number {waiting} in the queue, behind “{first.title or first.kind}”{left}{more}"


def move_up(job_id: int) -> None:
    """Lets a waiting job change places with the one that waits before it; one that is first already stays."""
    with database().writing() as conn:
        waiting = table.list_jobs(conn, states=("queued",), limit=100_000)
        job = next((j for j in waiting if j.id == job_id), None)
        before = [j for j in waiting if job is not None and j.lane == job.lane and order(j) < order(job)]
        if job is not None and before:
            other = max(before, key=order)
            table.set_place(conn, job.id, order(other))
            table.set_place(conn, other.id, order(job))
