"""From dataset and checkpoint to verdicts, with a real model, a real database and the real handlers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from core.plugins import kind
from core.services import artefacts, exports, jobs, judging, measurements, results, runs, samples
from core.settings import settings
from core.signals._base import stop_ids_of
from core.signals._instruments import Instruments
from core.signals._plan import plan
from core.types import FINAL, Filter, Term, Thresholds
from core.worker.here import run_here
from db import samples as sample_table
from db.session import database


def verdicts(run):
    return [json.loads(line) for line in exports.verdict_lines(run.id)]


def greedy_loop(folder, prompt, stops, n):
    """Plain greedy decoding, one token at a time, no cache, no batch."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in stops:
                break
    return ids[len(prompt) :]


def test_verdicts_agree_with_plain_decoding(tiny_project, final_run):
    run = final_run
    found = verdicts(run)
    assert [v["row"] for v in found] == list(range(run.n_samples))
    statuses = {v["status"] for v in found}
    assert {"learned", "unlearned"} <= statuses
    instruments = Instruments(run.spec)
    with database().reading() as conn:
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id))
    backend = instruments.backend(run.spec.final)
    try:
        for sample, verdict in list(zip(samples, found, strict=True))[::3]:
            seen = instruments.supervision(sample)
            stops = stop_ids_of(seen, backend.stop_ids)
            exact = []
            for turn in seen.turns:
                gold = seen.ids[turn.start : turn.stop].tolist()
                exact.append(greedy_loop(tiny_project.final, seen.ids[: turn.start].tolist(), stops, len(gold)) == gold)
            assert verdict["greedy_exact"] == all(exact), sample.id
            assert (verdict["status"] == "learned") >= all(exact)
    finally:
        instruments.close()
    assert sum(v["greedy_exact"] for v in found) == sum(v["p_exact"] > 0 and v["greedy_exact"] for v in found)


def test_a_second_run_measures_nothing_again_and_is_the_same_file(
    tiny_project, final_run, stored_final, diagnose, monkeypatch
):
    first = list(exports.verdict_lines(final_run.id))
    monkeypatch.setattr(kind("signals", "likelihood").__class__, "_chunk", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(kind("signals", "reproduction").__class__, "_chunk", lambda *_: pytest.fail("measured again"))
    again = diagnose(stored_final, tiny_project.final)
    assert again.id != final_run.id and list(exports.verdict_lines(again.id)) == first
    for line in first:
        assert set(json.loads(line)) == {
            "id", "row", "status", "nll", "greedy_exact", "p_exact", "cause", "confidence",
            "human_status", "human_cause", "tags", "note", "author",
            "proof", "causes", "reasons",
        }  # fmt: skip


def test_other_thresholds_load_no_model(final_run, monkeypatch):
    run = final_run
    monkeypatch.setattr(Instruments, "backend", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setattr(Instruments, "tokenizer", lambda *_: pytest.fail("a tokenizer was loaded"))
    strict = Thresholds(unlearned_below=0.02)
    wanted = results.status_preview(run.id, strict)
    run_here(judging.start_rejudge(run.id, strict))
    judged = runs.get_run(run.id)
    assert judged.thresholds == strict
    shown = results.overview(run.id, Filter()).status
    assert {s: share.k for s, share in shown.items()} == wanted
    assert wanted["unlearned"] < run.summary["status"]["unlearned"]


class StopAfter:
    """Asks to stop once so many chunks were stored."""

    def __init__(self, chunks):
        self.left = chunks

    def install(self, monkeypatch, error):
        original = jobs.JobContext.progress

        def progress(context, stage, done=0, total=0, unit="", store=None):
            original(context, stage, done, total, unit, store)
            if store is not None:
                self.left -= 1
                if self.left == 0:
                    raise error

        monkeypatch.setattr(jobs.JobContext, "progress", progress)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [jobs.Cancelled, jobs.Released])
def test_stopped_between_chunks_then_resumed(tiny_project, import_rows, diagnose, monkeypatch, ending):
    dataset = import_rows(tiny_project.rows[:36])
    signal = kind("signals", "likelihood")
    monkeypatch.setattr("core.signals.likelihood.chunked", small_chunks)
    whole = verdicts(diagnose(dataset, tiny_project.final))
    runs.delete_run(runs.list_runs()[0].id)
    with monkeypatch.context() as patch:
        StopAfter(2).install(patch, ending())
        with pytest.raises(UserError, match="stopped"):
            diagnose(dataset, tiny_project.final)
    (run,) = runs.list_runs()
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, dataset.id)
        part = measurements.signals_of(conn, run, hashes, [m for m in plan(run.spec) if m.role == FINAL])
    n_before = len({h for h, v in zip(hashes, part.get("n_tokens"), strict=True) if not np.isnan(v)})
    assert n_before == 20
    measured = []
    original = type(signal)._chunk
    monkeypatch.setattr(
        type(signal), "_chunk", lambda self, m, s, *rest: (measured.extend(s), original(self, m, s, *rest))[1]
    )
    (job,) = [j for j in jobs.list_jobs() if j.run_id == run.id]
    if job.state == "cancelled":
        jobs.resume_job(job.id)
    run_here(job.id)
    assert len(measured) == len(set(hashes)) - n_before
    assert verdicts(runs.get_run(run.id)) == whole


