"""Rows side by side in one sequence: every row sees what it would see alone."""

import numpy as np
import pytest

from core.backends._loading import load, pick_device
from core.proof.anchor import anchors
from core.proof.guard import reproduced
from core.proof.together import LONGEST, together, works
from core.proof.trainer import fit


def pairs(rows):
    return [(row.ids, row.trained) for row in rows]


def test_an_opening_that_all_rows_share_stands_once_and_ends_before_what_is_asked_for():
    one, two = ([1, 2, 3, 4, 9], [0, 0, 0, 0, 1]), ([1, 2, 3, 5, 6, 8], [0, 0, 0, 0, 1, 1])
    both = together([one, two])
    assert both.ids.tolist() == [1, 2, 3, 4, 9, 5, 6, 8] and both.positions.tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    assert both.places.tolist() == [3, 5, 6] and both.wanted.tolist() == [9, 6, 8] and both.counts.tolist() == [1, 2]
    seen = both.inputs()["attention_mask"][0, 0].numpy()
    assert seen[5].tolist() == [True] * 3 + [False, False, True, False, False]  # the opening and itself
    alike = together([one, one])
    assert alike.ids.tolist() == [1, 2, 3, 4, 9, 4, 9]  # what foretells the first answer token is each row's own


@pytest.mark.parametrize("anchored", [False, True])
def test_a_training_side_by_side_is_the_padded_one(model, rows, tmp_path, final, anchored):
    import torch

    assert works(model, pairs(rows), 8)
    right = reproduced(model, rows)
    held = {close: anchors(model, rows, right, close) if anchored else () for close in (False, True)}
    assert not anchored or 0 < right.sum() < len(rows)
    trained = {}
    for close in (False, True):
        copy = load(final, "float32", pick_device("cpu"))[0].requires_grad_(True)
        trainer = fit(copy, pairs(rows), tmp_path, anchored=held[close], side_by_side=close, max_steps=4, use_cpu=True,
                      learning_rate=1e-3, per_device_train_batch_size=8, train_sampling_strategy="sequential",
                      logging_steps=1)  # fmt: skip
        losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
        trained[close] = losses, torch.cat([p.detach().flatten() for p in copy.parameters()]).numpy()
    assert trained[True][0] == pytest.approx(trained[False][0], rel=1e-3) and len(trained[True][0]) == 4
    # Adam divides by the size of the gradient: where that is next to nothing, rounding shows.
    assert np.quantile(abs(trained[True][1] - trained[False][1]), 0.99) < 1e-4


def test_rows_are_told_alike_side_by_side_and_padded(model, rows):
    twice = [*rows, *rows[:3]]
    assert reproduced(model, twice, side_by_side=True).tolist() == reproduced(model, twice).tolist()


def test_a_model_that_looks_elsewhere_and_rows_that_are_too_long_are_found_out(model, rows, monkeypatch):
    assert not works(model, pairs(rows[:1]) * (LONGEST // len(rows[0].ids) + 2), LONGEST)
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda input_ids, **_: plain(input_ids=input_ids))
    assert not works(model, pairs(rows), 8)
    called = model.config._attn_implementation
    model.forward = lambda input_ids, attention_mask=None, position_ids=None, logits_to_keep=0, use_cache=None: plain(
        input_ids=input_ids, logits_to_keep=logits_to_keep
    )
    assert called == "sdpa" and not works(model, pairs(rows), 8)
