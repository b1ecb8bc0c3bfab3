"""The job table under several workers, with a clock that the test moves."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from core.errors import UserError
from db import jobs
from db.session import open_database

ROOT = Path(__file__).parents[2]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
LEASE = 10.0
STEP = {"stage": "scoring", "done": 3, "total": 8, "unit": "samples", "lease_seconds": LEASE}


@pytest.fixture
def db(tmp_path):
    opened = open_database(os.environ.get("LACUNA_DATABASE_URL") or f"sqlite:///{tmp_path / 'lacuna.db'}")
    yield opened
    opened.close()


@pytest.fixture
def conn(db):
    with db.writing() as conn:
        yield conn


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def job(conn, clock):
    return jobs.add(conn, "long", "diagnose", {"run": 1}, title="Diagnose", clock=clock)


def claim(conn, owner, clock, lane="long", job_id=None):
    return jobs.claim(conn, lane, owner, LEASE, job_id, clock)


CLAIMER = """
import sys
from db import jobs
from db.session import open_database
sys.stdin.read(1)
db = open_database(sys.argv[1])
while True:
    with db.writing() as conn:
        job = jobs.claim(conn, "long", sys.argv[2], 60.0)
    if job is None:
        break
    with db.writing() as conn:
        jobs.progress(conn, job.id, sys.argv[2], stage="x", done=1, total=2, unit="", lease_seconds=60.0, stored=True)
    with db.writing() as conn:
        jobs.finish(conn, job.id, sys.argv[2], {"by": sys.argv[2]})
    print(job.id)
