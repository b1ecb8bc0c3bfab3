"""What was measured once is not measured again, and what is taken over equals what is measured afresh."""

from dataclasses import replace

import numpy as np
import pytest

from core.checkpoint.folders import as_checkpoint
from core.services import artefacts, datasets, measurements, reuse, runs, specs, storage
from core.services.jobs import Terminal
from core.services.planning import plan_of
from core.settings import settings
from core.signals._plan import plan
from core.worker.here import run_here
from db import samples as sample_table
from db import signals as signal_table
from db.session import database
from tests import world as worlds
from tests.services.conftest import import_files, run_diagnosis

OPTIONS = {"max_new_tokens": 24, "max_draws": 4}


def rows_of(run, kinds=None):
    """Column to values, in the order of rows; of some signals or of all."""
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        measures = [m for m in plan(run.spec) if kinds is None or m.signal in kinds]
        return measurements.signals_of(conn, run, hashes, measures)


def stored_rows(run, signal):
    """Content hash to what is stored of it, artefacts read."""
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        out = {}
        for measure in (m for m in plan(run.spec) if m.signal == signal):
            measure_id = signal_table.find_measures(conn, [measure.key])[measure.key]
            for key, (name, slot) in signal_table.detail_refs(conn, measure_id, hashes).items():
                out[measure.role, key] = artefacts.read(name, slot)
        return out


class Scored:
    """Counts the rows that a signal measures."""

    def __init__(self, monkeypatch, name):
        from core.plugins import kind

        self.rows = 0
        signal = type(kind("signals", name))
        original = signal.measure

        def measure(this, measure, samples, *rest):
            self.rows += len(samples)
            return original(this, measure, samples, *rest)

        monkeypatch.setattr(signal, "measure", measure)


def same(left, right):
    assert left.columns.keys() == right.columns.keys()
    for name, values in left.columns.items():
        others = right.columns[name]
        # Rows that an earlier run chose for the second reading stay beside those that are chosen now.
        values = np.where(np.isnan(others), np.nan, values) if "prec_" in name else values
        # What else shares a batch moves a number by rounding; bfloat16 has eight bits.
        atol = 3e-2 if "prec_" in name else 1e-3
        np.testing.assert_allclose(values, others, atol=atol, equal_nan=True, err_msg=name)


@pytest.mark.slow
def test_a_grown_dataset_equals_one_measured_afresh(tiny_project, tmp_path, monkeypatch):
    lines = tiny_project.dataset.read_bytes().splitlines(keepends=True)
    first, grown = tmp_path / "first.jsonl", tmp_path / "grown.jsonl"
    first.write_bytes(b"".join(lines[:-4]))
    grown.write_bytes(b"".join(lines))
    models = {"final": tiny_project.final, "base": tiny_project.base, **OPTIONS}
    run_diagnosis(import_files([first], "first"), **models)
    dataset = import_files([grown], "grown")
    counted = {name: Scored(monkeypatch, name) for name in ("likelihood", "reproduction", "knowledge", "alternatives")}
    run = run_diagnosis(dataset, **models)
    new = len(set(lines[-4:]))
    assert counted["likelihood"].rows == 2 * new
    assert counted["reproduction"].rows <= new and counted["knowledge"].rows <= 2 * new
    assert counted["alternatives"].rows <= 2 * new
    assert run.spec.examples_rows == len(lines) - 4
    reused = rows_of(run)
    with worlds.at_data(tmp_path / "fresh", tiny_project.folder):
        again = import_files([grown], "grown")
        spec = replace(run.spec, dataset_id=again.id)
        _, job = runs.start(runs.store_run("", spec))
        run_here(job)
        fresh = rows_of(runs.list_runs()[0])
    same(reused, fresh)


def test_the_check_of_another_dataset_looks_up_what_this_checkpoint_knows(tiny_project, final_run, import_rows):
    dataset = import_rows([*tiny_project.rows[:5], tiny_project.rows[6] | {"id": "other"}, *tiny_project.rows[7:9]])
    spec = specs.make_spec(dataset.id, final_run.spec.final, max_new_tokens=48)
    known = {step.signal: step for step in plan_of(spec, Terminal(lambda *_: None)).steps}
    assert known["likelihood"].stored == known["likelihood"].samples == 8
    assert known["alternatives"].stored < 8  # the row before is another one for some


@pytest.mark.slow
def test_another_preset_with_the_same_ids_measures_nothing_again(tiny_project, final_run, monkeypatch):
    dataset = datasets.get_dataset(final_run.spec.dataset_id)
    counted = {name: Scored(monkeypatch, name) for name in ("likelihood", "reproduction", "precision")}
    settings_of = {"preset_settings": {"max_length": 512}}
    spec = specs.make_spec(dataset.id, final_run.spec.final, max_new_tokens=48, **settings_of)
    known = plan_of(spec, Terminal(lambda *_: None))
    steps = {step.signal: step for step in known.steps}
    assert steps["likelihood"].stored == steps["likelihood"].samples == dataset.n_samples - dataset.n_duplicates
    assert f"{steps['likelihood'].samples:,} of {steps['likelihood'].samples:,} are known" in known.known
    other = run_diagnosis(dataset, tiny_project.final, **settings_of)
    assert {name: c.rows for name, c in counted.items()} == {"likelihood": 0, "reproduction": 0, "precision": 0}
    assert {m.key for m in plan(other.spec)}.isdisjoint(
        m.key for m in plan(final_run.spec) if m.signal in ("likelihood", "reproduction")
    )
    kinds = ("likelihood", "reproduction", "precision")
    same(rows_of(other, kinds), rows_of(final_run, kinds))
    for signal in ("likelihood", "reproduction"):
        assert stored_rows(other, signal) == stored_rows(final_run, signal)
    before = stored_rows(other, "likelihood")
    runs.delete_run(final_run.id)
    assert stored_rows(other, "likelihood") == before
    runs.delete_run(other.id)
    assert [p for p in settings().artefacts.rglob("*") if p.is_file()] == []


