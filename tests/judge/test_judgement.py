"""Judging a table of signals."""

import numpy as np

from core.causes import UNDETERMINED
from core.judge.judgement import judge
from core.types import Checkpoint, RunSpec, SignalTable, Status, Thresholds

SPEC = RunSpec(
    1, "data", Checkpoint("final", None, None, "final", "f"), base=Checkpoint("base", None, None, "base", "b")
)


def judged(near_tie, hits, **more):
    """Rows that differ in a near tie and in how many of ten draws were right; all else speaks for one cause."""
    n = len(near_tie)
    same = {"turns": 1, "turns_asked": 1, "greedy_exact": 0, "score": 0, "right_80": 0, "draws": 10, "contradiction": 1,
            "same_question": 1, "missed_new": 1, "base_known_sampled": 0, "base_known_greedy": 0}  # fmt: skip
    columns = {name: np.full(n, float(value)) for name, value in same.items()}
    columns |= {name: np.full(n, value) for name, value in more.items()}
    columns |= {"near_tie": np.array(near_tie, float), "hits_80": np.array(hits, float)}
    return judge(SPEC, SignalTable(tuple("abcd"[:n]), columns), Thresholds())


def test_no_cause_is_named_where_rounding_decides_whether_a_row_is_learned():
    found = judged([0, 1, 1, np.nan], [5, 5, 0, 5])
    assert found.status.tolist() == [Status.PARTLY, Status.PARTLY, Status.UNLEARNED, Status.PARTLY]
    named = found.cause[0]
    assert named not in (None, UNDETERMINED)
    assert found.cause.tolist() == [named, UNDETERMINED, named, named]
    assert np.isnan(found.columns["confidence"]).tolist() == [False, True, False, False]


def test_what_cannot_be_judged_is_not_undetermined():
    names = ("contradiction", "same_question", "missed_new", "base_known_sampled", "base_known_greedy")
    nothing = dict.fromkeys(names, np.nan)
    found = judged([0, 1], [5, 5], **nothing)
    assert found.cause.tolist() == [found.cause[0]] * 2
