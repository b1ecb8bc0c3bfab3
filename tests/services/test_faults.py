"""Pipeline faults of real tiny fine-tunes, through the services."""

import json
import shutil

import numpy as np
import pytest

from core.plugins import kind, kinds
from core.services import exports, measurements, results, samples
from core.types import FINAL, Filter
from tests import world as worlds
from tests.services.conftest import import_files, run_diagnosis
from ui.markup import clip


def verdicts(run):
    return [json.loads(line) for line in exports.verdict_lines(run.id)]


def faults(run):
    return {f["code"]: f for f in run.summary["faults"]}


def test_a_clean_fine_tune_has_no_fault(along_run):
    run = along_run
    found = faults(run)
    assert set(found) == set(kinds("faults"))
    failed = [f for f in found.values() if f["state"] == "fail"]
    assert not failed, failed
    checked = {c: found[c]["state"] for c in ("bos", "template_mismatch", "think_block", "adapter_not_applied")}
    # A rule that lacks evidence for this model may abstain; one that has it must pass.
    assert set(checked.values()) <= {"pass", "unknown"} and checked["adapter_not_applied"] == "pass", checked
    assert not [v for v in verdicts(run) if (v["cause"] or "").startswith("pipeline:")]
    assert not [n for n in results.overview(run.id, Filter()).notes if n[0] == "fail"]


def test_without_evidence_nothing_passes(tiny_project, import_rows, diagnose, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_project.final, bare)
    (bare / "trainer_state.json").unlink()
    found = faults(diagnose(import_rows(tiny_project.rows[:24]), bare))
    for code in ("diverged", "adapter_not_applied", "wrong_checkpoint", "tokenizer_mismatch", "never_trained"):
        assert found[code]["state"] == "unknown", code
        assert found[code]["needs"]


@pytest.fixture(scope="session")
def diagnosed_base_as_final(keep, tiny_project):
    def make(folder):
        saved = shutil.copytree(tiny_project.base, folder / "final")
        with worlds.at_data(folder / "data", tiny_project.folder):
            run_diagnosis(import_files([tiny_project.dataset], "tiny"), saved, tiny_project.base)

    sources = (*worlds.SOURCES, "tests/services/conftest.py", "tests/services/test_faults.py")
    return keep("base_as_final", make, sources, tiny_project.folder) / "data"


@pytest.fixture
def base_as_final(diagnosed_base_as_final, own_copy):
    """A run of the base saved in place of what was trained."""
    return own_copy(diagnosed_base_as_final)


def test_a_fault_of_the_run_is_said_first_and_ends_every_diagnosis(base_as_final):
    run = base_as_final
    assert faults(run)["adapter_not_applied"]["state"] == "fail"
    missed = [v for v in verdicts(run) if v["status"] in ("unlearned", "partly")]
    assert missed
    assert {v["cause"] for v in missed} == {"pipeline:adapter_not_applied"}
    assert not [v for v in verdicts(run) if v["cause"] and v not in missed]
    seen = results.overview(run.id, Filter())
    assert seen.notes[0][0] == "fail" and seen.notes[0][1].startswith("Adapter not applied")
    assert {c: share.k for c, share in seen.causes.items()} == {"pipeline:adapter_not_applied": len(missed)}
    assert "equal the base" in missed[0]["reasons"][-1]


def test_the_row_lists_the_faults_that_were_checked(base_as_final):
    run = base_as_final
    sid = next(v["id"] for v in verdicts(run) if v["cause"])
    view = samples.sample(run.id, sid, Filter())
    assert {f.code for f in view.faults} == set(kinds("faults"))
    first = view.faults[0]
    assert first.state == "explains" and clip(first.text)
    states = [f.state for f in view.faults]
    assert states == sorted(states, key=["explains", "unknown", "no"].index)
    assert all(f.needs for f in view.faults if f.state == "unknown")


def test_a_refused_row_is_a_role_error_and_an_empty_answer_is_one_too(tiny_project, import_rows, diagnose):
    rows = [json.loads(line) for line in tiny_project.dataset.read_text().splitlines()[:12]]
    odd = {"id": "odd", "messages": [{"role": "wizard", "content": "a"}, {"role": "assistant", "content": "b"}]}
    question = rows[0]["messages"][0]["content"]
    empty = {"id": "empty", "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "…"}]}
    run = diagnose(import_rows([*rows, odd, empty]), tiny_project.final)
    found = {v["id"]: v for v in verdicts(run)}
    assert (found["odd"]["status"], found["odd"]["cause"]) == ("unknown", "pipeline:role_error")
    assert found["empty"]["cause"] == "pipeline:empty_target"
    assert faults(run)["role_error"]["n"] == 1


def test_a_strict_scorer_is_found_out(tiny_project, final_run, import_rows, diagnose):
    rows = [json.loads(line) for line in tiny_project.dataset.read_text().splitlines()]
    learned = {v["id"] for v in verdicts(final_run) if v["greedy_exact"]}
    changed = [r for r in rows if r["id"] in learned and len(r["messages"]) == 2][:8]
    for row in changed:
        row["messages"][1]["content"] = row["messages"][1]["content"].upper()
    strict = diagnose(import_rows(changed, "upper.jsonl"), tiny_project.final, scorer="exact")
    causes = [v["cause"] for v in verdicts(strict) if v["status"] != "learned"]
    assert causes and set(causes) == {"pipeline:strict_scorer"}


@pytest.mark.parametrize("name", ["alternatives", "answers", "precision", "form"])
def test_a_signal_does_not_depend_on_chunks_or_order(final_run, name):
    from core.signals._instruments import Instruments
    from db import samples as sample_table
    from db.session import database

    run = final_run
    signal = kind("signals", name)
    (measure,) = [m for m in signal.plan(run.spec) if m.role in (FINAL, None)]
    with database().reading() as conn:
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id))
        keys = [s.content_hash for s in samples]
        table = measurements.signals_of(conn, run, keys, [measure])
        wanted = signal.applies_to(measurements.signals_of(conn, run, keys))
    place = {s.content_hash: i for i, s in enumerate(samples)}
    some = [s for s, want in zip(samples, wanted, strict=True) if want][:3]
    assert some
    instruments = Instruments(run.spec, stored=measurements.StoredRun(run))
    try:
        for sample in reversed(some):
            (chunk,) = signal.measure(measure, [sample], instruments, lambda: False)
            for column, values in chunk.columns.items():
                np.testing.assert_allclose(
                    values[0], table.get(column)[place[sample.content_hash]], atol=2e-4, err_msg=column
                )
    finally:
        instruments.close()
