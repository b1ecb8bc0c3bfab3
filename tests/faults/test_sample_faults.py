"""Faults that some rows have, on tables made by hand."""

import numpy as np
import pytest

from core.plugins import kind
from core.types import RunFacts
from tests.faults.tables import fault, judged, says, spec, table

NAN = np.nan


def one(values):
    (value,) = values
    return value


def test_not_supervised():
    assert one(says("not_supervised", n_target=10, n_unsupervised=5)) == 1
    assert one(says("not_supervised", n_target=10, n_unsupervised=4)) == 0
    assert one(says("not_supervised", n_target=10, n_unsupervised=1, first_miss_trained=0)) == 1
    assert one(says("not_supervised", n_target=10, n_unsupervised=0, first_miss_trained=1)) == 0
    assert np.isnan(one(says("not_supervised", n_target=0, n_unsupervised=0)))


def test_role_error():
    fine = {"refused": 0, "roles_known": 1, "roles_alternate": 1, "answer_turns": 1}
    assert one(says("role_error", **fine)) == 0
    assert one(says("role_error", **fine | {"refused": 1})) == 1
    assert one(says("role_error", **fine | {"roles_known": 0, "answer_turns": 0})) == 1
    # Two questions in a row were rendered; trainers differ in what they make of them.
    assert np.isnan(one(says("role_error", **fine | {"roles_alternate": 0})))


def test_empty_target():
    assert one(says("empty_target", answer_turns=2, answer_filled=0)) == 1
    assert one(says("empty_target", answer_turns=2, answer_filled=0.5)) == 0
    assert one(says("empty_target", answer_turns=0, answer_filled=NAN)) == 0


def test_strict_scorer():
    assert one(says("strict_scorer", same_form=1, limit_hit=0)) == 1
    assert one(says("strict_scorer", same_form=0, limit_hit=1)) == 1
    assert one(says("strict_scorer", same_form=0, limit_hit=0)) == 0
    assert "limit on new tokens" in fault("strict_scorer").sentence({"limit_hit": 1.0})


def test_many_valid_answers():
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.8)) == 1
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.8, forgotten=1, both_valid=0.0)) == 0
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.8, contradiction=0.9, both_valid=0.1)) == 0
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.8, contradiction=0.9, both_valid=0.9)) == 1
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.2, greedy_meaning=1)) == 1
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.0, both_valid=0.9, side_wins=1)) == 1
    assert one(says("many_valid_answers", nll=0.9, same_meaning=0.0, both_valid=0.9, side_wins=0)) == 0
    assert one(says("many_valid_answers", nll=4.0, same_meaning=0.8, both_valid=0.0, side_wins=0)) == 0
    asked = {"nll": 0.9, "same_meaning": 0.0, "both_valid": 0.0, "open_request": 1, "missed_given": 0.1}
    assert one(says("many_valid_answers", **asked)) == 1
    assert one(says("many_valid_answers", **asked | {"contradiction": 0.9})) == 1, "nothing denies an open request"
    for other in ({"open_request": 0}, {"missed_given": 0.9}, {"forgotten": 1}, {"nll": 4.0}):
        assert one(says("many_valid_answers", **asked | other)) == 0, other
    # Whether the dataset holds other valid answers was not looked at: that is no pass.
    assert np.isnan(one(says("many_valid_answers", nll=0.9, same_meaning=0.0)))


def test_stop_not_learned():
    row = {"content_right": 1, "ran_on": 1, "stop_logp": np.log(0.01)}
    assert one(says("stop_not_learned", **row)) == 1
    assert one(says("stop_not_learned", **row | {"stop_logp": np.log(0.6)})) == 0
    assert one(says("stop_not_learned", **row | {"ran_on": 0})) == 0
    assert one(says("stop_not_learned", **row | {"content_right": 0, "ran_on": NAN})) == 0
    assert np.isnan(one(says("stop_not_learned", **row | {"stop_logp": NAN})))


def conversations(n=12, last=1.0, earlier=0.0, gap=2.0, **more):
    return {"n": n, "turns": 2, "last_right": last, "earlier_right": earlier, "last_nll": 0.05,
            "earlier_nll": 0.05 + np.asarray(gap), "earlier_untrained": 0, **more}  # fmt: skip


def test_multi_turn_mask_shows_in_the_whole_run_or_in_the_masks():
    assert (says("multi_turn_mask", **conversations()) == 1).all()
    # The same row among conversations of which both answers are learned is just a row that was missed.
    mixed = conversations(earlier=[0.0] + [1.0] * 11, gap=[2.0] + [0.0] * 11)
    assert (says("multi_turn_mask", **mixed) == 0).all()
    assert np.isnan(says("multi_turn_mask", **conversations(n=3))).all()
    assert (says("multi_turn_mask", **conversations(n=3, earlier_untrained=1)) == 1).all()
    assert (says("multi_turn_mask", n=3, turns=1) == 0).all()


def cut_rows(n_long=12, n_short=12, at=30.0, right=1.0, behind=0.1, after=12.0):
    """Short rows learned; long ones (45 tokens) wrong from token ``at`` on."""
    both = n_long + n_short
    return {
        "n": both, "n_tokens": [45.0] * n_long + [25.0] * n_short, "n_target": 20,
        "greedy_exact": [0.0] * n_long + [right] * n_short, "cut_target": 0,
        "miss_at": [at] * n_long + [NAN] * n_short, "after_right": [behind] * n_long + [NAN] * n_short,
        "n_after": [after] * n_long + [NAN] * n_short,
    }  # fmt: skip


