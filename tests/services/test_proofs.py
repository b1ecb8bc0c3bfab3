"""A proof trains real copies of a tiny checkpoint and measures them as the diagnosis does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.filters import from_query
from core.plugins import kind
from core.proof.training import Bench, asked_otherwise
from core.services import demo, jobs, mitigation, proof_arms, proofs, runs
from core.services.recipes import RunPool
from core.settings import settings
from core.types import Proof, Server
from core.worker.here import run_here

# Nothing limits the training: with a rate this high and no other rows, learned ones are lost at once.
COST = {"steps": 24, "batch": 8, "samples": 12, "learned": 8, "guard": 0, "learning_rate": 3e-3}
MISSED = "status=unlearned,partly,unknown"


@pytest.fixture
def run(final_run):
    return final_run


@pytest.fixture
def recorded(elsewhere):
    """The demo's run: it has a base and contradictions, and no checkpoint here."""
    elsewhere()
    demo.open_if_wanted()
    return runs.get_run(demo.state()[1])


def asked(run, recipe="left_side_forgetting", query=MISSED, **settings):
    return mitigation.request(run.id, from_query(query, run.columns), recipe, settings, {})


def fingerprint(run):
    return as_checkpoint(Path(run.spec.final.path), None, "").fingerprint


@pytest.mark.slow
def test_a_recipe_is_tried_against_control_arms_and_the_checkpoint_stays(run):
    before = fingerprint(run)
    proof_id, job = proofs.start(asked(run, share=1.0), COST)
    assert proofs.get_proof(proof_id).result is None
    run_here(job)
    proof = proofs.get_proof(proof_id)
    assert fingerprint(run) == before
    assert not (settings().data_dir / "proofs" / str(proof_id)).exists()
    assert set(proof.arms) == {"before", "treatment", "control", "off_target"}
    found = proof.result
    n = found["n"]
    assert n + found["right_before"] == 12
    for arm in found["arms"].values():
        assert arm["recovered"]["n"] == arm["asked_otherwise"]["n"] == n
        assert arm["training"]["steps"] == 24 and arm["training"]["method"] == "full"
        assert arm["lost"]["n"] == 8 and arm["loss"]["n"] == 12
    # Sixteen passes over twelve rows against a fraction of one: anything else would be a fault of the trainer.
    shares = {name: arm["recovered"]["share"] for name, arm in found["arms"].items()}
    assert shares["treatment"] > 0.6 and shares["treatment"] > 2 * shares["control"]
    assert found["arms"]["treatment"]["treated_loss"]["high"] < 0
    assert found["outcome"] in ("works", "specific")
    told = proofs.in_words(proof)
    assert f"{100 * shares['treatment']:.0f}%" in told[0] and "the uniform mix restored" in told[0]
    assert [p.id for p in proofs.of_run(run.id)] == [proof_id]
    json.dumps(proof.request)


@pytest.mark.slow
def test_learned_rows_limit_a_training_that_harms_them(run):
    proof_id, job = proofs.start(asked(run, share=1.0), COST | {"guard": 12, "steps": 12})
    run_here(job)
    proof = proofs.get_proof(proof_id)
    guard = proof.result["arms"]["treatment"]["training"]["guard"]
    assert 10 <= guard["rows"] <= 12 and guard["scale"] < 1.0
    # One of them may fall.
    assert (1 - guard["held"]) * guard["rows"] <= 1.001 < (1 - guard["held_trained"]) * guard["rows"]
    assert "of the change is kept" in proofs.in_words(proof)[2] or "Nothing of it is kept" in proofs.in_words(proof)[2]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [jobs.Cancelled, jobs.Released])