"""


def test_four_processes_share_forty_jobs(db):
    with db.writing() as conn:
        ids = [jobs.add(conn, "long", "diagnose", {}) for _ in range(40)]
        other = jobs.add(conn, "short", "export", {})
    url = db.engine.url.render_as_string(hide_password=False)
    workers = [subprocess.Popen([sys.executable, "-c", CLAIMER, url, f"w{i}"], cwd=ROOT, **PIPES) for i in range(4)]
    for worker in workers:
        worker.stdin.write(b"g")
        worker.stdin.flush()
    printed = [(worker.communicate()[0].decode().split(), worker.returncode) for worker in workers]
    assert [code for _, code in printed] == [0, 0, 0, 0]
    assert Counter(int(i) for mine, _ in printed for i in mine) == Counter(ids)
    with db.reading() as conn:
        assert {jobs.get(conn, i).state for i in ids} == {"done"}
        assert jobs.get(conn, other).state == "queued"


def test_a_job_from_queue_to_done(conn, clock, job):
    queued = jobs.get(conn, job)
    assert (queued.state, queued.payload, queued.title, queued.created) == ("queued", {"run": 1}, "Diagnose", 1000.0)
    clock.now = 1001.0
    running = claim(conn, "a", clock)
    assert (running.state, running.owner, running.lease_until, running.started) == ("running", "a", 1011.0, 1001.0)
    assert claim(conn, "b", clock) is None
    clock.now = 1005.0
    assert jobs.progress(conn, job, "a", **STEP, stored=True, clock=clock) is False
    seen = jobs.get(conn, job)
    assert (seen.stage, seen.done, seen.total, seen.unit, seen.lease_until) == ("scoring", 3, 8, "samples", 1015.0)
    jobs.finish(conn, job, "a", {"n": 8}, clock)
    done = jobs.get(conn, job)
    assert (done.state, done.result, done.finished, done.owner, done.lease_until) == (
        "done",
        {"n": 8},
        1005.0,
        None,
        None,
    )


def test_lanes_and_order(conn, clock, job):
    second, short = jobs.add(conn, "long", "diagnose", {}), jobs.add(conn, "short", "export", {})
    assert claim(conn, "a", clock, "short").id == short
    assert claim(conn, "a", clock).id == job
    assert claim(conn, "b", clock).id == second
    assert claim(conn, "c", clock) is claim(conn, "c", clock, "short") is None


def test_one_job_can_be_asked_for(conn, clock, job):
    second = jobs.add(conn, "long", "diagnose", {})
    assert claim(conn, "a", clock, job_id=second).id == second
    assert claim(conn, "b", clock, job_id=second) is None
    assert claim(conn, "b", clock).id == job


def test_an_expired_lease_is_taken_over(conn, clock, job):
    claim(conn, "a", clock)
    clock.now += LEASE
    assert claim(conn, "b", clock) is None  # to the last moment it is a's
    clock.now += 0.1
    taken = claim(conn, "b", clock)
    assert (taken.id, taken.owner, taken.attempts, taken.started) == (job, "b", 1, 1000.0)
    for act in (
        lambda: jobs.progress(conn, job, "a", **STEP, stored=True, clock=clock),
        lambda: jobs.finish(conn, job, "a", {}, clock),
        lambda: jobs.fail(conn, job, "a", {}, clock),
        lambda: jobs.cancelled(conn, job, "a", clock),
        lambda: jobs.release(conn, job, "a"),
    ):
        with pytest.raises(jobs.LeaseLost):
            act()
    assert jobs.get(conn, job) == taken


def test_a_late_worker_keeps_a_job_that_nobody_took(conn, clock, job):
    claim(conn, "a", clock)
    clock.now += 100
    assert jobs.progress(conn, job, "a", **STEP, stored=False, clock=clock) is False
    assert claim(conn, "b", clock) is None


def test_what_is_stored_after_the_lease_is_lost_is_not_kept(db, clock):
    with db.writing() as conn:
        job = jobs.add(conn, "long", "diagnose", {})
        claim(conn, "a", clock)
        clock.now += LEASE + 1
        claim(conn, "b", clock)
    with pytest.raises(jobs.LeaseLost), db.writing() as conn:
        jobs.add(conn, "short", "a chunk stored beside the progress", {})
        jobs.progress(conn, job, "a", **STEP, stored=True, clock=clock)
    with db.reading() as conn:
        assert len(jobs.list_jobs(conn)) == 1


def die(conn, clock, deaths):
    for death in range(deaths):
        assert claim(conn, f"dying-{clock.now}-{death}", clock) is not None
        clock.now += LEASE + 1


def test_three_deaths_end_a_job_and_say_where(conn, clock, job):
    claim(conn, "a", clock)
    jobs.progress(conn, job, "a", **STEP, stored=False, clock=clock)
    clock.now += LEASE + 1
    die(conn, clock, 2)
    following = jobs.add(conn, "long", "diagnose", {})
    assert claim(conn, "b", clock).id == following  # the dead one does not hold up the lane
    dead = jobs.get(conn, job)
    assert (dead.state, dead.finished, dead.owner) == ("failed", clock.now, None)
    assert "died 3 times" in dead.error["what"] and "“scoring” (3 of 8 samples)" in dead.error["what"]
    assert dead.error["why"] and dead.error["todo"]


def test_a_stored_chunk_forgives_deaths(conn, clock, job):
    die(conn, clock, 2)
    assert claim(conn, "c", clock).attempts == 2
    jobs.progress(conn, job, "c", **STEP, stored=False, clock=clock)
    assert jobs.get(conn, job).attempts == 2
    jobs.progress(conn, job, "c", **STEP, stored=True, clock=clock)
    clock.now += LEASE + 1
    die(conn, clock, 2)
    assert jobs.get(conn, job).state == "running"
    assert claim(conn, "d", clock) is None
    assert jobs.get(conn, job).state == "failed"


def test_giving_back_is_no_death(conn, clock, job):
    for _ in range(5):
        claim(conn, "a", clock)
        jobs.release(conn, job, "a")
        given = jobs.get(conn, job)
        assert (given.state, given.owner, given.lease_until, given.attempts) == ("queued", None, None, 0)


def test_cancel_while_waiting(conn, clock, job):
    assert jobs.request_cancel(conn, job, clock).state == "cancelled"
    assert jobs.get(conn, job).finished == 1000.0
    assert claim(conn, "a", clock) is None


def test_cancel_while_running(conn, clock, job):
    claim(conn, "a", clock)
    assert jobs.request_cancel(conn, job, clock).state == "running"
    assert jobs.progress(conn, job, "a", **STEP, stored=True, clock=clock) is True
    jobs.cancelled(conn, job, "a", clock)
    assert jobs.get(conn, job).state == "cancelled"


def test_cancel_of_a_job_whose_worker_died(conn, clock, job):
    claim(conn, "a", clock)
    jobs.request_cancel(conn, job, clock)
    clock.now += LEASE + 1
    assert claim(conn, "b", clock) is None
    assert jobs.get(conn, job).state == "cancelled"


def test_cancel_after_the_end_changes_nothing(conn, clock, job):
    claim(conn, "a", clock)
    jobs.finish(conn, job, "a", {}, clock)
    before = jobs.get(conn, job)
    assert jobs.request_cancel(conn, job, clock) == before


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_resume(conn, clock, job, end):
    claim(conn, "a", clock)
    with pytest.raises(UserError, match="running"):
        jobs.resume(conn, job)
    if end == "failed":
        jobs.fail(conn, job, "a", {"what": "x", "why": "", "todo": ""}, clock)
        assert jobs.get(conn, job).error["what"] == "x"
    else:
        jobs.request_cancel(conn, job, clock)
        jobs.cancelled(conn, job, "a", clock)
    again = jobs.resume(conn, job)
    assert (again.state, again.cancel, again.attempts, again.error) == ("queued", False, 0, None)
    assert (again.finished, again.started) == (None, None)
    clock.now += 50
    assert claim(conn, "b", clock).started == 1050.0


def test_lists(conn, clock, job):
    second = jobs.add(conn, "short", "export", {})
    claim(conn, "a", clock)
    assert [j.id for j in jobs.list_jobs(conn)] == [second, job]
    assert [j.id for j in jobs.list_jobs(conn, limit=1)] == [second]
    assert [j.id for j in jobs.list_jobs(conn, states=["running", "failed"])] == [job]
    assert jobs.list_jobs(conn, run_id=5) == []
    with pytest.raises(UserError, match="no job 99"):
        jobs.get(conn, 99)


def test_old_short_jobs_are_pruned(conn, clock, job):
    short = [jobs.add(conn, "short", "export", {}) for _ in range(3)]
    for owner in ("a", "b"):
        jobs.finish(conn, claim(conn, owner, clock, "short").id, owner, {"file": owner}, clock)
        clock.now += 100
    jobs.finish(conn, claim(conn, "a", clock).id, "a", {}, clock)
    clock.now += 100
    pruned = jobs.prune(conn, 250.0, clock)
    assert [(p.id, p.result) for p in pruned] == [(short[0], {"file": "a"})]
    assert {j.id for j in jobs.list_jobs(conn)} == {job, *short[1:]}


def test_a_lease_from_before_the_clock_was_set_back_is_no_lease(conn, clock, job):
    """Its end lies a day ahead, where nobody will ever renew it."""
    assert claim(conn, "dead", clock).id == job
    clock.now -= 24 * 3600
    assert claim(conn, "next", clock).id == job


def test_a_clock_that_is_corrected_by_seconds_takes_no_living_workers_job(conn, clock, job):
    assert claim(conn, "alive", clock).id == job
    clock.now -= 20
    assert claim(conn, "next", clock) is None


def test_the_job_of_a_dead_worker_is_free_at_once_and_no_other_one_is(conn, clock, job):
    other = jobs.add(conn, "long", "diagnose", {}, clock=clock)
    for owner in ("long-7-ab", "long-71-cd"):
        claim(conn, owner, clock)
    assert jobs.abandon(conn, "long-7-") == 1
    assert claim(conn, "next", clock).id == job
    assert jobs.get(conn, other).owner == "long-71-cd"