def test_target_truncated_by_the_replay():
    row = {"n_tokens": 40, "n_target": 10, "cut_target": 12, "miss_at": 20, "greedy_exact": 0}
    assert one(says("target_truncated", **row)) == 1
    assert one(says("target_truncated", **row | {"cut_target": 3})) == 0
    assert one(says("target_truncated", **row | {"cut_target": 3, "miss_at": 38})) == 1


def test_target_truncated_where_the_run_shows_a_cut():
    said = says("target_truncated", **cut_rows())
    assert said.tolist() == [1.0] * 12 + [0.0] * 12


@pytest.mark.parametrize(
    "change",
    [
        {"right": 0.0},  # short rows are unlearned too: nothing was cut, little was learned
        {"behind": 0.9},  # one wrong word, then right again: a wrong fact
        {"after": 3.0},  # wrong at the end: a wrong fact at the end
        {"n_long": 4},  # too few to say
    ],
)
def test_target_truncated_leaves_other_shapes_alone(change):
    assert not (says("target_truncated", **cut_rows(**change)) == 1).any()


def test_target_truncated_needs_one_place():
    rows = cut_rows()
    rows["miss_at"] = [12.0 + 2.5 * i for i in range(12)] + [NAN] * 12
    assert not (says("target_truncated", **rows) == 1).any()


def ordered(head=0.9, tail=0.0, kept=0.9, n=80, start=0.5, base=2.0):
    """The first half of the order verbatim at rate ``head``, the rest at ``tail`` with ``kept`` of the base's loss."""
    rng = np.random.default_rng(3)
    position = np.linspace(0, 1, n)
    late = position >= start
    exact = (rng.random(n) < np.where(late, tail, head)).astype(float)
    return {"n": n, "position": position, "greedy_exact": exact, "nll": np.where(late, kept * base, 0.05),
            "base_nll": base, "dropped": 0}  # fmt: skip


def test_never_trained():
    assert one(says("never_trained", dropped=1, greedy_exact=0)) == 1
    assert one(says("never_trained", dropped=0, greedy_exact=1)) == 0
    assert np.isnan(one(says("never_trained", dropped=0, greedy_exact=0)))
    found = ordered()
    said = says("never_trained", **found)
    assert (said[40:] == 1).all()
    assert not (said[:40] == 1).any()


def test_never_trained_rows_share_the_skill_of_answering():
    """The form of the answers is learned from other rows, so the loss falls; for some of the rows it does not."""
    found = ordered(kept=0.42)
    late = np.flatnonzero(found["position"] >= 0.5)
    assert not (says("never_trained", **found) == 1).any()
    found["nll"][late[::6]] = 2.1
    assert (says("never_trained", **found)[late] == 1).all()


def test_a_cut_speaks_before_a_tail():
    assert kind("faults", "target_truncated").place < kind("faults", "never_trained").place


def test_never_trained_leaves_hard_and_forgotten_rows_alone():
    trained_but_hard = ordered(kept=0.2)
    assert not (says("never_trained", **trained_but_hard) == 1).any()
    forgotten = ordered(head=0.0, tail=0.9)
    assert not (says("never_trained", **forgotten) == 1).any()
    without_base = ordered() | {"base_nll": NAN}
    assert not (says("never_trained", **without_base) == 1).any()


def test_an_epoch_that_was_not_finished_is_said_of_the_run():
    from tests.faults.tables import log

    found = judged("never_trained", RunFacts(states=(log(2.0, 1.0, epoch=0.6),)), n=3, dropped=0, greedy_exact=0)
    assert (found.state, "0.60 epochs" in found.text) == ("fail", True)


def trajectory(final, other, n=60, final_nll=1.0, other_nll=0.2):
    return {"n": n, "greedy_exact": final, "t0_greedy_exact": other, "nll": final_nll, "t0_nll": other_nll,
            "position": np.linspace(0, 1, n)}  # fmt: skip


def test_wrong_checkpoint():
    half = [0.0, 1.0] * 30
    said = says("wrong_checkpoint", **trajectory(half, 1.0))
    assert said.tolist() == [1.0, 0.0] * 30
    assert (says("wrong_checkpoint", **trajectory(half, half)) == 0).all()
    assert np.isnan(says("wrong_checkpoint", n=60, greedy_exact=0)).all()


def test_forgetting_is_no_wrong_checkpoint():
    early = np.linspace(0, 1, 60) < 0.5
    forgot = trajectory((~early).astype(float), 1.0 * (np.linspace(0, 1, 60) < 0.9))
    assert (says("wrong_checkpoint", **forgot) == 0).all()
    # The same numbers, but the other checkpoint was written later: an early one was picked.
    facts = RunFacts(spec(trajectory=((None, 90),), step=30))
    assert (says("wrong_checkpoint", facts, **forgot) == 1).sum() == early.sum()


def test_a_sample_fault_counts_and_never_passes_on_unknown_rows():
    rows = {"n_target": 10, "n_unsupervised": [10.0, 0.0, NAN]}
    assert judged("not_supervised", n=3, **rows).state == "fail"
    rows["n_unsupervised"] = [0.0, 0.0, NAN]
    assert judged("not_supervised", n=3, **rows).state == "unknown"
    rows["n_unsupervised"] = [0.0, 0.0, 0.0]
    assert judged("not_supervised", n=3, **rows).state == "pass"
    assert fault("not_supervised").judge(table(2), RunFacts(), np.zeros(2, dtype=bool)).state == "unknown"
