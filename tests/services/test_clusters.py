"""Grouping as a job, its groups under a filter, rows picked on the map."""

import numpy as np
import pytest

from core.errors import UserError
from core.filters import from_query
from core.services import clusters, exports, judging, runs
from core.types import Filter, Thresholds
from core.worker.here import run_here
from db import groups as table
from db.session import database


@pytest.fixture
def grouped(along_run):
    run_here(clusters.request(along_run.id))
    return along_run


def test_a_run_without_groups_has_none(along_run):
    assert clusters.grouping(along_run.id, Filter()) is None
    assert clusters.points(along_run.id, Filter()).sids == ()
    with pytest.raises(UserError, match="tfidf"):
        clusters.request(along_run.id, "telepathy")


def test_groups_cover_the_unlearned_and_agree_with_the_filter(grouped):
    found = clusters.grouping(grouped.id, Filter())
    unlearned = exports.count(grouped.id, from_query("status=unlearned", grouped.columns))
    assert found.rows == unlearned
    assert sum(g.size for g in found.groups) + found.outside == unlearned
    assert not found.stale
    assert found.groups
    for group in found.groups:
        assert group.matching == group.size
        chosen = from_query(f"cluster={group.name}", grouped.columns)
        assert exports.count(grouped.id, chosen) == group.size
        assert group.lift > 0
        for part in group.parts:
            assert exports.count(grouped.id, from_query(f"cluster={part.name}", grouped.columns)) == part.size
    names = ",".join(g.name for g in found.groups)
    rest = exports.count(grouped.id, from_query(f"cluster!={names}", grouped.columns))
    assert rest == grouped.n_samples - sum(g.size for g in found.groups)
    narrowed = clusters.grouping(grouped.id, from_query("stage=1", grouped.columns))
    assert 0 < sum(g.matching for g in narrowed.groups) + narrowed.outside < unlearned


def test_a_second_grouping_is_the_same(grouped):
    before = clusters.points(grouped.id, Filter())
    run_here(clusters.request(grouped.id))
    assert clusters.points(grouped.id, Filter()) == before


def test_moved_limits_make_the_groups_stale(grouped):
    run_here(judging.start_rejudge(grouped.id, Thresholds(unlearned_below=0.9, certainty=0.6)))
    assert clusters.grouping(grouped.id, Filter()).stale


def test_rows_inside_an_outline_become_a_short_condition(grouped):
    points = clusters.points(grouped.id, Filter())
    x, y = np.median(points.x), max(points.y) + 1
    corners = [(min(points.x) - 1, min(points.y) - 1), (x, min(points.y) - 1), (x, y), (min(points.x) - 1, y)]
    term, n = clusters.pick_inside(grouped.id, Filter(), corners)
    wanted = {s for s, px in zip(points.sids, points.x, strict=True) if px < x}
    assert clusters.pick_inside(grouped.id, Filter(), corners) == (term, n) and n == len(wanted)
    kept = clusters.points(grouped.id, Filter((term,)))
    assert set(kept.sids) == wanted
    assert 0 < len(wanted) < len(points.sids)
    assert exports.count(grouped.id, Filter((term,))) == len(wanted)
    with pytest.raises(UserError, match="No row"):
        clusters.pick_inside(grouped.id, Filter(), [(90, 90), (91, 90), (91, 91)])


def test_sets_that_are_none(grouped):
    assert exports.count(grouped.id, from_query("picked=77", grouped.columns)) == 0
    with pytest.raises(UserError, match="not a set"):
        exports.count(grouped.id, from_query("cluster=x'); DROP TABLE runs; --", grouped.columns))


def test_the_map_draws_at_most_so_many_and_says_how_many_there_are(grouped, monkeypatch):
    monkeypatch.setattr(clusters, "MOST_POINTS", 10)
    points = clusters.points(grouped.id, Filter())
    assert len(points.sids) == 10 < points.total


def test_a_deleted_run_takes_its_groups_and_picks_along(grouped):
    clusters.pick(grouped.id, [1, 2])
    runs.delete_run(grouped.id)
    with database().reading() as conn:
        assert table.grouping(conn, grouped.id) is None
        assert (
            conn.exec_driver_sql("SELECT (SELECT count(*) FROM grouped) + (SELECT count(*) FROM picked)").scalar() == 0
        )


def test_more_samples_than_are_read():
    drawn = clusters._even(range(100), 10)
    assert drawn[0] == 0
    assert drawn[-1] == 99
    assert len(drawn) == 10
