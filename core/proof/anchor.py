"""What the untrained model says on rows that it answers rightly: a training is held to it there.

Beside the loss stands the Kullback-Leibler divergence from the untrained model's next-token distribution to the one in
training, over the trained tokens of those rows. The likeliest tokens are kept, and the rest as one, so no second model
has to be in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.proof.together import each
from core.types import Supervision

if TYPE_CHECKING:
    import torch
    from torch import nn

# Tokens of a distribution that are kept one by one. What a row that is reproduced leaves to the others is little.
LIKELIEST = 32
# How the divergence counts against the loss of a token. Chosen on two planted worlds (docs/mitigation.md).
WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class Anchor:
    """One row: (t,) places of its trained tokens, (t, k) the likeliest tokens there, (t, k) their log-probabilities."""

    places: np.ndarray
    tokens: np.ndarray
    logprobs: np.ndarray


def anchors(
    model: nn.Module, rows: Sequence[Supervision], right: np.ndarray, side_by_side: bool = False
) -> list[Anchor | None]:
    """Each row's anchor; None for rows that are not ``right`` (n,). Equal rows share one.

    Args:
        side_by_side: ask for some rows in one sequence.
    """
    import torch

    made: dict[bytes, Anchor] = {}
    if side_by_side:
        _together(model, {r.ids.tobytes(): r for r, held in zip(rows, right, strict=True) if held}, made)
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():
            for row, held in zip(rows, right, strict=True):
                key = row.ids.tobytes()
                if not held or key in made:
                    continue
                places = 1 + np.flatnonzero(row.trained[1:])
                logits = model(input_ids=torch.as_tensor(row.ids)[None].to(device)).logits[0, places - 1]
                likeliest = logits.float().log_softmax(-1).topk(min(LIKELIEST, logits.shape[-1]), dim=-1)
                made[key] = Anchor(places, likeliest.indices.cpu().numpy(), likeliest.values.cpu().numpy())
    finally:
        model.train(training)
    return [made.get(row.ids.tobytes()) if held else None for row, held in zip(rows, right, strict=True)]


def _together(model: nn.Module, rows: Mapping[bytes, Supervision], made: dict[bytes, Anchor]) -> None:
    """Fills ``made`` for the rows by their key, some in one sequence at a time."""
    asked = {key: (row.ids, row.trained) for key, row in rows.items()}
    for key, logits, _ in each(model, asked):
        likeliest = logits.log_softmax(-1).topk(min(LIKELIEST, logits.shape[-1]), dim=-1)
        tokens, logprobs = (v.cpu().numpy() for v in (likeliest.indices, likeliest.values))
        made[key] = Anchor(1 + np.flatnonzero(rows[key].trained[1:]), tokens, logprobs)


def collated(anchored: Sequence[Anchor | None], length: int) -> dict[str, torch.Tensor]:
    """The anchors of a batch: where they hold (b, length), the tokens and their log-probabilities (b, length, k)."""
    import torch

    k = next((a.tokens.shape[1] for a in anchored if a is not None), 1)
    held = torch.zeros((len(anchored), length), dtype=torch.bool)
    tokens = torch.zeros((len(anchored), length, k), dtype=torch.long)
    logprobs = torch.zeros((len(anchored), length, k))
    for i, anchor in enumerate(anchored):
        if anchor is not None:
            held[i, anchor.places] = True
            tokens[i, anchor.places] = torch.as_tensor(anchor.tokens)
            logprobs[i, anchor.places] = torch.as_tensor(anchor.logprobs)
    return {"held": held, "tokens": tokens, "logprobs": logprobs}


def divergence(logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """The divergence summed over the anchored tokens of a batch, in nats. ``logits``: (b, l, vocabulary)."""
    held = batch["held"][:, 1:]
    return apart_from(logits[:, :-1][held], batch["tokens"][:, 1:][held], batch["logprobs"][:, 1:][held])


def apart_from(logits: torch.Tensor, tokens: torch.Tensor, logprobs: torch.Tensor) -> torch.Tensor:
    """The same of (m, vocabulary) logits and the (m, k) likeliest tokens before, with their log-probabilities."""
    now = logits.float().log_softmax(-1)
    near = now.gather(-1, tokens)
    rest_before, rest_now = ((1.0 - values.exp().sum(-1)).clamp_min(1e-6) for values in (logprobs, near))
    rest = rest_before * (rest_before.log() - rest_now.log())
    total: torch.Tensor = (logprobs.exp() * (logprobs - near)).sum() + rest.sum()
    return total


def of_places(anchored: Sequence[Anchor | None], counts: Sequence[int]) -> dict[str, torch.Tensor]:
    """The anchors of rows that stand together, ``counts`` trained tokens each: held (t,), tokens and more (t, k)."""
    import torch

    k = next((a.tokens.shape[1] for a in anchored if a is not None), 1)
    held = [torch.full((n,), a is not None) for a, n in zip(anchored, counts, strict=True)]
    tokens = [torch.zeros(n, k, dtype=torch.long) if a is None else torch.as_tensor(a.tokens)
              for a, n in zip(anchored, counts, strict=True)]  # fmt: skip
    logprobs = [torch.zeros(n, k) if a is None else torch.as_tensor(a.logprobs)
                for a, n in zip(anchored, counts, strict=True)]  # fmt: skip
    return {"held": torch.cat(held), "tokens": torch.cat(tokens), "logprobs": torch.cat(logprobs)}
