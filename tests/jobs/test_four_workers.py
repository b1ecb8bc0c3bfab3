"""Four worker processes on one database: each job is done exactly once, and none is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.services import datasets, jobs, uploads

ROOT = Path(__file__).parents[2]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
# Waits until all have started, so that they meet; ends when the lane is empty and says what it has done.
WORKER = """
import sys
from core.worker import loop
ended, run = [], loop.run_job
def noted(job, *rest):
    run(job, *rest)
    ended.append(job.id)
loop.run_job = noted
print("ready", flush=True)
sys.stdin.read(1)
loop.work("short", once=True)
print(*ended)
"""


def upload(name, rows):
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    upload_id = uploads.begin(name, len(data))
    with uploads.open_writer(upload_id) as writer:
        writer.write(data)
    return upload_id


@pytest.mark.slow
def test_a_dozen_jobs_are_done_once_each():
    def rows(job):
        turns = [[f"What is {i} of {job}?", f"It is {i * job}."] for i in range(job + 1)]
        return [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in turns]

    wanted = {}
    for job in range(12):
        wanted[datasets.start_import([upload(f"{job}.jsonl", rows(job))], f"set {job}", None)] = job + 1
    workers = [subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, **PIPES) for _ in range(4)]
    assert [worker.stdout.readline() for worker in workers] == [b"ready\n"] * 4
    for worker in workers:
        worker.stdin.write(b"g")
        worker.stdin.flush()
    printed = [[int(word) for word in worker.communicate()[0].split()] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert sorted(job for mine in printed for job in mine) == sorted(wanted)
    assert sum(map(bool, printed)) > 1, "one worker did everything"
    ended = [jobs.get_job(job) for job in wanted]
    assert {(job.state, job.attempts) for job in ended} == {("done", 0)}
    made = {job.id: datasets.get_dataset(job.result["dataset_id"]) for job in ended}
    assert {job: dataset.n_samples for job, dataset in made.items()} == wanted
    assert len(datasets.list_datasets()) == 12
