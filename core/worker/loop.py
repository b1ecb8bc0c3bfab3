"""The process that takes jobs from the job table, one at a time, in one lane.

``python -m core.worker long`` runs diagnoses, ``python -m core.worker short`` what people wait for, ``python -m
core.worker aside`` proofs and routes that need not wait behind a diagnosis. SIGTERM and SIGINT
finish the chunk at hand and give the job back; kill -9 loses at most that chunk, because the next worker takes the job
over once its lease has run out. What is no fault of a job (a full disk, a locked database) ends neither the job nor the
worker: both wait, say so, and go on when they can.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.errors import UserError
from core.services import liveness, memory, queue
from core.services.environment import exhausted, hindrance
from core.services.jobs import Cancelled, JobContext, Released, Watch, get_job, worker_name
from core.settings import quiet_libraries, settings
from core.types import Job
from core.worker import handlers
from db import jobs as table
from db.session import database

# ``aside`` takes proofs and routes from the long lane, where memory allows them beside what runs there.
LANES = ("long", "short", "aside")
LEASE = 60.0
HEARTBEAT = 10.0
IDLE = 0.3
# Seconds for which what became of inspections, imports and previews is kept.
KEPT = 7 * 24 * 3600.0

# Seconds between tries while the machine is at fault; the last one holds for all that follow. A minute is soon enough
# after someone has freed a disk, and rare enough not to fill a log overnight.
WAITS = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)

# Where both want the processor, ten steps of niceness leave a worker a tenth of what the web process gets (Linux: 110
# to 1024). A page wants it for a fraction of a second and someone waits for it; a job loses little by that.
NICENESS = 10

log = logging.getLogger("lacuna.worker")


class Stop:
    """Set by a signal; read between chunks."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self, *_: Any) -> None:
        self.asked.set()


def _heartbeat(context: JobContext, done: threading.Event) -> None:
    """Renews the lease while a long step (loading a model) reports nothing."""
    while not done.wait(HEARTBEAT):
        try:
            context.renew()
        except Exception:  # a lost lease is seen by the job itself at its next chunk
            log.debug("heartbeat failed", exc_info=True)


def run_job(job: Job, owner: str, stop: Callable[[], bool], watch: Watch | None = None) -> None:
    """Runs one claimed job to its end, whatever that is, and writes the end into the table."""
    context = JobContext(job, owner, LEASE, stop, watch)
    done = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(context, done), daemon=True)
    beat.start()
    try:
        result = _tried(context, stop)
    except Cancelled:
        _end(context, lambda conn: table.cancelled(conn, job.id, owner), stop)
    except Released:
        _end(context, lambda conn: table.release(conn, job.id, owner), stop)
    except table.LeaseLost:
        log.warning("job %s was taken over by another worker", job.id)
    except Exception as error:
        if exhausted(error):
            log.error("job %s ran out of memory\n%s", job.id, traceback.format_exc())
            _fail(context, memory.limit_error(context.place()).as_dict(), stop)
            return
        if isinstance(error, UserError):
            _fail(context, error.as_dict(), stop)
            return
        code = secrets.token_hex(3)
        log.error("job %s failed [%s]\n%s", job.id, code, traceback.format_exc())
        what = f"Something in Lacuna broke: {type(error).__name__}: {str(error)[:300]}"
        why = f"Its traceback is in the worker's log under {code}."
        _fail(context, {"what": what, "why": why, "todo": "", "code": code}, stop)
    else:
        _end(context, lambda conn: table.finish(conn, job.id, owner, result or {}), stop)
    finally:
        done.set()
        beat.join()
        context.close()


def _tried(context: JobContext, stop: Callable[[], bool]) -> Any:
    """What the handler returns; tried again for as long as the machine is at fault. A handler goes on where it was."""
    for wait in _waits():
        try:
            return handlers.handler(context.job.kind)(context, context.job.payload)
        except Exception as error:
            reason = hindrance(error)
            if reason is None:
                raise
            log.warning("job %s waits %.0f s: %s", context.job.id, wait, reason)
            _hold(context, f"waiting: {reason}", wait, stop)
    raise AssertionError("the waits have no end")


