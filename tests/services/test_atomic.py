"""Rows and files appear together and go together, at whatever moment a job is cancelled or its worker killed."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from core.checkpoint import folders as science
from core.services import checkpoints, datasets, jobs, storage, uploads
from core.settings import settings
from core.worker import loop as worker
from db.models import jobs as job_rows
from db.session import database

ROOT = Path(__file__).parents[2]


def upload(path):
    data = path.read_bytes()
    upload_id = uploads.begin(path.name, len(data))
    with uploads.open_writer(upload_id) as writer:
        writer.write(data)
    return upload_id


@pytest.fixture
def archive(tiny_project, tmp_path):
    """A zip with two checkpoints."""
    for step in (1, 2):
        shutil.copytree(tiny_project.final, tmp_path / "two" / f"checkpoint-{step}")
    return Path(shutil.make_archive(str(tmp_path / "two"), "zip", tmp_path / "two"))


def killed(lane, module, name, call=1):
    """A worker of the lane that is killed at this call; its job is free for the next one at once."""
    command = [sys.executable, "-m", "tests.jobs.dies", lane, module, name, str(call)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    with database().writing() as conn:
        conn.execute(update(job_rows).values(lease_until=0.0))


def end(lane="short"):
    """The newest job after a worker of the lane had its turn."""
    worker.work(lane, once=True)
    return jobs.list_jobs(limit=1)[0]


def whole():
    """Every registered checkpoint has its folder, and every folder a registered checkpoint; how many there are."""
    stored = checkpoints.list_checkpoints()
    assert all((Path(c.checkpoint.path) / "config.json").is_file() for c in stored)
    root = settings().checkpoints
    tops = {root / Path(c.checkpoint.path).relative_to(root).parts[0] for c in stored if c.owned}
    assert set(root.iterdir() if root.is_dir() else ()) == tops
    return len(stored)


def test_cancel_while_weights_are_hashed_leaves_nothing_behind(archive, monkeypatch):
    job = checkpoints.start_register_archive(upload(archive))
    real, seen = science.as_checkpoint, []

    def hashed(*arguments):
        seen.append(arguments)
        if len(seen) == 1:
            jobs.cancel_job(job)
        return real(*arguments)

    monkeypatch.setattr(science, "as_checkpoint", hashed)
    monkeypatch.setattr(jobs.JobContext, "EVERY", 0.0)
    assert end().state == "cancelled"
    assert whole() == 0
    jobs.resume_job(job)
    assert end().state == "done"
    assert whole() == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("core.checkpoint.folders", "as_checkpoint", 2),
        ("db.checkpoints", "add", 2),
        ("core.services.uploads", "remove_files", 1),
    ],
)
def test_kill_9_while_registering_is_made_good_by_the_next_worker(archive, module, name, call):
    upload_id = upload(archive)
    checkpoints.start_register_archive(upload_id)
    killed("short", module, name, call)
    job = end()
    assert (job.state, len(job.result["checkpoint_ids"])) == ("done", 2), job.error
    storage.sweep()
    assert whole() == 2
    assert not list(settings().uploads.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("db.samples", "add_problems", 1),
        ("db.samples", "finish_dataset", 1),
        ("core.services.uploads", "remove_files", 1),
    ],
)
def test_kill_9_while_importing_gives_one_dataset(tiny_project, module, name, call):
    datasets.start_import([upload(tiny_project.dataset)], "mine", None)
    killed("short", module, name, call)
    job = end()
    assert job.state == "done", job.error
    (dataset,) = datasets.list_datasets()
    assert job.result["dataset_id"] == dataset.id and dataset.n_samples == job.result["n_samples"] > 0
    storage.sweep()
    with database().reading() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM datasets").scalar_one() == 1
    assert not list(settings().uploads.iterdir())


def test_the_folder_of_a_registered_checkpoint_is_never_removed(archive):
    """A second job over an upload whose checkpoints are registered gives those, and takes nothing away."""
    upload_id = upload(archive)
    payload = {"upload": upload_id, "name": "two.zip", "base": None}
    jobs.enqueue("register", payload)
    assert end().state == "done"
    jobs.enqueue("register", payload)
    assert end().state == "done"  # what lies there is what it would have made
    assert whole() == 2


def test_what_a_killed_process_left_is_swept_and_named(archive):
    checkpoints.start_register_archive(upload(archive))
    assert end().state == "done"
    waiting = upload(archive)
    left = [settings().checkpoints / "gone", settings().checkpoints / ".gone.unpacking"]
    for folder in left:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"0" * 1000)
    stray = settings().uploads / "nobodys.zip"
    stray.write_bytes(b"0" * 10)
    swept = storage.sweep()
    assert not any(path.exists() for path in (*left, stray))
    assert whole() == 2
    assert uploads.finish(waiting).path.is_file()
    text = " ".join(swept)
    assert "2 unpacked folders" in text and "2.0 kB" in text and "1 uploaded file" in text
    assert storage.sweep() == []


def test_a_folder_that_a_job_still_needs_is_not_swept(archive):
    upload_id = upload(archive)
    checkpoints.start_register_archive(upload_id)
    folder = settings().checkpoints / upload_id
    folder.mkdir(parents=True)
    assert storage.sweep() == []
    assert folder.is_dir()