def small_chunks(samples, cost, limit, most):
    for at in range(0, len(samples), 10):
        yield list(samples[at : at + 10])


def test_export_gives_back_the_lines(tiny_project, final_run):
    run = final_run
    lines = tiny_project.dataset.read_bytes().splitlines(keepends=True)
    assert list(exports.lines(run.id, Filter())) == lines
    chosen = Filter((Term("status", "in", ("unlearned",)),))
    got = list(exports.lines(run.id, chosen))
    wanted = [lines[v["row"]] for v in verdicts(run) if v["status"] == "unlearned"]
    assert got == wanted
    assert len(got) == exports.count(run.id, chosen) == exports.manifest(run.id, chosen)["exported"]["rows"]
    nothing = Filter((Term("nll", "range", (1e9, None)),))
    assert list(exports.lines(run.id, nothing)) == []
    assert exports.manifest(run.id, nothing)["exported"]["rows"] == 0


def test_deleting_a_run_leaves_no_file_that_only_it_used(tiny_project, final_run, stored_final, diagnose):
    one, two = final_run, diagnose(stored_final, tiny_project.final, max_draws=4)
    before = verdicts(one)
    runs.delete_run(two.id)
    assert verdicts(one) == before
    assert samples.sample(one.id, before[0]["id"], Filter()).pieces
    runs.delete_run(one.id)
    assert [p for p in settings().artefacts.rglob("*") if p.is_file()] == []


def test_base_and_trajectory_are_measured_too(tiny_project, along_run):
    run = along_run
    first = verdicts(run)[0]["id"]
    view = samples.sample(run.id, first, Filter())
    assert [c.role for c in view.checkpoints] == ["base", *["checkpoint"] * len(tiny_project.checkpoints), "final"]
    assert all(c.nll is not None for c in view.checkpoints)
    assert view.checkpoints[0].nll > view.checkpoints[-1].nll


def test_a_row_the_template_refuses_harms_no_other(tiny_project, import_rows, diagnose):
    rows = [json.loads(line) for line in tiny_project.dataset.read_text().splitlines()[:5]]
    odd = {"id": "odd", "messages": [{"role": "wizard", "content": "a"}, {"role": "assistant", "content": "b"}]}
    run = diagnose(import_rows([rows[0], odd, *rows[1:]]), tiny_project.final)
    found = {v["id"]: v for v in verdicts(run)}
    assert found["odd"]["status"] == "unknown"
    assert found["odd"]["nll"] is None
    assert "refuses" in found["odd"]["reasons"][0]
    assert all(v["nll"] is not None for k, v in found.items() if k != "odd")
    assert any("wizard" in note for note in samples.sample(run.id, "odd", Filter()).notes)


