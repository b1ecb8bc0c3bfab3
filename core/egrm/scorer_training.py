"""How a scorer is trained: early-stopped on questions held out, with the loss that ``scorer.py`` names.

Shapes: ``q`` questions, ``k`` paths of a question (padded), ``f`` inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.egrm.scorer import Scorer, head
from core.egrm.scorer_inputs import Encode, Labelled, ScorerSettings, batch_inputs, data_hash
from core.egrm.scorer_metrics import metrics
from core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def loss(scores: Tensor, labels: Tensor, mask: Tensor, alpha: float, delta: float, margin: float) -> Tensor:
    """The objective over padded questions, all (q, k); ``mask`` is True where there is a path.

    Huber: e²/2 up to δ, then δ(|e| − δ/2), mean over paths. Hinge: mean over all pairs of one question with different
    labels; questions without such a pair add nothing.
    """
    import torch

    e = (scores - labels).abs()
    huber = torch.where(e <= delta, e * e / 2, delta * (e - delta / 2))[mask].mean()
    better = (labels[:, :, None] > labels[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    gap = (scores[:, :, None] - scores[:, None, :])[better]
    hinge = torch.relu(margin - gap).mean() if gap.numel() else scores.sum() * 0
    return (1 - alpha) * huber + alpha * hinge


def train(
    data: Sequence[Labelled],
    settings: ScorerSettings,
    encode: Encode | None = None,
    encoder: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Scorer:
    """A scorer, early-stopped and measured on questions it was not trained on.

    Raises:
        UserError: too few questions, or too few with both right and wrong paths; an input that is not there.
    """
    mixed = sum(max(d.labels) > min(d.labels) for d in data if d.labels)
    if len(data) < 20 or mixed < 10:
        raise UserError(
            f"{len(data)} questions, {mixed} of them with both right and wrong paths, are too few to train a scorer.",
            "At least 20 questions and 10 mixed ones are needed, some of them held out.",
            "Run the routes on more items, or import labelled paths.",
        )
    rows = batch_inputs([(d.question, d.paths) for d in data], settings, encode)
    return train_inputs(data, rows, settings, encoder if settings.embeddings else "", progress)


def train_inputs(
    data: Sequence[Labelled],
    rows: Sequence[np.ndarray],
    settings: ScorerSettings,
    encoder: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Scorer:
    """As ``train``, from inputs computed before: one (k, f) array for each question."""
    import torch

    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(data))
    held = order[: max(1, round(settings.held_out * len(data)))]
    kept = order[len(held) :]
    x, y, mask = _padded(rows, [d.labels for d in data])
    seen = x[kept][mask[kept]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        w = _fresh(seen, settings.width, settings)
        fitted = [t.requires_grad_(True) for name, t in w.items() if name not in ("mean", "std")]
        optimiser = torch.optim.AdamW(fitted, lr=settings.lr, weight_decay=settings.weight_decay)
        best: tuple[float, int, dict[str, Tensor]] = (-math.inf, 0, {})
        for epoch in range(settings.epochs):
            if progress is not None:
                progress(epoch, settings.epochs)
            shuffled = rng.permutation(kept)
            for at in range(0, len(shuffled), settings.batch):
                rows_at = torch.from_numpy(shuffled[at : at + settings.batch])
                logits = head(w, x[rows_at], settings.width, settings.dropout, True)
                cost = loss(
                    torch.sigmoid(logits), y[rows_at], mask[rows_at], settings.alpha, settings.delta, settings.margin
                )
                optimiser.zero_grad()
                cost.backward()
                optimiser.step()
            value = -_held_loss(w, x[held], y[held], mask[held], settings)
            if value > best[0] + 1e-6:
                best = (value, epoch, {k: v.detach().clone() for k, v in w.items()})
            elif epoch - best[1] >= settings.patience:
                break
    scorer = Scorer(settings, encoder, best[2], {})
    scores = [scorer.score_inputs(rows[i]) for i in held]
    scorer.facts = {
        "data_hash": data_hash(data),
        "questions": len(data),
        "paths": sum(len(d.paths) for d in data),
        "held_out_questions": len(held),
        "epochs": best[1] + 1,
        "metrics": metrics([data[i] for i in held], scores),
    }
    return scorer


def _held_loss(w: Mapping[str, Tensor], x: Tensor, y: Tensor, mask: Tensor, settings: ScorerSettings) -> float:
    """The objective on held-out questions: less noisy than pairwise accuracy, which rests on few pairs."""
    import torch

    with torch.no_grad():
        scores = torch.sigmoid(head(w, x, settings.width))
    return float(loss(scores, y, mask, settings.alpha, settings.delta, settings.margin))


def _padded(rows: Sequence[np.ndarray], labels: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor, Tensor]:
    import torch

    k = max(len(r) for r in rows)
    x = torch.zeros(len(rows), k, rows[0].shape[1])
    y, mask = torch.zeros(len(rows), k), torch.zeros(len(rows), k, dtype=torch.bool)
    for i, (row, own) in enumerate(zip(rows, labels, strict=True)):
        x[i, : len(row)] = torch.from_numpy(np.asarray(row, dtype=np.float32))
        y[i, : len(row)] = torch.tensor(own, dtype=torch.float32)
        mask[i, : len(row)] = True
    return x, y, mask


def _fresh(seen: Tensor, numeric: int, settings: ScorerSettings) -> dict[str, Tensor]:
    import torch

    f = seen.shape[1]
    mean, std = seen.mean(0), seen.std(0, correction=0)
    # What never varied in training is no input: over a deviation near 0 its first other value would outweigh all.
    w = {"mean": mean, "std": torch.where(std > 1e-5 * (1 + mean.abs()), std, torch.inf)}
    width = numeric
    if f > numeric:
        w["project"] = torch.randn(f - numeric, settings.bottleneck) / math.sqrt(f - numeric)
        width += settings.bottleneck
    if settings.hidden:
        w["w1"] = torch.randn(width, settings.hidden) * math.sqrt(2 / max(width, 1))
        w["b1"] = torch.zeros(settings.hidden)
        w["w2"] = torch.randn(settings.hidden, 1) / math.sqrt(settings.hidden)
    else:
        w["w2"] = torch.zeros(width, 1)
    w["b2"] = torch.zeros(())
    return w
