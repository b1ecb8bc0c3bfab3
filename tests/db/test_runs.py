"""Runs are kept whole and go without a trace."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import inspect, select

from core.errors import UserError
from core.types import Chunk, Column, Thresholds
from db import jobs, runs, signals
from db.models import measured, measures, run_measures


@pytest.fixture
def dataset(make_dataset, make_sample):
    return make_dataset([make_sample(0)])


def measure(conn, run, key, artefact=None):
    found = signals.measure_id(conn, key, "likelihood", "abc", {})
    signals.link_run(conn, run.id, [found])
    chunk = Chunk(key, ("h1", "h2"), {"nll": np.array([1.0, 2.0])}, ({"a": 1}, None))
    signals.store_chunk(conn, found, chunk, artefact)
    return found


def test_a_run_comes_back_whole(db, dataset, make_run):
    columns = (Column("nll", "number", "NLL", "help", "nats", "low", True, True), Column("note", "text", "Note"))
    run = make_run(dataset.id, columns)
    with db.reading() as conn:
        assert runs.get_run(conn, run.id) == run
    assert (run.columns, run.state, run.spec.dataset_id) == (columns, "new", dataset.id)


def test_changes(db, dataset, make_run):
    run = make_run(dataset.id)
    spec = replace(run.spec, seed=5)
    changes = {
        "spec": spec,
        "thresholds": Thresholds(0.5),
        "state": "judged",
        "summary": {"learned": 3},
        "n_samples": 9,
    }
    with db.writing() as conn:
        assert runs.set_run(conn, run.id, **changes) == replace(run, **changes)
        assert runs.list_runs(conn, spec_hash=spec.hash) == [runs.get_run(conn, run.id)]
        assert runs.list_runs(conn, spec_hash=run.spec.hash) == []
        runs.rename_run(conn, run.id, "better")
        assert runs.get_run(conn, run.id).name == "better"
        for act in (runs.get_run, runs.delete_run, lambda c, i: runs.rename_run(c, i, "x"), runs.set_run):
            with pytest.raises(UserError, match="no run 99"):
                act(conn, 99)


def test_lists(db, dataset, make_dataset, make_sample, make_run):
    other = make_dataset([make_sample(0)], name="other")
    first, second, third = make_run(dataset.id), make_run(other.id), make_run(dataset.id, name="again")
    with db.reading() as conn:
        assert runs.list_runs(conn) == [third, second, first]
        assert runs.list_runs(conn, dataset_id=dataset.id) == [third, first]
        assert runs.list_runs(conn, spec_hash=second.spec.hash) == [second]
        assert list(runs.names(conn).items()) == [(r.id, r.name) for r in (third, second, first)]


def test_deleting_takes_what_nobody_else_needs(db, dataset, make_run):
    run, other = make_run(dataset.id), make_run(dataset.id, name="other")
    with db.writing() as conn:
        measure(conn, run, "mine", "only-mine.json.gz")
        measure(conn, run, "also mine", "same-content.json.gz")
        kept = [measure(conn, run, "both", "both.json.gz"), measure(conn, other, "other", "same-content.json.gz")]
        signals.link_run(conn, other.id, kept)
        unlinked = signals.measure_id(conn, "being set up", "likelihood", "abc", {})
    with db.writing() as conn:
        assert runs.delete_run(conn, run.id) == ["only-mine.json.gz"]
    with db.reading() as conn:
        assert set(conn.execute(select(measures.c.id)).scalars()) == {*kept, unlinked}
        assert set(conn.execute(select(measured.c.measure_id)).scalars()) == set(kept)
        assert set(conn.execute(select(run_measures.c.run_id)).scalars()) == {other.id}
        tables = inspect(conn).get_table_names()
        assert f"verdicts_{run.id}" not in tables and f"verdicts_{other.id}" in tables
        assert runs.list_runs(conn) == [other]
    with db.writing() as conn:
        assert runs.delete_run(conn, other.id) == ["both.json.gz", "same-content.json.gz"]
        assert conn.execute(select(measured)).all() == []


def test_an_id_is_never_given_twice(db, dataset, make_run):
    run = make_run(dataset.id)
    with db.writing() as conn:
        runs.delete_run(conn, run.id)
    assert make_run(dataset.id).id > run.id


def test_a_run_at_work_is_not_deleted(db, dataset, make_run):
    run = make_run(dataset.id)
    with db.writing() as conn:
        job = jobs.add(conn, "long", "diagnose", {}, run_id=run.id)
        with pytest.raises(UserError, match="Cancel the job"):
            runs.delete_run(conn, run.id)
        jobs.request_cancel(conn, job)
        runs.delete_run(conn, run.id)
        assert jobs.get(conn, job).run_id is None
