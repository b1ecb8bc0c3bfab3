"""How far a job is, how long it takes, and in which order jobs are taken."""

import dataclasses

import pytest

from core.services import jobs, memory, queue
from core.settings import settings
from core.worker import handlers, loop
from db import jobs as table
from db.session import database

NOW = 10_000.0


@pytest.fixture
def job():
    """Runs since 100 s: a first stage took 40 s, the second has done 50 of 200 in 60 s, of which 20 were there."""
    found = jobs.get_job(jobs.enqueue("trial", {}))
    stages = [["loss: final", NOW - 100, 0, "loss"], ["draws: final", NOW - 60, 20, "draws"]]
    return dataclasses.replace(
        found,
        state="running",
        started=NOW - 5000,
        stage="draws: final",
        done=50,
        total=200,
        unit="samples",
        stages=stages,
    )


def later(job, *stages):
    return dataclasses.replace(job, stages=[*job.stages, *([name, None, 0, kind] for name, kind in stages)])


def test_the_rate_is_that_of_the_stage_and_not_of_the_job(job):
    """30 samples in 60 s: 150 more take 300 s. The job began long before, and 20 samples were measured earlier."""
    assert queue.rate(job, NOW) == pytest.approx(0.5)
    assert queue.remaining(job, NOW) == queue.Remaining(300.0, "measured")
    assert queue.rate_text(job, NOW) == "0.5 samples/s, about 5 min left"
    assert queue.share(job, NOW) == pytest.approx(100 / 400)


def test_stages_to_come_take_as_long_as_those_alike(job):
    known = later(job, ("loss: base", "loss"), ("judging", ""))
    assert queue.remaining(known, NOW) == queue.Remaining(340.0, "measured")
    assert [s.state for s in queue.steps(known, NOW)] == ["done", "now", "to come", "to come"]
    assert [s.seconds for s in queue.steps(known, NOW)] == [40.0, 60.0, None, None]


def test_what_was_never_measured_is_estimated_or_left_open(job):
    unknown = later(job, ("neighbours", "neighbours"))
    assert queue.remaining(unknown, NOW) is None
    assert queue.rate_text(unknown, NOW) == "0.5 samples/s, about 5 min left in this stage, 1 to come"
    checked = dataclasses.replace(unknown, payload={"estimate": 1000.0})
    assert queue.remaining(checked, NOW) == queue.Remaining(900.0, "estimate")
    assert "estimate of the check" in queue.rate_text(checked, NOW)
    overdue = dataclasses.replace(unknown, payload={"estimate": 10.0})
    assert queue.remaining(overdue, NOW).seconds == pytest.approx(300.0)  # never less than the stage at hand


def test_between_claim_and_first_stage_the_estimate_holds(job):
    planned = dataclasses.replace(job, stages=[["loss: final", None, 0, "loss"]], payload={"estimate": 90.0}, done=0)
    assert queue.remaining(planned, NOW) == queue.Remaining(90.0, "estimate")
    assert queue.share(planned, NOW) == 0.0


def test_a_worker_writes_the_stages(monkeypatch):
    seen = []

    def handle(work, payload):
        work.plan({"one": "a", "two": "a", "end": ""})
        for stage in ("one", "between", "two"):
            work.progress(stage, 0, 1, "things")
            seen.append([(s.name, s.state) for s in queue.steps(jobs.get_job(work.job_id))])

    monkeypatch.setitem(handlers.HANDLERS, "trial", handle)
    job_id = jobs.enqueue("trial", {})
    loop.work("short", once=True)
    assert seen[1] == [("one", "done"), ("between", "now"), ("two", "to come"), ("end", "to come")]
    assert seen[2] == [("one", "done"), ("between", "done"), ("two", "now"), ("end", "to come")]
    assert jobs.get_job(job_id).state == "done"


def claim(lane="short"):
    with database().writing() as conn:
        return table.claim(conn, lane, f"{lane}-1-x", 60.0)


def test_moving_up_changes_the_order_in_which_jobs_are_taken():
    first, second, third = (jobs.enqueue("trial", {}, title=name) for name in ("first", "second", "third"))
    queue.move_up(third)
    assert [j.id for j in queue.active()] == [first, third, second]
    queue.move_up(first)  # nothing is before it
    assert "number 3 in the queue, behind “first” and 1 more" in queue.waiting_text(jobs.get_job(second))
    assert claim().id == first
    queue.move_up(third)
    assert [j.id for j in queue.active()] == [first, third, second]
    assert queue.waiting_text(jobs.get_job(third)) == "number 1 in the queue, behind “first”"
    assert [claim().id, claim().id] == [third, second]


@pytest.fixture
def waiting(monkeypatch):
    """A long run at work and a scorer's training behind it."""
    monkeypatch.setitem(handlers.HANDLERS, "scorer", lambda work, payload: {})
    monkeypatch.setenv("LACUNA_DEVICE", "cpu")
    settings.cache_clear()
    jobs.enqueue("diagnose", {"run": 1}, lane="long")
    assert claim("long").kind == "diagnose"
    return jobs.enqueue("scorer", {}, lane="long")


def test_a_short_training_need_not_wait_behind_a_long_run(waiting, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: memory.SPARE)
    loop.work("aside", once=True)
    assert jobs.get_job(waiting).state == "done"


def test_it_waits_where_memory_does_not_allow_both(waiting, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: memory.SPARE - 1)
    loop.work("aside", once=True)
    assert jobs.get_job(waiting).state == "queued"


def test_a_diagnosis_is_never_taken_aside(waiting):
    jobs.cancel_job(waiting)
    behind = jobs.enqueue("diagnose", {"run": 2}, lane="long")
    loop.work("aside", once=True)
    assert jobs.get_job(behind).state == "queued"


def test_a_proof_needs_several_times_its_checkpoint(final_run):
    from pathlib import Path

    from core.services.storage import size
    from db import proofs

    with database().writing() as conn:
        proof = proofs.add(conn, final_run.id, "missing_knowledge", None, {})
    job = jobs.get_job(jobs.enqueue("prove", {"proof": proof}, lane="long"))
    assert memory.needed(job) == memory.SPARE + 8 * size(Path(final_run.spec.final.path))
    assert memory.available() > 0
