"""Jobs: what runs, what waits, what failed; and what a handler is given to work with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sqlalchemy import Connection

from core.services import who
from core.services.liveness import peak_memory
from core.services.liveness import workers as workers
from core.types import Job
from db import jobs as table
from db.jobs import death_text as death_text
from db.session import database


class Cancelled(Exception):
    """The person asked to stop; raised inside the handler between chunks."""


class Released(Exception):
    """The worker was asked to stop; the job goes back into the queue as it stands."""


# Told of stage, done, total, unit; for a progress line on a terminal.
Watch = Callable[[str, int, int, str], None]


# Stages that a job keeps; a waiting job that says so again and again must not fill its row.
MOST_STAGES = 200


class Work(Protocol):
    """What a handler works with: it reports progress, stores in one transaction with it, and learns when to stop.

    ``job_id`` is 0 where no job stands behind the work.
    """

    @property
    def job_id(self) -> int: ...

    def progress(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        unit: str = "",
        store: Callable[[Connection], object] | None = None,
    ) -> None:
        """Reports progress; with ``store`` writes that in the same transaction.

        Raises:
            Cancelled, Released: stop now; what was stored stays.
        """
        ...

    def plan(self, stages: Mapping[str, str]) -> None:
        """Says which stages are to come: name to kind. Stages of one kind take about as long; "" is a moment."""
        ...

    def done(self, conn: Connection, result: Mapping[str, Any]) -> None:
        """Ends the job in the caller's transaction: it is done if, and only if, what it made is stored."""
        ...

    def asked_to_stop(self) -> bool:
        """Whether to stop at the next chunk."""
        ...


class JobContext:
    """Work of a job: progress renews the lease and reads the cancel flag."""

    # Progress is written at most this often, unless something is stored with it.
    EVERY = 0.3

    def __init__(
        self, job: Job, owner: str, lease: float, stop: Callable[[], bool], watch: Watch | None = None
    ) -> None:
        self.job, self.owner = job, owner
        self._lease, self._stop, self._watch = lease, stop, watch
        self._seen: tuple[str, int, int, str] = (job.stage, job.done, job.total, job.unit)
        self._written = 0.0
        # As core/services/queue.py reads them; those of an earlier try say nothing about this one.
        self._stages: list[list[Any]] = []

    @property
    def job_id(self) -> int:
        return self.job.id

    def progress(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        unit: str = "",
        store: Callable[[Connection], object] | None = None,
    ) -> None:
        if self._watch is not None:
            self._watch(stage, done, total, unit)
        new_stage = stage != self._seen[0] or not self._stages
        if new_stage:
            self._begin(stage, done)
        self._seen = (stage, done, total, unit)
        now = time.monotonic()
        if store is None and not new_stage and now - self._written < self.EVERY and done < total:
            if self._stop():
                raise Released
            return
        with database().writing() as conn:
            cancel = self._report(conn, stored=store is not None)
            if store is not None:
                store(conn)
        self._written = now
        if cancel:
            raise Cancelled
        if self._stop():
            raise Released

    def plan(self, stages: Mapping[str, str]) -> None:
        begun = [stage for stage in self._stages if stage[1] is not None]
        self._stages = [*begun, *([name, None, 0, kind] for name, kind in stages.items())]

    def _begin(self, name: str, done: int) -> None:
        """Notes when a stage began, at its place in the plan or, unplanned, behind what has begun."""
        begun = sum(stage[1] is not None for stage in self._stages)
        if begun >= MOST_STAGES:
            return
        at = next((i for i, s in enumerate(self._stages) if s[0] == name and s[1] is None), None)
        kind = "" if at is None else self._stages.pop(at)[3]
        self._stages.insert(begun, [name, time.time(), done, kind])

    def done(self, conn: Connection, result: Mapping[str, Any]) -> None:
        table.finish(conn, self.job.id, self.owner, result)

    def asked_to_stop(self) -> bool:
        return self._stop()

    def renew(self) -> None:
        """Renews the lease with the progress last reported."""
        with database().writing() as conn:
            self._report(conn, stored=False)

    def _report(self, conn: Connection, *, stored: bool) -> bool:
        """Writes the progress last seen and renews the lease; whether the job was asked to stop."""
        stage, done, total, unit = self._seen
        return table.progress(
            conn, self.job.id, self.owner, stage=stage, done=done, total=total, unit=unit,
            lease_seconds=self._lease, stored=stored, stages=self._stages,
        )  # fmt: skip

    def end(self, write: Callable[[Connection], Any]) -> None:
        """Writes how the job ended, unless it has ended already or another worker has taken it over."""
        try:
            with database().writing() as conn:
                write(conn)
        except table.LeaseLost:
            return

    def place(self) -> str:
        """Where the job stands, in words that follow a sentence; empty before its first stage."""
        return table.place_text(*self._seen)

    def close(self) -> None:
        """Frees what the handler left open; the memory of one job must not weigh on the next."""
        import gc

        gc.collect()


class Terminal:
    """Work without a job behind it: progress goes to the watcher, and nothing stops it."""

    job_id = 0

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def progress(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        unit: str = "",
        store: Callable[[Connection], object] | None = None,
    ) -> None:
        self._watch(stage, done, total, unit)
        if store is not None:
            with database().writing() as conn:
                store(conn)

    def plan(self, stages: Mapping[str, str]) -> None:
        """The terminal shows one stage at a time."""

    def done(self, conn: Connection, result: Mapping[str, Any]) -> None:
        """There is no job to end."""

    def asked_to_stop(self) -> bool:
        return False


def enqueue(
    kind: str, payload: Mapping[str, Any], *, lane: str = "short", title: str = "", run_id: int | None = None
) -> int:
    """Puts a job into the queue and returns its id."""
    with database().writing() as conn:
        return table.add(
            conn, lane=lane, kind=kind, payload=payload, title=title or kind, run_id=run_id, author=who.name() or None
        )


def list_jobs(limit: int = 100) -> list[Job]:
    """Newest first."""
    with database().reading() as conn:
        return table.list_jobs(conn, limit=limit)


def get_job(job_id: int) -> Job:
    with database().reading() as conn:
        return table.get(conn, job_id)


def cancel_job(job_id: int) -> None:
    """Asks the job to stop: at once where it waits, at its next chunk where it runs."""
    with database().writing() as conn:
        table.request_cancel(conn, job_id)


def resume_job(job_id: int) -> None:
    """Puts a cancelled or failed job back into the queue; what it measured is not measured again."""
    with database().writing() as conn:
        table.resume(conn, job_id)


def active_for_run(run_id: int) -> Job | None:
    """The newest job of the run that waits or runs; else its newest one that failed or was cancelled; else None."""
    with database().reading() as conn:
        mine = table.list_jobs(conn, run_id=run_id)
    for states in (("running", "queued"), ("failed", "cancelled")):
        for job in mine:
            if job.state in states:
                return job
        if any(j.state == "done" and j.kind == "diagnose" for j in mine):
            return None
    return None


def abandon(lane: str, pid: int, signal: int | None = None) -> None:
    """Frees the jobs of a worker process that is known to be dead, and notes how it died as far as that is known."""
    death = {"signal": signal, "memory": peak_memory(worker_name(lane, pid))}
    with database().writing() as conn:
        table.abandon(conn, worker_name(lane, pid), death)


def worker_name(lane: str, pid: int) -> str:
    """How the names of all owners in this process begin."""
    return f"{lane}-{pid}-"


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
