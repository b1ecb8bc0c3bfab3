"""Training again: every arm sees as many rows, in its stages, with what it adds spread over all of them."""

from collections import Counter

import numpy as np
import pytest

from core.errors import UserError
from core.proof.retraining import BUDGET, MOST_LINES, Course, arm, as_file, course, lengths, stages_of
from core.recipes._base import Made
from core.types import RunFacts, TrainerState

STAGES = [np.arange(0, 20), np.arange(20, 50)]
COURSE = Course((4.0, 1.0), 8, 0.0, False, {})
ROWS = {i: Made(b"%d" % i, str(i), "dataset") for i in range(50)}
ADDED = [Made(b"new %d" % i, str(i), "statements") for i in range(10)]
NOBODY = np.empty(0, dtype=np.int64)


def trained(added=ADDED, left_out=NOBODY, shuffled=False, seed=1):
    of_dataset, n_added = lengths(STAGES, COURSE, len(ADDED), 1.0, NOBODY)
    parts = arm(STAGES, COURSE, of_dataset + n_added, len(added), n_added, seed, left_out, shuffled)
    return [[ROWS[at] if at >= 0 else added[-1 - at] for at in part.tolist()] for part in parts]


def test_all_arms_are_of_one_length_and_keep_the_proportions_of_the_stages():
    # 20 rows four times and 30 once; ten rows in 2.2 passes, the dataset's mean.
    assert lengths(STAGES, COURSE, 10, 1.0, NOBODY) == (110, 22)
    with_rows, alone = trained(), trained(added=[])
    assert [sum(len(stage) for stage in stages) for stages in (with_rows, alone)] == [132, 132]
    seen = Counter(row.source for stage in with_rows for row in stage if row.part == "dataset")
    assert {seen[str(i)] for i in range(20)} == {4} and {seen[str(i)] for i in range(20, 50)} == {1}
    added = Counter(row.raw for stage in with_rows for row in stage if row.part == "statements")
    assert sum(added.values()) == 22 and set(added.values()) == {2, 3}
    assert [len(stage) for stage in alone] == [96, 36]


def test_what_is_added_lies_evenly_over_the_whole_training():
    everything = [row for stage in trained() for row in stage]
    places = [i for i, row in enumerate(everything) if row.part == "statements"]
    assert max(np.diff([0, *places, len(everything)])) <= 2 * len(everything) / len(places)


def test_stages_come_in_order_unless_they_are_mixed():
    first, second = trained()
    assert {int(row.source) < 20 for row in first if row.part == "dataset"} == {True}
    assert {int(row.source) < 20 for row in second if row.part == "dataset"} == {False}
    (mixed,) = trained(shuffled=True)
    assert Counter(mixed) == Counter([*first, *second]) and mixed != [*first, *second]
    assert trained() == [first, second] and trained(seed=2) != [first, second]


def test_a_row_that_is_left_out_is_made_up_for_by_others():
    stages = trained(left_out=np.array([3, 25]))
    assert not {row.source for stage in stages for row in stage if row.part == "dataset"} & {"3", "25"}
    assert sum(len(stage) for stage in stages) == 132


def test_stages_that_follow_each_other_are_a_file_of_all_their_passes():
    file = as_file(STAGES, COURSE, 10, 1.0, 1, NOBODY, False)
    rows = [ROWS[at] if at >= 0 else ADDED[-1 - at] for at in file.places.tolist()]
    assert rows == [row for stage in trained() for row in stage] and (file.epochs, file.in_order) == (1.0, True)


@pytest.mark.parametrize("once", [True, False])
def test_a_file_that_is_shuffled_anyway_holds_each_row_once_where_all_have_as_many_passes(once):
    course = Course((3.0, 3.0 if once else 1.0), 8, 0.0, False, {})
    file = as_file(STAGES, course, 10, 1.0, 1, np.array([3, 25]), True)
    assert (file.epochs, file.in_order) == ((3.0, False) if once else (1.0, True))
    counts = Counter(file.places.tolist())
    assert not {3, 25} & counts.keys() and len(counts) == 48 + 10
    assert (set(counts.values()) == {1}) is once
    assert file.places.tolist() != sorted(file.places.tolist())


