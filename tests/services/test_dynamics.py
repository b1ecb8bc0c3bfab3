"""Counts along the checkpoints against counting row by row."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.filters import from_query
from core.services import dynamics, runs
from core.types import Filter
from db import verdicts as verdict_table
from db.session import database


@pytest.fixture
def run(along_run):
    return along_run


def rows_of(run, names):
    with database().reading() as conn:
        columns = verdict_table.verdict_columns(conn, run, names)
    n = len(next(iter(columns.values())))
    return [{k: v[i] for k, v in columns.items()} for i in range(n)]


def test_counts_along_the_checkpoints(run):
    flags = ["base_greedy_exact", *(f"t{i}_greedy_exact" for i in range(3))]
    rows = rows_of(run, [*flags, "status", "stage"])
    found = dynamics.dynamics(run.id, Filter())
    assert [s.place for s in found.stops] == pytest.approx([0, 20 / 72, 41 / 72, 56 / 72, 1])
    for track in (found.whole, *found.stages):
        mine = [r for r in rows if track.name is None or r["stage"] == track.name]
        assert track.rows == len(mine)
        paths = [[*(r[f] for f in flags), {"learned": 1.0, "unknown": np.nan}.get(r["status"], 0.0)] for r in mine]
        for i in range(5):
            assert track.given[i] == sum(p[i] == 1 for p in paths)
            assert track.known[i] == sum(np.isfinite(p[i]) for p in paths)
            assert track.gained[i] == (sum(p[i - 1] == 0 and p[i] == 1 for p in paths) if i else 0)
            assert track.lost[i] == (sum(p[i - 1] == 1 and p[i] == 0 for p in paths) if i else 0)
    assert [s.name for s in found.stages] == ["1", "2"]
    assert sum(found.whole.lost) > 0
    assert sum(found.whole.gained) > 10


def test_the_filter_drives_everything(run):
    chosen = from_query("stage=1&status=unlearned", run.columns)
    found = dynamics.dynamics(run.id, chosen)
    rows = [r for r in rows_of(run, ["stage", "status"]) if r == {"stage": "1", "status": "unlearned"}]
    assert found.whole.rows == len(rows) == sum(sum(p.status.values()) for p in found.order)
    assert len(dynamics.data_map(run.id, chosen).sids) == len(rows)
    assert dynamics.dynamics(run.id, from_query("q=no row says this", run.columns)).whole is None


def test_parts_of_the_order_cover_every_row_once(run):
    found = dynamics.dynamics(run.id, Filter())
    spans = [(p.low, p.high) for p in found.order]
    assert [i for low, high in spans for i in range(low, high + 1)] == list(range(run.n_samples))
    status = [r["status"] for r in rows_of(run, ["status"])]
    for part in found.order:
        mine = status[part.low : part.high + 1]
        assert part.status == {s: mine.count(s) for s in set(mine)}


def test_the_map_is_an_even_draw_that_stays_the_same(run, monkeypatch):
    whole = dynamics.data_map(run.id, Filter())
    confidence = [r["dynamics_confidence"] for r in rows_of(run, ["dynamics_confidence"])]
    assert list(whole.y) == confidence
    assert whole.total == len(whole.sids) == run.n_samples
    monkeypatch.setattr(dynamics, "MOST_POINTS", 30)
    some = dynamics.data_map(run.id, Filter())
    assert some == dynamics.data_map(run.id, Filter())
    assert 15 <= len(some.sids) <= 30
    assert some.total == run.n_samples
    assert set(some.sids) < set(whole.sids)


def test_without_a_trajectory(run, monkeypatch):
    alone = replace(run, spec=replace(run.spec, base=None, trajectory=()))
    monkeypatch.setattr(dynamics, "get_run", lambda _: alone)
    assert not dynamics.has_trajectory(alone)
    found = dynamics.dynamics(run.id, Filter())
    assert [s.label for s in found.stops] == ["final"]
    assert found.whole.lost == (0,)
    assert found.order


def test_the_log_is_read_where_there_is_one_and_missed_nowhere(run, tmp_path):
    assert dynamics.losses(run)
    log = [
        {"step": 5, "loss": 2.0},
        {"step": 9, "eval_loss": 1.0},
        {"step": 10, "loss": float("nan")},
        {"step": 11, "loss": 1},
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    there = replace(run.spec.final, path=str(tmp_path))
    assert dynamics.losses(replace(run, spec=replace(run.spec, final=there))) == ((5, 2.0), (11, 1.0))
    gone = [replace(c, path=str(Path("/nowhere") / c.label)) for c in (run.spec.final, *run.spec.trajectory)]
    lost = replace(run, spec=replace(run.spec, final=gone[0], trajectory=tuple(gone[1:])))
    assert dynamics.losses(lost) == ()


def test_a_run_judged_before_flags_were_kept_says_what_to_do(run, monkeypatch):
    columns = tuple(c for c in run.columns if c.name != "t1_greedy_exact")
    monkeypatch.setattr(dynamics, "get_run", lambda _: replace(run, columns=columns))
    with pytest.raises(UserError, match="Judge it again"):
        dynamics.dynamics(run.id, Filter())


def test_forgotten_is_what_the_events_say(run):
    rows = rows_of(run, ["t0_greedy_exact", "t1_greedy_exact", "t2_greedy_exact", "forgotten", "status"])
    for r in rows:
        once = 1 in (r["t0_greedy_exact"], r["t1_greedy_exact"], r["t2_greedy_exact"])
        assert r["forgotten"] == (once and r["status"] != "learned")
    assert 0 < sum(r["forgotten"] for r in rows) < len(rows)
    assert runs.get_run(run.id).n_samples == len(rows)
