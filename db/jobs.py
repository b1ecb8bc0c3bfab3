"""The job table: queued → running → done | failed | cancelled.

A worker holds a job by a lease that it renews. A lease that ran out means that the worker died; the next claim takes
the job over. Times are epoch seconds from ``clock``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, or_, select, update

from core.errors import UserError
from core.types import Job
from db.models import jobs
from db.statements import insert_row
from db.text import storable

Clock = Callable[[], float]
# Deaths without a stored result in between after which a job is not tried again.
MOST_DEATHS = 3
# Seconds by which two machines' clocks, or one that is being corrected, may differ without a lease seeming impossible.
# A worker that still lives renews its lease every ten seconds, so a wrong guess costs a chunk, not a result.
CLOCK_SLACK = 30.0
# In which jobs of a lane are taken: as they came, unless somebody moved one up.
_ORDER = func.coalesce(jobs.c.place, jobs.c.id)
_NOBODY = {"owner": None, "lease_until": None}


class LeaseLost(Exception):
    """Another worker holds the job now, or it has ended: what this one is about to write must not be kept."""


# ------------------------------------------------------------------------------------------ for those who ask


def add(
    conn: Connection,
    lane: str,
    kind: str,
    payload: Mapping[str, Any],
    *,
    title: str = "",
    run_id: int | None = None,
    author: str | None = None,
    clock: Clock = time.time,
) -> int:
    """Puts a job at the end of its lane and returns its id."""
    values = {
        "lane": lane,
        "kind": kind,
        "payload": dict(payload),
        "state": "queued",
        "stage": "",
        "done": 0,
        "total": 0,
        "unit": "",
        "attempts": 0,
        "cancel": False,
        "run_id": run_id,
        "title": storable(title),
        "created": clock(),
        "author": None if author is None else storable(author),
    }
    return insert_row(conn, jobs, values)


def get(conn: Connection, job_id: int) -> Job:
    """Raises UserError where there is no job of that id."""
    row = conn.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise UserError(f"There is no job {job_id}.", "Old ones are removed some time after they ended.")
    return _job(row)


def list_jobs(
    conn: Connection, *, run_id: int | None = None, states: Iterable[str] | None = None, limit: int = 100
) -> list[Job]:
    """Jobs, those of one run or in certain states if asked for; newest first."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if run_id is not None:
        query = query.where(jobs.c.run_id == run_id)
    if states is not None:
        query = query.where(jobs.c.state.in_(list(states)))
    return [_job(r) for r in conn.execute(query)]


def request_cancel(conn: Connection, job_id: int, clock: Clock = time.time) -> Job:
    """Cancels a waiting job at once and asks a running one to stop; one that has ended stays as it is."""
    this = jobs.c.id == job_id
    conn.execute(
        update(jobs).where(this, jobs.c.state == "queued").values(state="cancelled", cancel=True, finished=clock())
    )
    conn.execute(update(jobs).where(this, jobs.c.state == "running").values(cancel=True))
    return get(conn, job_id)


def resume(conn: Connection, job_id: int) -> Job:
    """Puts a cancelled or failed job back into its lane.

    Raises:
        UserError: the job is in another state.
    """
    ended = and_(jobs.c.id == job_id, jobs.c.state.in_(("cancelled", "failed")))
    fresh = {
        "state": "queued",
        "cancel": False,
        "attempts": 0,
        "error": None,
        "death": None,
        "stages": None,
        "started": None,
        "finished": None,
        "place": None,
    }
    if conn.execute(update(jobs).where(ended).values(**fresh, **_NOBODY)).rowcount != 1:
        state = get(conn, job_id).state
        raise UserError(f"Job {job_id} is {state}.", "Only a cancelled or failed job can be resumed.")
    return get(conn, job_id)


def set_place(conn: Connection, job_id: int, place: float) -> None:
    """Where a waiting job stands in its lane; one that has begun stays where it is."""
    conn.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.state == "queued").values(place=place))


def prune(conn: Connection, older_than: float, clock: Clock = time.time) -> list[Job]:
    """Removes jobs of the short lane that ended more than ``older_than`` seconds ago; returns what they were."""
    old = and_(
        jobs.c.lane == "short",
        jobs.c.state.in_(("done", "failed", "cancelled")),
        jobs.c.finished < clock() - older_than,
    )
    return [_job(r) for r in conn.execute(delete(jobs).where(old).returning(jobs))]


# ------------------------------------------------------------------------------------------------ for workers


def claim(
    conn: Connection,
    lane: str,
    owner: str,
    lease_seconds: float,
    job_id: int | None = None,
    clock: Clock = time.time,
) -> Job | None:
    """Takes the first job of the lane that waits or whose worker died; None where there is none.

    A job whose worker died after it was asked to stop is cancelled here, and one that died too often fails here.

    Args:
        owner: names this worker process and no other one, earlier ones included.
        job_id: take this job or none.
    """
    while (row := _claim(conn, lane, owner, lease_seconds, job_id, clock())) is not None:
        if row.cancel:
            cancelled(conn, row.id, owner, clock)
        elif row.attempts >= MOST_DEATHS:
            fail(conn, row.id, owner, _death(row), clock)
        else:
            return _job(row)
    return None


