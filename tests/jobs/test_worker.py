"""Worker processes that are killed or stopped in the middle of a run, and what the next one makes of it."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import update

from core.checkpoint.folders import as_checkpoint
from core.services import datasets, exports, jobs, runs, specs
from core.settings import settings
from core.signals import likelihood
from core.worker import loop as worker
from db import jobs as table
from db.models import jobs as job_rows
from db.session import database
from tests.jobs import ten_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tiny_project):
    """A run whose diagnosis waits in the long lane."""
    here = jobs.Terminal(lambda *_: None)
    dataset = datasets.import_files([tiny_project.dataset], ["tiny.jsonl"], "tiny", None, here)
    spec = specs.make_spec(dataset.id, as_checkpoint(tiny_project.final, None, "final"), max_new_tokens=32)
    run_id, _ = runs.start(runs.store_run("", spec))
    return run_id


def killed(log, number, at):
    """A worker process that gets the signal ``number`` at its chunk ``at``, once it has ended."""
    command = [sys.executable, "-m", "tests.jobs.ten_rows", str(log), str(int(number)), str(at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def work(monkeypatch):
    """A worker in this process, with the same chunks, until its lane is empty."""

    def do(log):
        with monkeypatch.context() as patch:
            patch.setattr(likelihood, "chunked", ten_rows.tens)
            patch.setattr(likelihood.Likelihood, "_chunk", ten_rows.noted(log))
            worker.work("long", once=True)

    return do


def measured(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def expire_lease():
    """As if the lease's time had passed."""
    with database().writing() as conn:
        conn.execute(update(job_rows).values(lease_until=0.0))


def uninterrupted(run_id, tmp_path, monkeypatch, work):
    """The verdicts of the same run in a fresh data folder, measured in one go."""
    run = runs.get_run(run_id)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "fresh"))
    settings.cache_clear()
    here = jobs.Terminal(lambda *_: None)
    dataset = datasets.import_files([Path(run.spec.final.path).parent / "dataset.jsonl"], ["d"], "d", None, here)
    other, _ = runs.start(runs.store_run("", specs.make_spec(dataset.id, run.spec.final, max_new_tokens=32)))
    work(tmp_path / "in one go")
    return list(exports.verdict_lines(other))


@pytest.mark.slow
def test_kill_9_costs_one_chunk_and_nothing_else(run, tmp_path, monkeypatch, work):
    log = tmp_path / "measured"
    assert killed(log, signal.SIGKILL, at=4).returncode == -signal.SIGKILL
    job = jobs.active_for_run(run)
    assert (job.state, job.done) == ("running", 30)  # the fourth chunk was measured and not stored
    with database().writing() as conn:
        assert table.claim(conn, "long", "another", 60.0) is None  # its lease still runs
    expire_lease()
    work(log)
    assert jobs.list_jobs()[0].state == "done"
    seen = Counter(key for chunk in measured(log) for key in chunk)
    assert [n for n in seen.values() if n > 1] == [2] * 10
    assert {key for key, n in seen.items() if n > 1} == set(measured(log)[3])
    found = list(exports.verdict_lines(run))
    assert found == uninterrupted(run, tmp_path, monkeypatch, work)


@pytest.mark.slow
def test_sigterm_finishes_the_chunk_and_gives_the_job_back(run, tmp_path, work):
    log = tmp_path / "measured"
    stopped = killed(log, signal.SIGTERM, at=2)
    assert stopped.returncode == 0, stopped.stderr
    job = jobs.active_for_run(run)
    assert (job.state, job.done, job.attempts, job.owner) == ("queued", 20, 0, None)
    assert jobs.workers() == []
    work(log)
    seen = Counter(key for chunk in measured(log) for key in chunk)
    assert set(seen.values()) == {1}
    assert runs.get_run(run).state == "judged"


def test_a_job_that_fails_leaves_the_worker_to_the_next_one(run):
    broken = jobs.enqueue("diagnose", {"run": 999}, lane="long", title="no such run")
    unknown = jobs.enqueue("dance", {}, lane="long")
    worker.work("long", once=True)
    assert jobs.get_job(broken).state == jobs.get_job(unknown).state == "failed"
    assert "999" in jobs.get_job(broken).error["what"]
    assert "dance" in jobs.get_job(unknown).error["what"]
    assert runs.get_run(run).state == "judged"
