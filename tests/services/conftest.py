"""A small dataset diagnosed with a tiny real checkpoint, through the services."""

import json
import shutil
from pathlib import Path

import pytest

from core.checkpoint.folders import as_checkpoint
from core.services import datasets, runs, specs
from core.settings import settings
from core.types import Run
from core.worker.here import run_here
from tests.browser import world as worlds


class Silent:
    """A job's context that reports nowhere: progress is dropped, what comes with it is stored."""

    def progress(self, stage, done=0, total=0, unit="", store=None):
        from db.session import database

        if store is not None:
            with database().writing() as conn:
                store(conn)


@pytest.fixture
def stored(tiny_project):
    """The project's dataset, imported."""
    return datasets.import_files([tiny_project.dataset], [tiny_project.dataset.name], "tiny", None, Silent())


@pytest.fixture(scope="session")
def diagnosed_along(tmp_path_factory, tiny_project):
    return worlds.along(tiny_project, tmp_path_factory.getbasetemp() / "along")


@pytest.fixture
def along_run(diagnosed_along, tmp_path, monkeypatch):
    """A finished run with a base and three earlier checkpoints, in a data folder of the test's own."""
    shutil.copytree(diagnosed_along, tmp_path / "along")
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "along"))
    settings.cache_clear()
    return runs.get_run(1)


@pytest.fixture
def import_rows(tmp_path):
    """Imports rows (dicts) as a messages dataset."""

    def do(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
        return datasets.import_files([path], [name], name, None, Silent())

    return do


@pytest.fixture
def diagnose():
    """Runs a diagnosis to its end in this process."""

    def do(dataset, final: Path, base: Path | None = None, trajectory=(), **options) -> Run:
        spec = specs.make_spec(
            dataset.id,
            as_checkpoint(final, None, final.name),
            None if base is None else as_checkpoint(base, None, "base"),
            [as_checkpoint(p, None, p.name) for p in trajectory],
            **({"max_new_tokens": 48} | options),
        )
        run_id, job = runs.start(runs.store_run("", spec))
        run_here(job)
        return runs.get_run(run_id)

    return do