def test_target_without_loss_is_the_pipelines_fault(tiny_project, import_rows, diagnose):
    silent = {"role": "assistant", "content": "Zqxv plimf gorat 4471 wubble.", "train": False}
    row = {"id": "silent", "messages": [{"role": "user", "content": "Say the unsayable."}, silent]}
    run = diagnose(import_rows([row]), tiny_project.final)
    (verdict,) = verdicts(run)
    assert (verdict["status"], verdict["cause"]) == ("unlearned", "pipeline:not_supervised")
    assert "carried no loss" in verdict["reasons"][-1]
    loud = {**row, "messages": [row["messages"][0], {**silent, "train": True}]}
    (verdict,) = verdicts(diagnose(import_rows([loud]), tiny_project.final))
    assert verdict["status"] == "unlearned" and not str(verdict["cause"]).startswith("pipeline:")


def test_exact_duplicates_stay_and_are_measured_once(tiny_project, import_rows, diagnose):
    row = json.loads(tiny_project.dataset.read_text().splitlines()[0])
    row.pop("id", None)
    dataset = import_rows([row, row, row])
    assert (dataset.n_samples, dataset.n_duplicates) == (3, 2)
    run = diagnose(dataset, tiny_project.final)
    found = verdicts(run)
    assert len({v["id"] for v in found}) == 3
    assert len({json.dumps({**v, "id": 0, "row": 0}) for v in found}) == 1
    assert samples.sample(run.id, found[1]["id"], Filter()).copies == 3


@pytest.mark.parametrize("name", ["likelihood", "reproduction"])
def test_a_signal_does_not_depend_on_chunks_or_order(final_run, name):
    run = final_run
    signal = kind("signals", name)
    (measure,) = [m for m in signal.plan(run.spec) if m.role == FINAL]
    instruments = Instruments(run.spec)
    with database().reading() as conn:
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, range(24)))
        table = measurements.signals_of(conn, run, [s.content_hash for s in samples], [measure])
    wanted = [s for s, want in zip(samples, signal.applies_to(runs_table(run, samples)), strict=True) if want]
    assert wanted
    try:
        alone = {}
        for sample in reversed(wanted):
            (chunk,) = signal.measure(measure, [sample], instruments, lambda: False)
            alone[sample.content_hash] = chunk
    finally:
        instruments.close()
    for i, key in enumerate(table.keys):
        if key in alone:
            for column, values in alone[key].columns.items():
                np.testing.assert_allclose(values[0], table.columns[column][i], atol=2e-4, err_msg=f"{column} of {key}")


def runs_table(run, samples):
    with database().reading() as conn:
        return measurements.signals_of(conn, run, [s.content_hash for s in samples])


def test_evidence_files_are_named_by_content(tmp_path):
    one, two = artefacts.write([{"a": 1}, None]), artefacts.write([{"a": 1}, None])
    assert one == two
    assert artefacts.read(one, 0) == {"a": 1}
    assert artefacts.read(one, 1) is None
    artefacts.remove([one])
    with pytest.raises(UserError, match="is gone"):
        artefacts.read(one, 0)


def test_a_spec_says_everything_that_could_change_a_number(final_run):
    run = final_run
    assert run.spec == type(run.spec).from_dict(json.loads(json.dumps(run.spec.as_dict())))
    assert {"torch", "transformers"} <= set(run.spec.versions)
    assert replace(run.spec, seed=1).hash != run.spec.hash


def test_unknown_names_are_answered_with_the_choices(tiny_project, stored, diagnose):
    with pytest.raises(UserError, match="Did you mean 'custom'"):
        diagnose(stored, tiny_project.final, preset="custm")
    with pytest.raises(UserError, match="There are: choice, exact"):
        diagnose(stored, tiny_project.final, scorer="nope")