def _hold(context: JobContext, stage: str, seconds: float, stop: Callable[[], bool]) -> None:
    """Waits, says so where the database lets it, and hears a cancel.

    Raises:
        Cancelled, Released: stop now.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            context.progress(stage)
        except DBAPIError as error:
            if hindrance(error) is None:
                raise
        if stop():
            raise Released
        if (left := until - time.monotonic()) <= 0:
            return
        threading.Event().wait(min(left, 1.0))


def _end(context: JobContext, write: Callable[[Connection], Any], stop: Callable[[], bool]) -> None:
    """Writes how the job ended, as soon as the database takes it; a stopping worker leaves that to the next one."""
    for wait in _waits():
        try:
            context.end(write)
            return
        except DBAPIError as error:
            if hindrance(error) is None or stop():
                raise
            log.warning("the end of job %s waits %.0f s: %s", context.job.id, wait, error.orig)
            threading.Event().wait(wait)


def _waits() -> Iterator[float]:
    yield from WAITS
    yield from itertools.repeat(WAITS[-1])


def _fail(context: JobContext, error: dict[str, str], stop: Callable[[], bool]) -> None:
    _end(context, lambda conn: table.fail(conn, context.job.id, context.owner, error), stop)


def work(lane: str, *, once: bool = False, stop: Stop | None = None) -> None:
    """Takes jobs until asked to stop; ``once`` returns when the lane is empty."""
    stop = stop or Stop()
    owner = worker_name(lane, os.getpid()) + secrets.token_hex(2)
    parent = os.getppid()
    waits, tidies = _waits(), True
    with liveness.alive(lane, owner):
        while not stop.asked.is_set():
            try:
                job = _claimed(lane, owner, tidies)
                waits, tidies = _waits(), False
            except (DBAPIError, UserError) as error:
                if (reason := hindrance(error)) is None:
                    raise
                log.warning("no job can be taken: %s", reason)
                stop.asked.wait(next(waits))
                continue
            if job is not None:
                run_job(job, owner, stop.asked.is_set)
                continue
            if once:
                return
            # Started by ``serve``: when that is gone, nobody is left to stop this process.
            if os.environ.get("LACUNA_SUPERVISED") and os.getppid() != parent:
                return
            stop.asked.wait(IDLE)


def _claimed(lane: str, owner: str, tidies: bool) -> Job | None:
    """The next job of the lane; ``tidies``: what ended long ago is forgotten first."""
    if lane == "aside":
        return _claimed_aside(owner)
    with database().writing() as conn:
        if tidies:
            table.prune(conn, KEPT)
        return table.claim(conn, lane, owner, LEASE)


def _claimed_aside(owner: str) -> Job | None:
    """The first job of the long lane that may run beside another and that the memory free now allows."""
    for job in queue.active():
        # One that runs may be of a dead worker, which claiming finds out.
        if job.lane == "long" and job.kind in memory.ASIDE and memory.allows(job):
            with database().writing() as conn:
                claimed = table.claim(conn, "long", owner, LEASE, job.id)
            if claimed is not None:
                return claimed
    return None


def work_on(job_id: int, watch: Watch | None = None) -> Job:
    """Runs this one job here, or waits while a worker runs it; returns the job as it ended.

    Ctrl-C finishes the chunk at hand and gives the job back.
    """
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        owner = f"direct-{os.getpid()}-{secrets.token_hex(2)}"
        with database().writing() as conn:
            own = table.claim(conn, get_job(job_id).lane, owner, LEASE, job_id)
        if own is not None:
            run_job(own, owner, stop.asked.is_set, watch)
            return get_job(job_id)
        while (job := get_job(job_id)).state in ("queued", "running") and not stop.asked.is_set():
            if watch is not None:
                watch(job.stage, job.done, job.total, job.unit)
            stop.asked.wait(IDLE)
        return job
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def step_back() -> None:
    """Leaves the processor to the pages; an idle machine computes as fast as before."""
    with suppress(OSError):
        os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        # Linux first shares the processor between sessions, and ``serve`` gives every process one of its own.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def main(lane: str) -> int:
    """Entry of a worker process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    # Alembic names its parts at every start; what people look for in a terminal is the address.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if lane not in LANES:
        print(f"There is no lane named {lane!r}. There are: {', '.join(LANES)}.", file=sys.stderr)
        return 2
    quiet_libraries()
    step_back()
    memory.limit()
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log.info("lane %s, data in %s, since %s", lane, settings().data_dir, time.strftime("%H:%M:%S"))
    work(lane, stop=stop)
    return 0
