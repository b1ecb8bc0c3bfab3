"""What a proof showed stands beside the verdicts, leaves their confidence alone, and outlives judging anew."""

import json

import pytest

from core.filters import from_query
from core.plugins import kinds
from core.services import exports, judging, proofs, proven, runs, samples
from core.types import Filter
from core.worker.here import run_here
from db import proofs as table
from db import verdicts as verdict_table
from db.session import database

RESULT_ARM = {"recovered": {"k": 3, "n": 4, "share": 0.75, "low": 0.3, "high": 0.95}, "lost": None}


@pytest.fixture
def run(along_run):
    return along_run


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


def test_a_proof_says_of_each_sample_what_brought_it_back_and_moves_no_confidence(run):
    before = verdicts_of(run)
    named = [v for v in before.values() if v["cause"] in kinds("causes")]
    cause = max({v["cause"] for v in named}, key=lambda c: sum(v["cause"] == c for v in named))
    own = [v["id"] for v in named if v["cause"] == cause][:2]
    other = next(v["id"] for v in before.values() if v["cause"] != cause)
    number = a_proof(run, cause, [*own, other], [0, 1, 1], [0, 1, 0], [0, 1, 0])
    after = verdicts_of(run)
    for sid, pattern in zip(own, ("nothing", "the uniform mix"), strict=True):
        assert after[sid]["proof"] == pattern and "Of 4 samples" in after[sid]["reasons"][-1]
        assert after[sid] | {"proof": None, "reasons": after[sid]["reasons"][:-1]} == before[sid]
    assert all(after[sid] == before[sid] for sid in set(before) - set(own))
    view = samples.sample(run.id, own[0], Filter())
    assert len(view.verdict.proof) == 1 and "neither recipe" in view.verdict.proof[0].text
    chosen = from_query("proof=nothing", runs.get_run(run.id).columns)
    with database().reading() as conn:
        assert verdict_table.count(conn, runs.get_run(run.id), chosen) == 1
    # Judged anew, the same stands there.
    run_here(judging.start_rejudge(run.id, run.thresholds))
    assert verdicts_of(run) == after
    # A later proof speaks in place of an earlier one.
    later = a_proof(run, cause, own[:1], [1], [0], [1])
    assert verdicts_of(run)[own[0]]["proof"] == "both recipes"
    proofs.delete(later)
    assert verdicts_of(run) == after
    proofs.delete(number)
    assert verdicts_of(run) == before
