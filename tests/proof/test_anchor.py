"""A training that is held to the checkpoint moves less where the checkpoint is right, and learns all the same."""

import numpy as np
import pytest

from core.backends._loading import load, pick_device
from core.proof.anchor import LIKELIEST, anchors, collated, divergence
from core.proof.copies import train_copy
from core.proof.guard import reproduced
from tests.proof.test_training import BUDGET


def distributions(model, row):
    import torch

    with torch.no_grad():
        return model(input_ids=torch.from_numpy(row.ids)[None]).logits[0].double().log_softmax(-1).numpy()


def test_the_divergence_is_that_of_the_likeliest_tokens_and_the_rest(final, rows):
    """Against sums over places and tokens, one by one."""
    import torch

    model = load(final, "float32", pick_device("cpu"))[0]
    row = max(rows, key=lambda r: len(r.ids))
    (anchor, none) = anchors(model, [row, rows[0]], np.array([True, False]))
    assert none is None and anchor.tokens.shape == (int(row.trained[1:].sum()), LIKELIEST)
    before = distributions(model, row)
    with torch.no_grad():
        model.model.norm.weight.mul_(0.5)
    now = distributions(model, row)
    expected = 0.0
    for place in np.flatnonzero(row.trained):
        if place == 0:
            continue
        order = np.argsort(-before[place - 1])
        near = order[:LIKELIEST]
        p, q = np.exp(before[place - 1][near]), np.exp(now[place - 1][near])
        expected += (p * np.log(p / q)).sum() + (1 - p.sum()) * np.log((1 - p.sum()) / (1 - q.sum()))
    logits = model(input_ids=torch.from_numpy(row.ids)[None]).logits
    measured = divergence(logits, collated([anchor], len(row.ids)))
    assert float(measured) == pytest.approx(expected, rel=1e-3) and expected > 0.01


def test_rows_that_are_right_move_less_when_they_are_held(final, rows, tmp_path):
    model = load(final, "float32", pick_device("cpu"))[0]
    right = reproduced(model, rows)
    kept = [row for row, held in zip(rows, right, strict=True) if held]
    assert len(kept) > 3 and not right.all()
    moved = {}
    for anchored in (False, True):
        out = tmp_path / str(anchored)
        out.mkdir()
        cost = BUDGET | {"anchored": anchored, "learning_rate": 2e-3, "batch": 8}
        copy, _ = train_copy(final, [rows * 4], out, cost, "cpu", lambda *_: None)
        trained = load(copy, "float32", pick_device("cpu"))[0]
        moved[anchored] = np.mean([
            (np.exp(distributions(model, r)) * (distributions(model, r) - distributions(trained, r))).sum(-1)[
                np.flatnonzero(r.trained[1:])
            ].mean()
            for r in kept
        ])  # fmt: skip
    assert moved[True] < 0.9 * moved[False]
