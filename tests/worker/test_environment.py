"""A full disk or a locked database ends neither a job nor the worker; a fault of ours still does."""

import errno
import sqlite3
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from core.services import jobs
from core.services.environment import hindrance
from core.worker import handlers, loop
from db import session
from db.session import database


def of_sqlite(code, message="said by SQLite"):
    """The error that SQLAlchemy raises for a result code of SQLite."""
    cause = sqlite3.OperationalError(message)
    cause.sqlite_errorcode = code
    return OperationalError("INSERT INTO samples ...", {}, cause)


LOCKED = of_sqlite(sqlite3.SQLITE_BUSY)
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LOCKED, "locked"),
        (of_sqlite(sqlite3.SQLITE_BUSY | 2 << 8), "locked"),  # SQLITE_BUSY_SNAPSHOT, an extended code
        (of_sqlite(sqlite3.SQLITE_FULL), "disk is full"),
        (FULL, "disk is full"),
        (OSError(errno.ESTALE, "Stale file handle"), "network share"),
        (of_sqlite(sqlite3.SQLITE_ERROR, "no such column: nll"), None),
        (OSError(errno.ENOENT, "No such file"), None),
        (ValueError("ours"), None),
    ],
)
def test_what_the_machine_is_blamed_for(error, reason):
    assert (hindrance(error) is None) if reason is None else (reason in hindrance(error))


def test_a_statement_that_is_wrong_is_a_bug():
    with database().reading() as conn, pytest.raises(OperationalError) as caught:
        conn.execute(text("SELECT nothing FROM nowhere"))
    assert hindrance(caught.value) is None


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(loop, "WAITS", (0.0, 0.01))


def handled(monkeypatch, errors):
    """A kind of job that raises these errors one after the other, then is done; the stages seen on the way."""
    left, stages = list(errors), []

    def handle(context, payload):
        with database().reading() as conn:
            stages.append(conn.execute(text("SELECT stage FROM jobs")).scalar_one())
        if left:
            raise left.pop(0)
        return {"ok": True}

    monkeypatch.setitem(handlers.HANDLERS, "trial", handle)
    return stages


@pytest.mark.parametrize("error", [LOCKED, FULL])
def test_a_job_waits_and_goes_on_by_itself(error, quick, monkeypatch):
    stages = handled(monkeypatch, [error, error])
    job = jobs.enqueue("trial", {})
    loop.work("short", once=True)
    assert jobs.get_job(job).state == "done"
    assert jobs.get_job(job).result == {"ok": True}
    assert stages == ["", f"waiting: {hindrance(error)}", f"waiting: {hindrance(error)}"]


def test_a_job_that_waits_can_be_cancelled(quick, monkeypatch):
    def handle(context, payload):
        jobs.cancel_job(context.job.id)
        raise FULL

    monkeypatch.setitem(handlers.HANDLERS, "trial", handle)
    job = jobs.enqueue("trial", {})
    loop.work("short", once=True)
    assert jobs.get_job(job).state == "cancelled"


def test_a_bug_is_not_tried_again(quick, monkeypatch):
    stages = handled(monkeypatch, [ZeroDivisionError("ours"), ZeroDivisionError("ours")])
    job = jobs.enqueue("trial", {})
    loop.work("short", once=True)
    assert jobs.get_job(job).state == "failed"
    assert len(stages) == 1


def test_an_idle_worker_survives_a_locked_database(quick, monkeypatch):
    """Another process holds the write lock while the worker looks for a job, and again while one ends."""
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.05)
    stages = handled(monkeypatch, [])
    job = jobs.enqueue("trial", {})
    holder = sqlite3.connect(database().engine.url.database, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    refused = threading.Event()
    claimed = loop._claimed

    def seen(*arguments):
        try:
            return claimed(*arguments)
        except OperationalError:
            refused.set()
            raise

    monkeypatch.setattr(loop, "_claimed", seen)
    worker = threading.Thread(target=loop.work, args=("short",), kwargs={"once": True})
    worker.start()
    assert refused.wait(30)
    holder.execute("ROLLBACK")
    holder.close()
    worker.join(30)
    assert not worker.is_alive()
    assert jobs.get_job(job).state == "done" and stages == [""]