@pytest.mark.slow
def test_a_former_final_checkpoint_is_known_along_the_trajectory(tiny_project, final_run, monkeypatch):
    dataset = datasets.get_dataset(final_run.spec.dataset_id)
    counted = Scored(monkeypatch, "likelihood")
    spec = specs.make_spec(
        dataset.id, as_checkpoint(tiny_project.checkpoints[0], None, "other"), None,
        [final_run.spec.final], max_new_tokens=48,
    )  # fmt: skip
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, dataset.id)
    measures = {m.role: m for m in plan(spec) if m.signal == "likelihood"}
    with database().reading() as conn:
        assert all(
            signal_table.has_kin(conn, m.kin_key) == (m.checkpoint == final_run.spec.final) for m in measures.values()
        )
    run_id, job = runs.start(runs.store_run("", spec))
    run_here(job)
    run = runs.get_run(run_id)
    assert counted.rows == len(set(hashes))
    along = {n.removeprefix("t0_"): v for n, v in rows_of(run, ("likelihood",)).columns.items() if n.startswith("t0_")}
    for name, values in rows_of(final_run, ("likelihood",)).columns.items():
        np.testing.assert_array_equal(along[name], values, err_msg=name)


def test_a_smaller_beginning_does_not_lend_its_examples(import_rows, tiny_project, monkeypatch):
    rows = tiny_project.rows
    few, many = import_rows(rows[:20], "few.jsonl"), import_rows(rows[:40], "many.jsonl")
    final, base = as_checkpoint(tiny_project.final, None, "final"), as_checkpoint(tiny_project.base, None, "base")
    first = runs.store_run("", specs.make_spec(few.id, final, base))
    measure = next(m for m in plan(first.spec) if m.signal == "knowledge")
    with database().writing() as conn:
        measure_id = signal_table.measure_id(conn, measure.key, measure.signal, "", {})
        signal_table.link_run(conn, first.id, [measure_id])
    assert not reuse.continued(specs.make_spec(many.id, final, base)).examples_rows
    nearly = import_rows(rows[:24], "nearly.jsonl")
    spec = reuse.continued(specs.make_spec(nearly.id, final, base))
    assert (spec.examples_rows, spec.examples_fingerprint) == (20, few.fingerprint)
    other = import_rows(rows[1:25], "other.jsonl")
    assert not reuse.continued(specs.make_spec(other.id, final, base)).examples_rows


def test_what_a_deleted_run_leaves_serves_the_next_one_until_it_is_removed(tiny_project, final_run, monkeypatch):
    before = rows_of(final_run)
    everything = storage.overview().measured
    assert everything.rows > final_run.n_samples and not everything.kept_rows
    runs.delete_run(final_run.id, keep_measured=True)
    assert storage.overview().measured.kept_rows == everything.rows
    assert storage.prune(days=1, most=everything.size) == 0
    counted = Scored(monkeypatch, "likelihood")
    run = run_diagnosis(datasets.get_dataset(final_run.spec.dataset_id), tiny_project.final)
    assert counted.rows == 0 and not storage.overview().measured.kept_rows
    same(rows_of(run), before)
    runs.delete_run(run.id, keep_measured=True)
    assert storage.prune(days=1, most=everything.size // 2) > 0
    assert storage.overview().measured.kept_size <= everything.size // 2
    storage.prune()
    assert storage.overview().measured.rows == 0
    assert [p for p in settings().artefacts.rglob("*") if p.is_file()] == []


def test_the_number_type_is_measured_where_it_is_left_open(tiny_project, stored):
    from core.services import precision, preflight

    spec = specs.make_spec(stored.id, as_checkpoint(tiny_project.final, None, "final"), dtype="auto")
    card, settled = preflight.card_of(spec, preflight.some_samples(stored.id, stored.n_samples, 64))
    check = next(c for c in card["checks"] if c["code"] == "dtype")
    assert settled.dtype in ("float32", "bfloat16") and settled.dtype in check["text"]
    assert f"On {precision.ROWS} rows the loss moves by up to" in check["measured"]
    assert precision.settled(settled, [])[0] == settled


def test_an_accelerator_is_given_bfloat16(tiny_project, stored, monkeypatch):
    final = as_checkpoint(tiny_project.final, None, "final")
    assert specs.make_spec(stored.id, final).dtype == "float32"
    monkeypatch.setenv("LACUNA_DEVICE", "cuda:0")
    settings.cache_clear()
    assert specs.make_spec(stored.id, final).dtype == "bfloat16"
    assert specs.make_spec(stored.id, final, dtype="float32").dtype == "float32"
