"""What would pay: rows that may come back less rows that may be lost, from proofs, else from worlds, else unknown."""

import numpy as np
import pytest

from core.filters import from_query
from core.proof import expected
from core.services import advice, runs
from core.statistics import wilson
from core.types import Filter
from db import proofs as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database


@pytest.fixture
def run(final_run):
    """The finished run with causes: 20 samples forgotten, 10 of missing knowledge, the rest learned."""
    with database().reading() as conn:
        order = sample_table.order(conn, final_run.spec.dataset_id)
        columns = verdict_table.verdict_columns(conn, final_run, [c.name for c in final_run.columns])
    places = np.array(order["ordinal"])
    cause = np.where(places < 20, "left_side_forgetting", "missing_knowledge").astype(object)
    cause[places >= 30] = None
    columns["cause"] = cause
    columns["status"] = np.where(places < 30, "unlearned", "learned").astype(object)
    with database().writing() as conn:
        verdict_table.write_verdicts(conn, final_run, columns, order["ordinal"], order["sid"])
    return runs.get_run(final_run.id)


@pytest.fixture
def worlds(monkeypatch):
    measured = {"missing_knowledge": {"go_on": {"worlds": ["sky"], "restored": [9, 10], "lost": [1, 50]}}}
    monkeypatch.setattr(expected, "_read", lambda: {"causes": measured})
    return measured


def by_way(options, cause):
    return {option.what: option for option in options if option.cause == cause}


def test_a_proof_counts_before_worlds_and_what_nothing_measured_is_unknown_and_last(run, worlds):
    learned = run.n_samples - 30
    options = advice.options(run.id, Filter())
    known = by_way(options, "missing_knowledge")["go_on"]
    assert known.restored == pytest.approx((9.0, *(10 * v for v in wilson(9, 10))))
    assert known.at_risk[0] == pytest.approx(learned / 50) and known.source == "1 planted world: sky"
    assert known.gain == pytest.approx(9 - learned / 50) and options[0] == known
    forgotten = by_way(options, "left_side_forgetting")
    assert (
        set(forgotten) == {"go_on", "accept"} and forgotten["go_on"].gain is None and options[-1] == forgotten["go_on"]
    )
    assert forgotten["go_on"].rows == 3 * 267 and forgotten["go_on"].seconds is None
    left_out = by_way(options, "missing_knowledge")["leave_out"]
    assert (left_out.gain, left_out.rows) == (0.0, 0) and "make things up" in left_out.source

    arm = {"recovered": {"k": 5, "n": 10}, "lost": {"k": 0, "n": 10}, "training": {"steps": 10}, "seconds": 16.0}
    with database().writing() as conn:
        request = {"budget": {"batch": 8}, "filter": "cause=missing_knowledge"}
        proof = table.add(conn, run.id, "missing_knowledge", "missing_knowledge", request)
        table.add_arm(conn, proof, "treatment", arm)
        table.finish(conn, proof, {"arms": {"treatment": arm}})
    options = advice.options(run.id, Filter())
    proven = by_way(options, "missing_knowledge")["go_on"]
    assert proven.restored[0] == 5.0 and proven.source == f"proof {proof}"
    # 16 s for 80 rows, on whatever recipe.
    assert proven.seconds == pytest.approx(0.2 * proven.rows)
    assert by_way(options, "left_side_forgetting")["go_on"].seconds == pytest.approx(0.2 * 3 * 267)


def test_a_real_model_counts_before_small_ones_and_is_named(run, worlds, monkeypatch):
    on_it = {"missing_knowledge": {"go_on": {"worlds": ["sea", "land"], "restored": [1, 10], "lost": [0, 50]}}}
    shipped = {"causes": worlds, "real": {"model": "Some-135M", "causes": on_it}}
    monkeypatch.setattr(expected, "_read", lambda: shipped)
    known = by_way(advice.options(run.id, Filter()), "missing_knowledge")["go_on"]
    assert known.restored[0] == 1.0 and known.source == "2 planted worlds around Some-135M: sea, land"


def test_a_filter_narrows_it_and_a_run_without_causes_has_none(run, final_run, worlds):
    chosen = from_query("cause=missing_knowledge", run.columns)
    assert {option.cause for option in advice.options(run.id, chosen)} == {"missing_knowledge"}
    assert advice.options(run.id, from_query("status=learned", run.columns)) == ()


def test_what_ships_can_be_read():
    for cause in ("missing_knowledge", "left_side_forgetting"):
        for way in ("go_on", "again"):
            measured = expected.on_worlds(cause, way)
            assert measured is None or (measured.worlds and measured.restored[0] <= measured.restored[1])