def test_stopped_in_training_it_goes_on_with_the_arm_at_hand(run, monkeypatch, ending):
    cost = COST | {"steps": 4, "samples": 4, "learned": 2}
    whole, job = proofs.start(asked(run), cost)
    run_here(job)
    second, job = proofs.start(asked(run), cost)
    original = jobs.JobContext.progress
    steps = []

    def stop(context, stage, done=0, total=0, unit="", store=None):
        original(context, stage, done, total, unit, store)
        steps.append((stage, done))
        if stage == "control: training" and done == 2:
            raise ending()

    with monkeypatch.context() as patch:
        patch.setattr(jobs.JobContext, "progress", stop)
        with pytest.raises(UserError, match="stopped"):
            run_here(job)
    assert ("control: training", 1) in steps and ("control: training", 3) not in steps
    assert set(proofs.get_proof(second).arms) == {"before", "treatment"}
    assert not (settings().data_dir / "proofs" / str(second)).exists()
    trained = []
    arm = Bench.arm
    monkeypatch.setattr(Bench, "arm", lambda self, label, rows: (trained.append(label), arm(self, label, rows))[1])
    if jobs.get_job(job).state == "cancelled":
        jobs.resume_job(job)
    run_here(job)
    assert trained == ["control", "off target"]
    one, two = proofs.get_proof(whole), proofs.get_proof(second)
    for name in one.arms:
        assert one.arms[name]["right"] == two.arms[name]["right"], name
        assert one.arms[name]["nll"] == pytest.approx(two.arms[name]["nll"], abs=1e-4), name