@pytest.mark.parametrize("epochs", [(2.0,), (4.0, 1.0), (2.0, 2.0)])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("out", [0, 10, 40, 50])
@pytest.mark.parametrize(("n_rows", "wanted"), [(50, 1.0), (7, 4.0), (7, 5.0)])
def test_a_file_holds_what_the_arm_of_a_proof_trains_on_whatever_is_left_out(epochs, shuffled, out, n_rows, wanted):
    stages = STAGES if len(epochs) == 2 else [np.arange(50)]
    course, left_out = Course(epochs, 8, 0.0, len(epochs) == 1, {}), np.arange(out)
    of_dataset, n_added = lengths(stages, course, n_rows, wanted, left_out)
    parts = arm(stages, course, of_dataset + n_added, n_rows, n_added, 1, left_out, shuffled)
    trained = Counter(np.concatenate(parts).tolist())
    file = as_file(stages, course, n_rows, wanted, 1, left_out, shuffled)
    assert Counter(file.places.tolist() * int(file.epochs)) == trained
    # Rows that stay have the passes of their stage, and those beside them what the recipe asks for.
    of_stage = {int(i): e for e, stage in zip(epochs, stages, strict=True) for i in stage if i >= out}
    assert {at: n for at, n in trained.items() if at >= 0} == of_stage
    mean = sum(e * len(stage) for e, stage in zip(epochs, stages, strict=True)) / 50
    assert {n for at, n in trained.items() if at < 0} <= {int(max(mean, wanted)), -(-max(mean, wanted) // 1)}
    assert sum(at < 0 for at in trained) == n_rows


def test_passes_that_would_fill_the_memory_are_refused():
    stages = [np.arange(100_000), np.arange(100_000, 200_000)]
    with pytest.raises(UserError, match="200,200,000 lines") as refused:
        as_file(stages, Course((1000.0, 1000.0), 8, 0.0, False, {}), 200, 1.0, 1, NOBODY, False)
    assert f"{MOST_LINES:,}" in refused.value.why and "order=shuffled" in str(refused.value)
    # The trainer counts these.
    mixed = Course((1000.0, 1000.0), 8, 0.0, True, {})
    assert len(as_file(stages, mixed, 200, 1.0, 1, NOBODY, False).places) == 200_200


def test_stages_come_in_the_order_of_the_training():
    assert [stage.tolist() for stage in stages_of(np.array([2, 2, 0, 2, 0, 1]))] == [[0, 1, 3], [2, 4], [5]]


def wanted(**values):
    return {s.name: s.default for s in BUDGET} | values


def test_what_nobody_chose_is_as_logged_and_else_by_default():
    plain = course(wanted(), RunFacts(), 2)
    assert (plain.epochs, plain.batch, plain.learning_rate, plain.shuffled) == ((3.0, 3.0), 8, 0.0, False)
    assert set(plain.origin.values()) == {"by default"}
    log = TrainerState("final", 100, 100, 2.0, 16, rates=((1, 1e-5), (2, 2e-5), (3, 0.0)))
    logged = course(wanted(epochs="5"), RunFacts(states=(log,)), 1)
    assert (logged.epochs, logged.batch, logged.learning_rate, logged.shuffled) == ((5.0,), 16, 2e-5, True)
    assert logged.origin == {"epochs": "as chosen", "batch": "as the training log says",
                             "learning_rate": "as the training log says"}  # fmt: skip
    assert course(wanted(epochs="8, 2", order="shuffled"), RunFacts(), 2).epochs == (8.0, 2.0)


@pytest.mark.parametrize("text", ["two", "1, 2, 3", "0", "1,", "-1"])
def test_epochs_that_cannot_be_meant_are_refused(text):
    with pytest.raises(UserError, match="how many epochs"):
        course(wanted(epochs=text), RunFacts(), 2)


@pytest.mark.parametrize("epochs", [(4.0, 1.0), (2.0, 1.0), (0.5, 0.5), (2.99, 2.99), (3.0, 3.0)])
@pytest.mark.parametrize("wanted", [1.0, 3.0, 4.0])
def test_every_row_beside_the_dataset_comes_as_often_as_it_needs(epochs, wanted):
    course = Course(epochs, 8, 0.0, False, {})
    mean = (20 * epochs[0] + 30 * epochs[1]) / 50
    of_dataset, n_added = lengths(STAGES, course, 10, wanted, NOBODY)
    parts = arm(STAGES, course, of_dataset + n_added, 10, n_added, 1, NOBODY, False)
    file = as_file(STAGES, course, 10, wanted, 1, NOBODY, True)
    for seen, passes in ((np.concatenate(parts), 1), (file.places, file.epochs)):
        often = [n * passes for at, n in Counter(seen.tolist()).items() if at < 0]
        assert len(often) == 10 and min(often) >= min(wanted, 2.99)
        assert max(often) < max(wanted, mean) + 1 and sum(often) == pytest.approx(n_added, abs=0.5)
    # The trainer counts the passes only where that gives each row enough.
    assert file.in_order is (epochs[0] != epochs[1] or wanted > round(epochs[0]))


def test_epochs_in_which_no_row_is_trained_on_are_refused():
    with pytest.raises(UserError, match=r"0\.001 epochs are not one row") as refused:
        lengths(STAGES, Course((0.001, 0.001), 8, 0.0, False, {}), 10, 3.0, NOBODY)
    assert "50 rows" in refused.value.why
