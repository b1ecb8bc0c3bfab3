"""From a filter by cause to exported rows and a proof, in one screen."""

from dataclasses import replace

import numpy as np
import pytest

from core.proof.numbers import summary
from core.services import jobs, mitigation, proofs, recipes, runs
from core.services.jobs import JobContext
from core.worker.here import run_here
from db import proofs as proof_table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database
from tests.pages.reading import button, links, words
from tests.services.test_compare import made_up
from ui import proving


@pytest.fixture
def with_causes(run_data):
    """Run 1 with causes in its verdicts: base_conflict for rows 30 to 44, left_side_forgetting for the rest."""
    run = runs.get_run(1)
    with database().reading() as conn:
        order = sample_table.order(conn, run.spec.dataset_id)
        columns = verdict_table.verdict_columns(conn, run, [c.name for c in run.columns])
    places = np.array(order["ordinal"])
    cause = np.where(places < 45, "base_conflict", "left_side_forgetting").astype(object)
    cause[places < 30] = None
    columns["cause"] = cause
    columns["confidence"] = np.where(places < 30, np.nan, places / 60)
    with database().writing() as conn:
        verdict_table.write_verdicts(conn, replace(run, columns=run.columns), columns, order["ordinal"], order["sid"])
    return run_data


def recipe_box(at):
    return next(s for s in at.selectbox if s.label == "Recipe")


def test_a_cause_brings_its_recipe_and_the_recipe_says_what_it_may_harm(with_causes, open_page):
    at = open_page("mitigation", run="1")
    assert not at.exception and not at.error
    assert "60 of 60 samples" in words(at) and "Choose a cause, or a selection of samples" in words(at)
    assert not [s for s in at.selectbox if s.label == "Recipe"]
    at.pills[0].set_value([0])
    at.run()
    cause = at.query_params["cause"]
    assert recipe_box(at).value == cause
    form = next(f for f in recipes.recipes() if f.name == cause)
    assert form.expects in words(at)
    for risk in form.risks:
        assert risk.split(",")[0] in words(at)
    assert f"{15} of 60 samples" in words(at)


def test_confidence_narrows(with_causes, open_page):
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    next(n for n in at.number_input if n.label == "Confidence from").set_value(0.9)
    at.run()
    assert at.query_params["confidence"] == "0.9.." and "6 of 60 samples" in words(at)


def test_preview_export_and_files(with_causes, open_page, work):
    at = open_page("mitigation", run="1", cause="base_conflict")
    button(at, "Preview").click()
    at.run()
    work()
    at.run()
    assert not at.exception and not at.error
    text = words(at)
    assert "rows from 15 samples" in text and "15 context" in text and "30 plain" in text
    assert any("the answer is stated before the question" in e.label for e in at.expander)
    assert "<ins>" in text
    assert "Exported" in text
    button(at, "Export").click()
    at.run()
    work()
    at.run()
    # The files stand above the preview, where the click is seen to have done something.
    drawn = [e.value for e in at.main if e.type in ("success", "markdown")]
    rows_at = next(i for i, said in enumerate(drawn) if "rows from 15 samples" in said)
    assert drawn.index(at.success[0].value) < rows_at
    found = links(at)
    assert list(found)[:2] == ["mitigation.jsonl", "manifest.json"]
    job = next(j for j in jobs.list_jobs() if j.kind == "mitigate")
    assert found["mitigation.jsonl"] == f"/api/mitigations/{job.id}/mitigation.jsonl"
    rows = mitigation.exported_file(job.id, "mitigation.jsonl").read_bytes().splitlines()
    assert f"{len(rows)} rows" in at.success[0].value
    # Another setting is another question: what stood is no longer shown.
    next(n for n in at.number_input if n.label == "Unchanged copies").set_value(5)
    at.run()
    assert not at.success and "Something changed" in words(at)