def progress(
    conn: Connection,
    job_id: int,
    owner: str,
    *,
    stage: str,
    done: int,
    total: int,
    unit: str,
    lease_seconds: float,
    stored: bool,
    stages: Sequence[Sequence[Any]] | None = None,
    clock: Clock = time.time,
) -> bool:
    """Reports progress and renews the lease; returns whether the job was asked to stop.

    Args:
        stored: a result is stored in this transaction, so that earlier deaths are forgiven.
        stages: of the job, as ``Job.stages`` holds them; None leaves them as they are.

    Raises:
        LeaseLost: leave the transaction with this exception, so that nothing of it is kept.
    """
    values: dict[str, Any] = {"stage": storable(stage), "done": done, "total": total, "unit": unit}
    if stored:
        values |= {"attempts": 0, "death": None}
    if stages is not None:
        values["stages"] = [[storable(name), *rest] for name, *rest in stages]
    return bool(_change(conn, job_id, owner, {**values, "lease_until": clock() + lease_seconds}).cancel)


def finish(conn: Connection, job_id: int, owner: str, result: Mapping[str, Any], clock: Clock = time.time) -> None:
    """The job is done. Raises LeaseLost."""
    _change(conn, job_id, owner, {"state": "done", "result": dict(result), "finished": clock(), **_NOBODY})


def fail(conn: Connection, job_id: int, owner: str, error: Mapping[str, str], clock: Clock = time.time) -> None:
    """The job failed; ``error`` has what, why, todo. Raises LeaseLost."""
    _change(conn, job_id, owner, {"state": "failed", "error": dict(error), "finished": clock(), **_NOBODY})


def cancelled(conn: Connection, job_id: int, owner: str, clock: Clock = time.time) -> None:
    """The job stopped as it was asked to. Raises LeaseLost."""
    _change(conn, job_id, owner, {"state": "cancelled", "finished": clock(), **_NOBODY})


def release(conn: Connection, job_id: int, owner: str) -> None:
    """Gives the job back as it stands; the next worker goes on with it. Raises LeaseLost."""
    _change(conn, job_id, owner, {"state": "queued", **_NOBODY})


def abandon(conn: Connection, owner_prefix: str, death: Mapping[str, Any] | None = None) -> int:
    """Ends the leases of workers whose names begin so and that are known to be dead; how many jobs that frees.

    Args:
        death: what is known of it: ``signal`` (a number), ``memory`` (bytes), None for what is not.
    """
    dead = and_(jobs.c.state == "running", jobs.c.owner.startswith(owner_prefix, autoescape=True))
    return conn.execute(update(jobs).where(dead).values(lease_until=0.0, death=dict(death or {}))).rowcount


def _claim(
    conn: Connection, lane: str, owner: str, lease_seconds: float, job_id: int | None, now: float
) -> Row[Any] | None:
    """One statement, so that two workers never take the same job; deaths are counted in it.

    A lease that ends later than any lease begun now was written before the clock was set back: nobody renews it.
    """
    until = now + lease_seconds
    dead = or_(jobs.c.lease_until < now, jobs.c.lease_until > until + CLOCK_SLACK)
    free: list[ColumnElement[bool]] = [
        jobs.c.lane == lane,
        or_(jobs.c.state == "queued", and_(jobs.c.state == "running", dead)),
    ]
    if job_id is not None:
        free.append(jobs.c.id == job_id)
    first = select(jobs.c.id).where(*free).order_by(_ORDER, jobs.c.id).limit(1).with_for_update(skip_locked=True)
    query = (
        update(jobs)
        .where(jobs.c.id == first.scalar_subquery())
        .values(
            state="running",
            owner=owner,
            lease_until=until,
            attempts=case((jobs.c.state == "running", jobs.c.attempts + 1), else_=jobs.c.attempts),
            started=func.coalesce(jobs.c.started, now),
        )
        .returning(jobs)
    )
    return conn.execute(query).one_or_none()


def _change(conn: Connection, job_id: int, owner: str, values: dict[str, Any]) -> Row[Any]:
    held = and_(jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.state == "running")
    row = conn.execute(update(jobs).where(held).values(values).returning(jobs)).one_or_none()
    if row is None:
        raise LeaseLost(f"job {job_id} is no longer held by {owner}")
    return row


def place_text(stage: str, done: int, total: int, unit: str) -> str:
    """A stage and how far it is, in words that follow a sentence; empty before the first stage."""
    far = f" ({done:,} of {total:,} {unit}".rstrip() + ")" if total else ""
    return f" at “{stage}”{far}" if stage else ""


def death_text(death: Mapping[str, Any] | None) -> str:
    """What is known of how a worker died, in words; empty where nothing is."""
    known = death or {}
    parts = [f"by signal {known['signal']}"] if known.get("signal") else []
    if known.get("memory"):
        parts.append(f"after holding up to {known['memory'] / 1e9:.1f} GB of memory")
    return " ".join(parts)


def _death(row: Row[Any]) -> dict[str, str]:
    place = place_text(row.stage, row.done, row.total, row.unit) or " before its first stage"
    how = death_text(row.death)
    last = f" The last time it was ended {how}." if how else ""
    return UserError(
        f"The worker died {MOST_DEATHS} times{place}.",
        f"No result was stored in between.{last} Most often the machine runs out of memory and the system kills the "
        "worker.",
        "Free memory or choose a smaller model or batch, then resume the job; what was measured is kept.",
    ).as_dict()


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)
