"""Proofs are kept arm by arm and go with their run."""

import pytest

from core.errors import UserError
from db import proofs, runs


@pytest.fixture
def run(make_dataset, make_sample, make_run):
    return make_run(make_dataset([make_sample(0)]).id)


def test_arms_are_added_one_by_one_and_the_result_closes_the_proof(db, run):
    with db.writing() as conn:
        first = proofs.add(conn, run.id, "replay", "left_side_forgetting", {"filter": "é"}, clock=lambda: 5.0)
        second = proofs.add(conn, run.id, "other", None, {})
        proofs.set_job(conn, first, 9)
    with db.writing() as conn:
        proofs.add_arm(conn, first, "before", {"right": [0, 1]})
    with db.writing() as conn:
        proofs.add_arm(conn, first, "control", {"right": [1, None]})
        proofs.add_arm(conn, first, "before", {"right": [1]})
    with db.reading() as conn:
        found = proofs.get(conn, first)
        assert [p.id for p in proofs.list_proofs(conn, run.id)] == [second, first]
        assert proofs.list_proofs(conn, run.id + 1) == []
    assert found.arms == {"before": {"right": [1]}, "control": {"right": [1, None]}}
    assert (found.result, found.finished, found.job_id, found.created) == (None, None, 9, 5.0)
    assert (found.cause, found.request) == ("left_side_forgetting", {"filter": "é"})
    with db.writing() as conn:
        proofs.finish(conn, first, {"outcome": "open"}, clock=lambda: 7.0)
        proofs.remove(conn, second)
    with db.reading() as conn:
        assert proofs.get(conn, first).result == {"outcome": "open"}
        assert proofs.get(conn, first).finished == 7.0
        assert len(proofs.list_proofs(conn, run.id)) == 1


def test_a_proof_goes_with_its_run_and_nothing_is_stored_for_one_that_is_gone(db, run):
    with db.writing() as conn:
        proof = proofs.add(conn, run.id, "replay", None, {})
    with db.writing() as conn:
        runs.delete_run(conn, run.id)
    for attempt in (proofs.get, lambda c, p: proofs.add_arm(c, p, "before", {}), lambda c, p: proofs.finish(c, p, {})):
        with pytest.raises(UserError, match="no proof"), db.writing() as conn:
            attempt(conn, proof)