def test_an_export_to_train_again_holds_the_dataset(with_causes, open_page, work, monkeypatch):
    """Offered where the base is known; the form says how long, and the files are another export."""
    at = open_page("mitigation", run="1", cause="base_conflict")
    assert not at.radio
    run = runs.get_run(1)
    with_base = replace(run, spec=replace(run.spec, base=run.spec.final))
    monkeypatch.setattr(runs, "get_run", lambda run_id: with_base)
    monkeypatch.setattr(mitigation, "get_run", lambda run_id: with_base)
    at = open_page("mitigation", run="1", cause="base_conflict")
    (way,) = at.radio
    assert way.options == ["Go on from the checkpoint", "Train again from the base"] and not way.value
    way.set_value(True).run()
    next(t for t in at.text_input if t.label == "Epochs").set_value("2").run()
    for name in ("Preview", "Export"):
        button(at, name).click().run()
        run_here(next(job.id for job in jobs.list_jobs() if job.state == "queued"))
        at.run()
    assert not at.exception and not at.error
    # 15 rows in context, each four times: the recipe asks for four passes, the training has two.
    assert "120 dataset" in at.success[0].value and "60 context" in at.success[0].value
    job = next(j for j in jobs.list_jobs() if j.kind == "mitigate")
    manifest = mitigation.exported_file(job.id, "manifest.json").read_text()
    assert '"rows": "the dataset with these rows in it"' in manifest and "epochs 2 (as chosen)" in manifest
    at.radio[0].set_value(False).run()
    assert not at.success and "Something changed" in words(at)


def test_a_problem_of_the_recipe_is_told_on_the_page(with_causes, open_page, work):
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    recipe_box(at).set_value("data_inconsistency")
    at.run()
    assert "Made for contradiction in the data" in words(at)
    button(at, "Preview").click()
    at.run()
    work()
    at.run()
    assert "contradict no other sample" in at.error[0].value


def arm(right, **more):
    n = len(right)
    return {"right": right, "asked": [0] * n, "kept": [1, 1, 0], "nll": [1.0, 2.0], "treated_nll": [1.0] * n,
            "training": {"method": "full", "dtype": "float32", "learning_rate": 1e-3, "steps": 9}, "seconds": 1.0,
            "aside": [], "in_mix": [1, 1, 0], **more}  # fmt: skip


def whole(watched):
    n = len(watched.learned)
    return {"kept": [1] * n, "in_mix": [1] * n}


class FakeBench:
    """Arms without a model: the page shows what the service stores."""

    def __init__(self, *fields):
        self.watched = fields[3]

    def measure(self, label, checkpoint):
        return arm([0] * len(self.watched.treated)) | whole(self.watched)

    def arm(self, label, rows):
        next(rows())
        n = len(self.watched.treated)
        good = {"treatment": n, "control": 1, "off target": 2}[label]
        return arm([1] * good + [0] * (n - good)) | whole(self.watched)


def test_a_proof_is_started_watched_and_read(with_causes, open_page, monkeypatch):
    monkeypatch.setattr("core.proof.training.Bench", FakeBench)
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    next(n for n in at.number_input if n.label == "Optimiser steps per arm").set_value(9)
    at.run()
    button(at, "Prove on a copy").click()
    at.run()
    (proof,) = proofs.of_run(1)
    assert proof.request["budget"]["steps"] == 9 and proof.cause == "left_side_forgetting"
    assert "waiting" in str([p.proto.text for p in at.get("progress")]).lower()
    run_here(proof.job_id)
    at.run()
    assert not at.exception and not at.error
    text = words(at)
    assert "Works, and because of this recipe" in text
    assert "full in float32 at learning rate 0.001" in text
    assert "“Replay” restored 100%" in text and "the uniform mix restored 7%" in text
    assert at.get("plotly_chart")
    table = next(d.value for d in at.dataframe if "restored" in d.value.columns)
    assert table["restored"].tolist()[0].startswith("15 of 15")
    button(at, "Delete").click()
    at.run()
    assert proofs.of_run(1) == []


