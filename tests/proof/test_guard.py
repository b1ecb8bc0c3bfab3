"""Rows that must hold decide how much of a training is kept, and when it stops."""

import copy

import numpy as np
import pytest

from core.proof.copies import train_copy
from core.proof.guard import FEWEST, Guard, reproduced
from tests.proof.test_training import BUDGET


def told_one_by_one(model, rows):
    """Whether each target is the first choice of every place, a row at a time."""
    import torch

    right = []
    for row in rows:
        with torch.no_grad():
            first = model(torch.from_numpy(row.ids)[None]).logits[0].argmax(-1).numpy()
        right.append(all(first[i - 1] == row.ids[i] for i in np.flatnonzero(row.target) if i))
    return right


def test_rows_are_told_alike_in_batches_and_alone(model, rows):
    right = reproduced(model, rows)
    assert right.tolist() == told_one_by_one(model, rows) and 0 < right.sum() < len(rows)


def harmed(model):
    """The model with its last norm turned round: from halfway there on, no first choice is what it was."""
    import torch

    worse = copy.deepcopy(model)
    with torch.no_grad():
        worse.model.norm.weight.neg_()
    return worse


def test_the_farthest_point_is_kept_at_which_the_rows_hold(model, rows):
    guard = Guard(model, rows, 1.0)
    assert guard.decides and reproduced(model, guard.rows).all()
    start = model.model.norm.weight.detach().clone()
    model.load_state_dict(harmed(model).state_dict())
    told = guard.settle(model)
    assert (told["scale"], told["held_trained"], told["held"]) == (0.4, 0.0, 1.0)
    assert told["rows"] == len(guard.rows) and guard.share(model) == 1.0
    assert model.model.norm.weight.detach().numpy() == pytest.approx((start * 0.2).numpy())


def test_without_harm_everything_is_kept_and_too_few_rows_decide_nothing(model, rows):
    assert Guard(model, rows, 0.9).settle(model)["scale"] == 1.0
    right = [row for row, held in zip(rows, reproduced(model, rows), strict=True) if held]
    few = Guard(model, right[: FEWEST - 1], 1.0)
    model.load_state_dict(harmed(model).state_dict())
    assert not few.decides and few.settle(model)["scale"] == 1.0


def test_training_that_only_harms_stops_and_is_undone(final, rows, tmp_path):
    """A rate far too high: every learned row is lost at once, and nothing of it is kept."""
    out = tmp_path / "arm"
    out.mkdir()
    cost = BUDGET | {"learning_rate": 0.5, "batch": 4}
    _, facts = train_copy(final, [rows * 4], out, cost, "cpu", lambda *_: None, guarded=rows)
    told = facts["guard"]
    assert told["stopped"] == facts["steps"] < 40
    assert told["held_trained"] < 0.5 and told["scale"] < 0.2 and told["held"] >= 0.98
