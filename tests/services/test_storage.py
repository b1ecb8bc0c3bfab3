"""What takes how much, what rests on it, and what deleting it takes along."""

from pathlib import Path

import pytest
from sqlalchemy import update

from core.errors import UserError
from core.filters import from_query
from core.services import checkpoints, datasets, jobs, mitigation, runs, storage, uploads
from core.settings import settings
from core.worker import loop as worker
from db.models import uploads as upload_rows
from db.session import database
from tests.services.test_atomic import archive as archive
from tests.services.test_atomic import upload


def stored(kind):
    return [thing for thing in storage.overview().stored if thing.kind == kind]


def test_a_dataset_names_its_runs_and_takes_them_along(final_run):
    (dataset,), (run,) = stored("dataset"), stored("run")
    assert dataset.needed_by == (f"run 1 {final_run.name!r}",) and dataset.runs == (1,)
    raw = sum(
        len(line) for line in (Path(final_run.spec.final.path).parent / "dataset.jsonl").read_bytes().splitlines()
    )
    assert raw < dataset.size < 5 * raw
    files = [p for p in settings().artefacts.rglob("*") if p.is_file()]
    assert run.size > sum(p.stat().st_size for p in files) > 0
    with pytest.raises(UserError, match="run 1"):
        storage.delete("dataset", dataset.id)
    storage.delete("dataset", dataset.id, dataset.runs)
    assert not stored("dataset") and not stored("run") and not runs.list_runs()
    assert not [p for p in settings().artefacts.rglob("*") if p.is_file()]


def test_a_checkpoint_frees_what_was_unpacked(archive):
    checkpoints.start_register_archive(upload(archive))
    worker.work("short", once=True)
    both = stored("checkpoint")
    before = storage.overview().totals["checkpoints"]
    assert len(both) == 2 and sum(c.size for c in both) <= before
    for checkpoint in both:
        storage.delete("checkpoint", checkpoint.id)
    assert storage.overview().totals["checkpoints"] == 0
    assert not list(settings().checkpoints.iterdir())


def test_an_upload_that_a_job_reads_stays(tiny_project):
    upload_id = upload(tiny_project.dataset)
    job = datasets.start_import([upload_id], "", None)
    assert stored("upload")[0].needed_by == (f"job {job} 'Import {tiny_project.dataset.name}'",)
    with pytest.raises(UserError, match="job"):
        storage.delete("upload", upload_id)
    jobs.cancel_job(job)
    storage.delete("upload", upload_id)
    assert not stored("upload") and not list(settings().uploads.iterdir())


def test_an_unused_upload_expires_and_a_needed_one_does_not(tiny_project):
    forgotten, needed, fresh = (upload(tiny_project.dataset) for _ in range(3))
    datasets.start_import([needed], "", None)
    with database().writing() as conn:
        old = upload_rows.c.created - uploads.UNUSED - 1
        conn.execute(update(upload_rows).where(upload_rows.c.id != fresh).values(created=old))
    assert "1 uploaded file" in " ".join(storage.sweep())
    assert {u.id for u in stored("upload")} == {needed, fresh}
    with pytest.raises(UserError, match="not known"):
        uploads.get(forgotten)


def test_an_export_replaces_what_a_killed_one_left(final_run):
    chosen = from_query("status=unlearned,partly,unknown", final_run.columns)
    job = mitigation.start_export(mitigation.request(1, chosen, "left_side_forgetting", {}, {}))
    left = settings().data_dir / "mitigations" / str(job) / ".part-left"
    left.mkdir(parents=True)
    worker.work("short", once=True)
    ended = jobs.get_job(job)
    assert ended.state == "done", ended.error
    assert {path.name for path in left.parent.iterdir()} == set(ended.result["files"])
