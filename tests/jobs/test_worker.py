"""Worker processes that are killed or stopped in the middle of a run, and what the next one makes of it."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import update

from core import worker
from core.checkpoints import as_checkpoint
from core.services import datasets, direct, exports, jobs, runs
from core.settings import settings
from db import jobs as table
from db.models import jobs as job_rows
from db.session import database

ROOT = Path(__file__).parents[2]

# A worker whose chunks are ten rows. It writes down every row it measures and signals itself on the way.
WORKER = """
import json, os, signal, sys
import core.signals.likelihood as likelihood
from core import worker

log, number, at = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
likelihood.chunked = lambda samples, *rest: (list(samples[i : i + 10]) for i in range(0, len(samples), 10))
chunk, seen = likelihood.Likelihood._chunk, [0]
def measured(self, measure, samples, *rest):
    seen[0] += 1
    found = chunk(self, measure, samples, *rest)
    with open(log, "a") as file:
        file.write(json.dumps([s.content_hash for s in samples]) + chr(10))
    if seen[0] == at:
        os.kill(os.getpid(), number)
    return found
likelihood.Likelihood._chunk = measured
if number == signal.SIGTERM:
    sys.exit(worker.main("long"))
worker.work("long", once=True)
"""


@pytest.fixture
def run(tiny_project):
    """A run whose diagnosis waits in the long lane."""
    here = direct._Here(lambda *_: None)
    dataset = datasets.import_files([tiny_project.dataset], ["tiny.jsonl"], "tiny", None, here)
    spec = runs.make_spec(dataset.id, as_checkpoint(tiny_project.final, None, "final"), max_new_tokens=32)
    run_id, _ = runs.start(runs.store_run("", spec))
    return run_id


def work(log, number=0, at=-1):
    command = [sys.executable, "-c", WORKER, str(log), str(int(number)), str(at)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


def measured(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def expire_lease():
    """As if the lease's time had passed."""
    with database().writing() as conn:
        conn.execute(update(job_rows).values(lease_until=0.0))


def uninterrupted(run_id, tmp_path, monkeypatch):
    """The verdicts of the same run in a fresh data folder, measured in one go."""
    run = runs.get_run(run_id)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "fresh"))
    settings.cache_clear()
    here = direct._Here(lambda *_: None)
    dataset = datasets.import_files([Path(run.spec.final.path).parent / "dataset.jsonl"], ["d"], "d", None, here)
    other, _ = runs.start(runs.store_run("", runs.make_spec(dataset.id, run.spec.final, max_new_tokens=32)))
    assert work(tmp_path / "in one go").returncode == 0
    return list(exports.verdict_lines(other))


def test_kill_9_costs_one_chunk_and_nothing_else(run, tmp_path, monkeypatch):
    log = tmp_path / "measured"
    killed = work(log, signal.SIGKILL, at=4)
    assert killed.returncode == -signal.SIGKILL
    job = jobs.active_for_run(run)
    assert (job.state, job.done) == ("running", 30)  # the fourth chunk was measured and not stored
    with database().writing() as conn:
        assert table.claim(conn, "long", "another", 60.0) is None  # its lease still runs
    expire_lease()
    assert work(log).returncode == 0
    assert jobs.list_jobs()[0].state == "done"
    seen = Counter(key for chunk in measured(log) for key in chunk)
    assert [n for n in seen.values() if n > 1] == [2] * 10
    assert {key for key, n in seen.items() if n > 1} == set(measured(log)[3])
    found = list(exports.verdict_lines(run))
    assert found == uninterrupted(run, tmp_path, monkeypatch)


def test_sigterm_finishes_the_chunk_and_gives_the_job_back(run, tmp_path):
    log = tmp_path / "measured"
    stopped = work(log, signal.SIGTERM, at=2)
    assert stopped.returncode == 0, stopped.stderr
    job = jobs.active_for_run(run)
    assert (job.state, job.done, job.attempts, job.owner) == ("queued", 20, 0, None)
    assert jobs.workers() == []
    assert work(log).returncode == 0
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