def test_it_refuses_what_cannot_be_proven(tiny_project, import_rows, diagnose, tmp_path):
    own = shutil.copytree(tiny_project.final, tmp_path / "final")
    run = diagnose(import_rows(tiny_project.rows[:12]), own, max_draws=0, max_new_tokens=24)
    with pytest.raises(UserError, match="teaches none"):
        run_now(asked(run, "missing_knowledge"), forced={"action": "leave_out"})
    weights = next(p for p in Path(run.spec.final.path).iterdir() if p.suffix == ".safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UserError, match="have changed since it was diagnosed"):
        run_now(asked(run))


@pytest.mark.parametrize("retrain", [False, True], ids=["on", "again"])
def test_a_rewritten_sample_is_judged_by_its_new_answer(recorded, tmp_path, retrain):
    """Its original answer is what the decision took away: giving it is no success, giving the new one is."""
    run = recorded
    pool = RunPool(run, [], {})
    rewritten, *_ = pool.rows(pool.select("cause=data_inconsistency"))
    told = tmp_path / "decisions.jsonl"
    told.write_text(json.dumps({"id": rewritten.id, "action": "rewrite", "text": "Quite another."}))
    query = from_query("cause=data_inconsistency", run.columns)
    request = mitigation.request(run.id, query, "data_inconsistency", {}, {}, {"decisions": told})
    request |= {"budget": {s.name: s.default for s in proofs.budget(retrain)}, "retrain": retrain}
    proof = Proof(0, run.id, "data_inconsistency", None, request, {}, None, None, 0.0, None)
    arms = proof_arms.arms_of(run, proof, jobs.Terminal(lambda *_: None), tmp_path / "arms")
    watched = {s.id: s for s in arms.watched.treated}
    assert watched[rewritten.id].response == "Quite another." and watched[rewritten.id].prompt == rewritten.prompt
    assert watched[rewritten.id].content_hash != rewritten.content_hash
    assert asked_otherwise(watched[rewritten.id]).response == "Quite another."
    kept = [s for s in pool.rows(pool.select("cause=data_inconsistency")) if s.id in watched and s.id != rewritten.id]
    assert kept and all(watched[s.id] == s for s in kept)


def test_what_is_not_on_this_machine_is_refused_before_anything_is_stored(recorded, tmp_path, monkeypatch, capsys):
    from core.__main__ import main

    here, theirs = tmp_path / "here", str(tmp_path / "theirs")
    here.mkdir()
    spec = recorded.spec
    final, base = replace(spec.final, path=str(here)), replace(spec.base, path=str(here))
    before = proofs.of_run(recorded.id)
    command = ["prove", "--run", str(recorded.id), "--recipe", "base_conflict", "--filter", "cause=base_conflict"]
    odd = {
        f"There is no folder {theirs} on this machine": {"final": replace(final, path=theirs)},
        f"There is no folder {theirs}": {"final": replace(final, base=theirs)},
        f"no folder {theirs}": {"base": replace(base, path=theirs)},
        "base that this training began with is not known": {"base": None},
        "is held by http://localhost:1": {"final": replace(final, server=Server("http://localhost:1", "m", "vllm"))},
    }
    for said, change in odd.items():
        run = replace(recorded, spec=replace(spec, **({"origin": "", "final": final, "base": base} | change)))
        with monkeypatch.context() as patch:
            patch.setattr(proofs, "get_run", lambda run_id, run=run: run)
            assert main([*command, "--retrain"]) == 2
        assert said in capsys.readouterr().err
    assert main(command) == 2
    assert spec.final.path in capsys.readouterr().err, "where a bundle's checkpoint was"
    assert proofs.of_run(recorded.id) == before and jobs.list_jobs() == []


def run_now(request, forced=None):
    recipe = kind("recipes", request["recipe"])
    before = recipe.proof
    try:
        if forced is not None:
            type(recipe).proof = forced
        _, job = proofs.start(request, COST)
        return run_here(job)
    finally:
        type(recipe).proof = before


def test_a_deleted_run_takes_its_proofs_along(run):
    proof_id, job = proofs.start(asked(run), COST)
    jobs.cancel_job(job)
    runs.delete_run(run.id)
    with pytest.raises(UserError, match="no proof"):
        proofs.get_proof(proof_id)


def test_a_budget_is_checked():
    assert proofs.parsed_budget({"steps": "5", "method": "lora"}) == {"steps": 5, "method": "lora"}
    with pytest.raises(UserError, match="Did you mean 'steps'"):
        proofs.parsed_budget({"stps": "5"})


def test_what_a_killed_worker_left_is_discarded(run):
    """Half-written weights of an arm are no part of the next attempt."""
    proof_id, job = proofs.start(asked(run), COST | {"steps": 2, "samples": 4, "learned": 2})
    left = settings().data_dir / "proofs" / str(proof_id) / "treatment"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    before = fingerprint(run)
    run_here(job)
    assert proofs.get_proof(proof_id).result is not None and fingerprint(run) == before
    assert not left.parent.exists()


@pytest.mark.slow
def test_training_again_from_the_base_sets_the_recipe_against_unchanged_data(
    tiny_project, import_rows, diagnose, tmp_path
):
    """All arms begin with the base and take as many rows; what is restored is told from chance."""
    run = diagnose(import_rows(tiny_project.rows[:40]), tiny_project.final, base=tiny_project.base, max_draws=0)
    request = asked(run, "under_optimised")
    with pytest.raises(UserError, match="Did you mean 'epochs'"):
        proofs.parsed_budget({"epoch": "2"}, retrain=True)
    cost = {"epochs": "4", "samples": 6, "learned": 6, "learning_rate": 2e-3}
    proof_id, job = proofs.start(request, cost, retrain=True)
    run_here(job)
    proof = proofs.get_proof(proof_id)
    assert set(proof.arms) == {"before", "treatment", "again", "control", "off_target"}
    arms = proof.result["arms"]
    assert len({arm["training"]["steps"] for arm in arms.values()}) == 1
    assert arms["treatment"]["training"]["guard"] is None
    assert set(proof.result["against"]) == {"again", "control", "off_target"}
    assert proof.result["outcome"] in ("specific", "works", "open", "against")
    assert proof.result["course"][0] == "epochs 4 (as chosen)"
    told = proofs.in_words(proof)
    assert "training again unchanged restored" in told[0] and "by chance" in told[2]


def test_training_again_needs_the_base(run):
    with pytest.raises(UserError, match="base that this training began with"):
        proofs.start(asked(run), {}, retrain=True)
