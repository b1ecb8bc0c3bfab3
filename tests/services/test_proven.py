"""What a proof showed stands beside the verdicts, moves their confidence, and outlives judging anew."""

import json

import pytest

from core.filters import from_query
from core.judge.diagnose import CAUSES
from core.proof.causal import moved
from core.services import exports, proofs, proven, results, runs
from core.types import Filter
from core.worker.here import run_here
from db import proofs as table
from db import verdicts as verdict_table
from db.session import database

RATIOS = {"nothing": 0.5, "the uniform mix": 0.8, "both recipes": 1.5}
RESULT_ARM = {"recovered": {"k": 3, "n": 4, "share": 0.75, "low": 0.3, "high": 0.95}, "lost": None}


@pytest.fixture
def run(tiny_project, stored, diagnose):
    return diagnose(stored, tiny_project.final, tiny_project.base, tiny_project.checkpoints)


def verdicts_of(run):
    return {v["id"]: v for v in map(json.loads, exports.verdict_lines(run.id))}


def a_proof(run, recipe, samples, treatment, control, off_target):
    arms = {n: {"right": r} for n, r in zip(("treatment", "control", "off_target"), (treatment, control, off_target),
                                            strict=True)}  # fmt: skip
    result = {"samples": samples, "n": 4, "outcome": "works", "arms": dict.fromkeys(arms, RESULT_ARM)}
    with database().writing() as conn:
        number = table.add(conn, run.id, recipe, recipe, {"filter": ""})
        for name, arm in arms.items():
            table.add_arm(conn, number, name, arm)
        table.finish(conn, number, result)
        proven.write(conn, runs.get_run(run.id))
    return number


def test_a_proof_moves_what_it_measured_and_nothing_else(run, monkeypatch):
    monkeypatch.setattr("core.proof.causal.ratios", lambda: dict.fromkeys(CAUSES, RATIOS))
    before = verdicts_of(run)
    named = [v for v in before.values() if v["cause"] in CAUSES]
    cause = max({v["cause"] for v in named}, key=lambda c: sum(v["cause"] == c for v in named))
    mine = [v["id"] for v in named if v["cause"] == cause][:2]
    other = next(v["id"] for v in before.values() if v["cause"] != cause)
    number = a_proof(run, cause, [*mine, other], [0, 1, 1], [0, 1, 0], [0, 1, 0])
    after = verdicts_of(run)
    for sid, shown in zip(mine, ("nothing", "the uniform mix"), strict=True):
        own = before[sid]["confidence"]
        assert after[sid]["proof"] == shown and after[sid]["confidence_before_proof"] == pytest.approx(own, rel=1e-5)
        assert after[sid]["confidence"] == pytest.approx(moved(cause, own, shown), rel=1e-4)
        assert "Of 4 samples" in after[sid]["reasons"][-1]
    for sid in set(before) - set(mine):
        assert {k: v for k, v in after[sid].items() if k != "reasons"} == {
            k: v for k, v in before[sid].items() if k != "reasons"
        }
    view = results.sample(run.id, mine[0], Filter())
    assert len(view.tried) == 1 and "neither recipe" in view.tried[0].text
    assert view.values["confidence_before_proof"] == pytest.approx(before[mine[0]]["confidence"], rel=1e-5)
    chosen = from_query("proof=nothing", runs.get_run(run.id).columns)
    with database().reading() as conn:
        assert verdict_table.count(conn, runs.get_run(run.id), chosen) == 1
    # Judged anew, the same stands there.
    run_here(runs.start_rejudge(run.id, run.thresholds))
    assert verdicts_of(run) == after
    # A later proof speaks in place of an earlier one, from the machine's own confidence on.
    later = a_proof(run, cause, mine[:1], [1], [0], [1])
    again = verdicts_of(run)[mine[0]]
    assert again["proof"] == "both recipes"
    own = before[mine[0]]["confidence"]
    assert again["confidence"] == pytest.approx(moved(cause, own, "both recipes"), rel=1e-4)
    # Without proofs the machine's own confidence is back.
    proofs.delete(later)
    assert verdicts_of(run) == after
    proofs.delete(number)
    assert verdicts_of(run) == before
