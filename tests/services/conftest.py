"""A small dataset diagnosed with a tiny real checkpoint, through the services."""

import json
import os
import shutil
from pathlib import Path

import pytest

from core.checkpoint.folders import as_checkpoint
from core.services import datasets, runs, specs
from core.settings import settings
from core.types import Run
from core.worker.here import run_here
from db.session import _opened, database
from tests import postgresql
from tests import world as worlds


class Silent:
    """A job's context that reports nowhere: progress is dropped, what comes with it is stored."""

    def progress(self, stage, done=0, total=0, unit="", store=None):
        if store is not None:
            with database().writing() as conn:
                store(conn)


def import_files(paths, name):
    return datasets.import_files(paths, [p.name for p in paths], name, None, Silent())


def run_diagnosis(dataset, final: Path, base: Path | None = None, trajectory=(), **options) -> Run:
    """A diagnosis to its end in this process."""
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


@pytest.fixture
def stored(tiny_project):
    """The project's dataset, imported."""
    return import_files([tiny_project.dataset], "tiny")


@pytest.fixture
def own_copy(tmp_path, monkeypatch):
    """Copies a data folder for the test alone; returns its run 1."""

    def copy(data):
        shutil.copytree(data, tmp_path / "copied")
        monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "copied"))
        settings.cache_clear()
        if url := os.environ.get("LACUNA_DATABASE_URL"):
            postgresql.copy(tmp_path / "copied" / "lacuna.db", url)
        return runs.get_run(1)

    return copy


@pytest.fixture
def along_run(diagnosed_along, own_copy):
    """A finished run with a base and three earlier checkpoints."""
    return own_copy(diagnosed_along)


@pytest.fixture(scope="session")
def diagnosed_final(keep, tiny_project):
    """A data folder with run 1: the project's dataset and its final checkpoint, nothing else; to be copied."""

    def make(data):
        with worlds.at_data(data, tiny_project.folder):
            dataset = import_files([tiny_project.dataset], "tiny")
            run_diagnosis(dataset, tiny_project.final)

    return keep("final", make, (*worlds.SOURCES, "tests/services/conftest.py"), tiny_project.folder)


@pytest.fixture
def final_run(diagnosed_final, own_copy):
    """A finished run of the final checkpoint alone."""
    return own_copy(diagnosed_final)


@pytest.fixture
def stored_final(final_run):
    """The dataset of ``final_run``: what is diagnosed of it again was measured before."""
    return datasets.get_dataset(final_run.spec.dataset_id)


@pytest.fixture
def import_rows(tmp_path):
    """Imports rows (dicts) as a messages dataset."""

    def do(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
        return import_files([path], name)

    return do


@pytest.fixture
def diagnose():
    return run_diagnosis


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Goes to an empty store of another machine: no run, and no checkpoint at any path."""

    made: dict[str, str] = {}

    def go(name="elsewhere"):
        database().close()
        monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / name))
        if os.environ.get("LACUNA_DATABASE_URL"):
            monkeypatch.setenv("LACUNA_DATABASE_URL", made.get(name) or made.setdefault(name, postgresql.fresh()))
        settings.cache_clear()

    yield go
    if made:
        for url in made.values():
            _opened(url).close()
        _opened.cache_clear()
        for url in made.values():
            postgresql.drop(url)
