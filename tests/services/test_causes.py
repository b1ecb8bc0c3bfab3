"""From a diagnosis to causes: verdict lines, what is not judged, evidence of a row, no model for new thresholds."""

import json
from dataclasses import replace

import pytest

from core.causes import UNDETERMINED
from core.filters import from_query
from core.plugins import kinds
from core.services import decision, exports, judging, recipes, results, runs, samples
from core.services.views import Share
from core.signals._instruments import Instruments
from core.types import Filter, Thresholds
from core.worker.here import run_here
from db import proofs as proof_table
from db.session import database


def lines(run):
    return [json.loads(line) for line in exports.verdict_lines(run.id)]


def test_every_missed_sample_gets_a_verdict_and_no_learned_one_does(along_run):
    found = lines(along_run)
    missed = [v for v in found if v["status"] in ("unlearned", "partly")]
    assert len(missed) > 10
    for v in missed:
        assert v["cause"] in (*kinds("causes"), UNDETERMINED) or v["cause"].startswith("pipeline:")
        if v["cause"] in kinds("causes"):
            assert 0 <= v["confidence"] <= 1
            strengths = {k: s for k, s in v["causes"].items() if s is not None}
            assert strengths[v["cause"]] == max(strengths.values())
            assert len(v["reasons"]) > 1
    for v in found:
        if v["status"] in ("learned", "unknown"):
            assert v["cause"] is None and v["confidence"] is None and set(v["causes"].values()) == {None}


def test_without_base_or_trajectory_their_causes_are_not_judged(final_run):
    found = lines(final_run)
    for v in found:
        for cause in ("missing_knowledge", "base_conflict", "left_side_forgetting"):
            assert v["causes"][cause] is None and v["cause"] != cause
    assert any(v["causes"]["under_optimised"] is not None for v in found)


def test_forgotten_rows_are_named_so(along_run, tiny_project):
    """Rows of stage one that a checkpoint of stage one gave, and the final one does not: true by construction."""
    stage = {r["id"]: r["stage"] for r in tiny_project.rows}
    page = samples.page(along_run.id, from_query("forgotten=1&status=unlearned", along_run.columns), limit=200)
    lost = [r for r in page.rows if stage[r["sid"]] == "1"]
    assert lost
    named = [r["cause"] for r in lost if not (r["cause"] or "").startswith("pipeline:")]
    assert named.count("left_side_forgetting") >= 0.6 * len(named)


def test_the_row_page_has_every_cause_with_its_evidence(along_run):
    sid = next(v["id"] for v in lines(along_run) if v["cause"] in kinds("causes"))
    view = samples.sample(along_run.id, sid, Filter())
    assert {f.cause for f in view.verdict.findings} == set(kinds("causes"))
    assert view.verdict.findings[0].cause == view.verdict.cause and view.verdict.findings[0].reasons
    strengths = [f.strength for f in view.verdict.findings if f.strength == f.strength]
    assert strengths == sorted(strengths, reverse=True)


def test_judging_again_names_the_same_causes_and_loads_no_model(along_run, monkeypatch):
    before = lines(along_run)
    monkeypatch.setattr(Instruments, "backend", lambda *_: pytest.fail("a model was loaded"))
    run_here(judging.start_rejudge(along_run.id, Thresholds()))
    assert lines(runs.get_run(along_run.id)) == before


def test_the_overview_counts_causes_and_says_what_to_do(along_run):
    found = results.overview(along_run.id, Filter())
    named = [v["cause"] for v in lines(along_run) if v["cause"] is not None]
    assert {c: s.k for c, s in found.causes.items()} == {c: named.count(c) for c in set(named)}
    alone = results.overview(along_run.id, Filter(), binned=False)
    assert (alone.status, alone.causes) == (found.status, found.causes) and not alone.nll.edges
    gains = decision.gains(along_run.id, found.causes)
    assert {g.cause: g.n for g in gains} == {c: s.k for c, s in found.causes.items()}
    assert all(g.advice and g.restored is None for g in gains)
    known = [g.rows for g in gains if g.cause != "undetermined"]
    assert known == sorted(known, reverse=True)


@pytest.mark.parametrize(
    ("against", "outcome", "beside"),
    [
        ("control", "specific", ""),
        ("control", "open", "a uniform mix did about as well"),
        ("control", "against", "a uniform mix did better"),
        ("again", "open", "training again unchanged did about as well"),
    ],
)
def test_what_a_recipe_restored_is_told_with_what_did_as_well(along_run, against, outcome, beside):
    cause, share = "left_side_forgetting", {"k": 16, "n": 16, "share": 1.0, "low": 0.8, "high": 1.0}
    with database().writing() as conn:
        proof = proof_table.add(conn, along_run.id, recipes.recipe_for(cause), cause, {})
        proof_table.add_arm(conn, proof, "treatment", {})
        found = {"arms": {"treatment": {"recovered": share}}, "against": {against: {}}, "outcome": outcome}
        proof_table.finish(conn, proof, found)
    (gain,) = decision.gains(along_run.id, {cause: Share(35, 100, 0.35, 0.3, 0.4)})
    assert (gain.restored.k, gain.beside) == (16, beside)


def test_effects_are_counts_of_base_and_final(along_run):
    rows = [r for r in samples.page(along_run.id, Filter(), None, 500).rows if r["status"] != "unknown"]
    (whole,) = decision.effects(along_run.id, Filter(), None)
    hurt = sum(r["base_greedy_exact"] == 1 and r["status"] != "learned" for r in rows)
    helped = sum(r["base_greedy_exact"] == 0 and r["status"] == "learned" for r in rows)
    assert whole.n == len(rows)
    assert whole.shares["hurt"].value == hurt / len(rows) and whole.shares["helped"].value == helped / len(rows)
    assert sum(s.value for s in whole.shares.values()) == pytest.approx(1)
    groups = decision.effects(along_run.id, Filter(), "stage")
    assert sum(e.n for e in groups) == whole.n


@pytest.mark.parametrize(
    ("missing", "causes", "what"),
    [
        (5, {"under_optimised": 5}, "ship"),
        (20, {"under_optimised": 15, "missing_knowledge": 5}, "train"),
        (20, {"under_optimised": 5, "missing_knowledge": 15}, "data"),
        (20, {"undetermined": 20}, "look"),
    ],
)
def test_the_decision_follows_the_causes(along_run, missing, causes, what):
    gains = tuple(decision.Gain(c, n, None, "", True) for c, n in causes.items())
    assert decision.decide(replace(along_run, summary={}), 100, missing, gains).what == what
    wrong = {"state": "fail", "scope": "run", "label": "BOS", "text": "Twice."}
    faulty = replace(along_run, summary={"faults": [wrong]})
    assert decision.decide(faulty, 100, missing, gains).what == "pipeline"
