"""Rows side by side in one sequence, behind one copy of what they all begin with.

Rows of a chat model open alike: the template's system turn is often half of a short row. In one sequence that opening
is computed once, nothing is padded, and the last layer works only where a token is asked for. Every row sees what it
would see alone, so outputs and gradients are the same to rounding. It is tried out on the model before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")

# Tokens of rows that are asked for in one sequence.
SEQUENCE = 512
# Tokens of a sequence: attention between rows is computed and thrown away, which outweighs the rest in long ones.
LONGEST = 2048
# Logits may differ by this share of their largest: what float32 gives for the same sum in another order.
ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Together:
    """Some rows in one sequence of l tokens, of which t are asked for.

    Attributes:
        ids, positions: (l,). owner: (l,) place of the row that a token belongs to, -1 where all rows share it.
        places: (t,) where the tokens are foretold, in the order of the rows. wanted: (t,) the tokens.
        counts: (n,) how many of them are each row's.
    """

    ids: np.ndarray
    positions: np.ndarray
    owner: np.ndarray
    places: np.ndarray
    wanted: np.ndarray
    counts: np.ndarray

    def inputs(self, device: torch.device | None = None) -> dict[str, Any]:
        """What a model is called with; its logits are then (1, t, vocabulary)."""
        import torch

        owner = torch.as_tensor(self.owner, device=device)
        seen = (owner[:, None] == owner[None, :]) | (owner[None, :] < 0)
        return {
            "input_ids": torch.as_tensor(self.ids, device=device)[None],
            "position_ids": torch.as_tensor(self.positions, device=device)[None],
            "attention_mask": torch.tril(seen)[None, None],
            "logits_to_keep": torch.as_tensor(self.places, device=device),
            "use_cache": False,
        }


def together(rows: Sequence[tuple[Any, Any]]) -> Together:
    """Rows as (ids, which are asked for), each (l,); one token of each, not its first, is asked for at least."""
    ids = [np.asarray(row, dtype=np.int64) for row, _ in rows]
    asked = [1 + np.flatnonzero(np.asarray(mask, dtype=bool)[1:]) for _, mask in rows]
    # The token before the first that is asked for stays in the row: what it foretells is the row's own.
    most = min(int(at[0]) - 1 for at in asked)
    same = np.array([len({int(row[i]) for row in ids}) == 1 for i in range(most)], dtype=bool)
    n_shared = most if same.all() else int(np.argmin(same))
    parts, positions, owner = [ids[0][:n_shared]], [np.arange(n_shared)], [np.full(n_shared, -1)]
    places, start = [], n_shared
    for i, (row, at) in enumerate(zip(ids, asked, strict=True)):
        parts.append(row[n_shared:])
        positions.append(np.arange(n_shared, len(row)))
        owner.append(np.full(len(row) - n_shared, i))
        places.append(start + at - 1 - n_shared)
        start += len(row) - n_shared
    wanted = [row[at] for row, at in zip(ids, asked, strict=True)]
    counts = np.array([len(at) for at in asked])
    return Together(
        np.concatenate(parts), np.concatenate(positions), np.concatenate(owner), np.concatenate(places),
        np.concatenate(wanted), counts,
    )  # fmt: skip


def parts(items: Sequence[T], length: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in their order, as many at a time as one sequence holds."""
    some: list[T] = []
    tokens = 0
    for item in items:
        if some and tokens + length(item) > SEQUENCE:
            yield some
            some, tokens = [], 0
        some.append(item)
        tokens += length(item)
    if some:
        yield some


def logits_of(model: nn.Module, whole: Together) -> torch.Tensor:
    """(t, vocabulary) in float32, without gradients and as the model is when it is asked."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits: torch.Tensor = model(**whole.inputs(next(model.parameters()).device)).logits[0].float()
    finally:
        model.train(training)
    return logits


def each(model: nn.Module, rows: Mapping[bytes, tuple[Any, Any]]) -> Iterator[tuple[bytes, torch.Tensor, np.ndarray]]:
    """Each row's key, logits (n, vocabulary) and wanted tokens (n,), some rows in one sequence at a time.

    Args:
        rows: key to what ``together`` takes.
    """
    for part in parts(list(rows.items()), lambda item: len(item[1][0])):
        whole = together([row for _, row in part])
        logits = logits_of(model, whole)
        for (key, _), end, n in zip(part, np.cumsum(whole.counts), whole.counts, strict=True):
            yield key, logits[end - n : end], whole.wanted[end - n : end]


def works(model: nn.Module, rows: Sequence[tuple[Any, Any]], batch: int) -> bool:
    """Whether every batch is short enough, and the model gives the same logits for rows together as alone."""
    import torch

    if not rows or not _takes_all(model):
        return False
    batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    if max(sum(len(ids) for ids, _ in part) for part in batches) > LONGEST:
        return False
    training, device = model.training, next(model.parameters()).device
    try:
        both = logits_of(model, together(batches[0]))
        model.eval()
        with torch.no_grad():
            alone = [
                model(input_ids=torch.as_tensor(np.asarray(ids))[None].to(device)).logits[0, at].float()
                for ids, mask in batches[0]
                for at in [torch.as_tensor(np.flatnonzero(np.asarray(mask, dtype=bool)[1:]))]
            ]
    except (TypeError, ValueError, RuntimeError):
        return False
    finally:
        model.train(training)
    expected = torch.cat(alone)
    return bool(
        both.shape == expected.shape and (both - expected).abs().max() <= ROUNDING * expected.abs().max().clamp_min(1.0)
    )


def _takes_all(model: nn.Module) -> bool:
    """Whether the model can be told what each token sees, and where logits are wanted."""
    inner: Any = model
    if hasattr(model, "get_base_model"):
        inner = inner.get_base_model()
    taken = inspect.signature(inner.forward).parameters
    masked = getattr(inner.config, "_attn_implementation", "") == "sdpa"
    return masked and {"attention_mask", "position_ids", "logits_to_keep"} <= taken.keys()