def test_training_again_is_a_choice_where_there_is_a_base(with_causes, open_page, monkeypatch):
    """It is started with its own budget, and its result names what does as well for less."""
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    assert "Training" not in [control.label for control in at.segmented_control]
    drawn = proving.draw

    def with_base(run):
        return replace(run, spec=replace(run.spec, base=run.spec.final))

    monkeypatch.setattr(proving, "draw", lambda run, *rest: drawn(with_base(run), *rest))
    monkeypatch.setattr(proofs, "get_run", lambda run_id: with_base(runs.get_run(run_id)))
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    assert not any("may come back" in d.value.columns for d in at.dataframe), "computed once it is looked at"
    at.session_state["w:advice:open"] = True
    at.run()
    table = next(d.value for d in at.dataframe if "may come back" in d.value.columns)
    assert set(table["what to do"]) >= {"Go on from the checkpoint", "Leave it as it is"}
    next(c for c in at.segmented_control if c.label == "Training").set_value(True)
    at.run()
    assert not at.exception and not at.error
    next(t for t in at.text_input if t.label == "Epochs").set_value("2")
    button(at, "Train again four times").click()
    at.run()
    (proof,) = proofs.of_run(1)
    assert proof.request["retrain"] and proof.request["budget"]["epochs"] == "2"
    jobs.cancel_job(proof.job_id)
    measured = {"treatment": [1] * 9, "again": [0] * 9, "control": [1] * 9, "off_target": [0] * 9}
    result = summary(arm([0] * 9), {name: arm(right) for name, right in measured.items()})
    with database().writing() as conn:
        proof_table.finish(conn, proof.id, result | {"selected": 9, "right_before": 0, "course": ["epochs 2"]})
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    assert not at.exception and not at.error
    text = words(at)
    assert (
        "trained again from the base" in text and "The cheapest that does about as well is the uniform repeat" in text
    )
    assert "Training again unchanged loses 1 of them by chance" in text
    table = next(d.value for d in at.dataframe if "restored" in d.value.columns)
    assert table["arm"].tolist()[1:3] == ["Unchanged data", "Uniform repeat"]


def test_a_stopped_proof_says_how_far_it_got(with_causes, open_page):
    asked = mitigation.request(1, runs_filter(), "left_side_forgetting", {}, {})
    proof_id, job = proofs.start(asked, {})
    with database().writing() as conn:
        proof_table.add_arm(conn, proof_id, "before", arm([0]))
    jobs.cancel_job(job)
    at = open_page("mitigation", run="1", cause="left_side_forgetting")
    assert "Stored so far: the checkpoint itself" in words(at) and button(at, "Resume")
    assert JobContext


def runs_filter():
    from core.filters import from_query

    return from_query("cause=left_side_forgetting", runs.get_run(1).columns)


def test_without_causes_samples_are_chosen_by_status(run_data, open_page):
    at = open_page("mitigation", run="1", status="learned")
    assert not at.exception and not at.error
    assert "No cause is judged in this run" in words(at)


def linked(at):
    return {link.proto.label: link.proto.query_string for link in at.get("page_link")}


def test_the_run_diagnosed_after_training_is_one_click_away_and_back(with_causes, open_page):
    at = open_page("mitigation", run="1")
    assert "Diagnose the trained checkpoint" in linked(at) and not any("Compare with" in label for label in linked(at))
    run = runs.get_run(1)
    later = made_up(run, run.spec.dataset_id)
    at = open_page("mitigation", run="1")
    (query,) = [query for label, query in linked(at).items() if label.startswith(f"Compare with run {later.id}")]
    assert query == f"run=1&other={later.id}"
    at = open_page("compare", run="1", other=str(later.id))
    assert linked(at)["Recipes and proofs of run 1"] == "run=1"


def test_a_proof_stands_on_the_samples_page(with_causes, open_page, monkeypatch):
    monkeypatch.setattr("core.proof.training.Bench", FakeBench)
    run = runs.get_run(1)
    asked = mitigation.request(1, runs_filter(), "left_side_forgetting", {}, {})
    _, job = proofs.start(asked, {"samples": 4})
    before = {s: verdict(run, s)["confidence"] for s in sids(run)}
    run_here(job)
    (proof,) = proofs.of_run(1)
    first, last = proof.result["samples"][1], proof.result["samples"][-1]
    assert verdict(runs.get_run(1), first)["proof"] == "both recipes"
    at = open_page("samples", run="1", sample=last)
    assert not at.exception and not at.error
    assert verdict(runs.get_run(1), last)["proof"] == "this recipe alone"
    assert {s: verdict(runs.get_run(1), s)["confidence"] for s in before} == before
    assert "brought this sample back" in words(at) and "“Replay” restored 100%" in words(at)


def sids(run):
    with database().reading() as conn:
        return sample_table.order(conn, run.spec.dataset_id)["sid"]


def verdict(run, sid):
    with database().reading() as conn:
        return verdict_table.row(conn, run, sid)
