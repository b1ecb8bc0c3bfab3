"""Do no harm: learned rows that decide when a training stops and how much of it is kept.

Between the checkpoint and its trained copy lies a line of models, found by mixing the weights. What was learned falls
late on that line, so the farthest point at which these rows still hold keeps most of the gain and little of the damage.
No further training is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.proof.together import each
from core.types import Supervision

if TYPE_CHECKING:
    from torch import nn

# Points tried between the checkpoint (0) and the trained copy (1), the farthest first.
SCALES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
# One row alone decides nothing: on a real model the first choice of a row that is held weakly turns by rounding.
SPARED = 1
# Below this many rows one row more or less is a matter of chance, and nothing is decided by them.
FEWEST = 10
# Training stops where fewer hold at two looks in a row: the rest of it could only be thrown away.
STOP_BELOW = 0.5
# Looks at the rows while a copy is trained.
LOOKS = 10
# Bytes of logits that one look holds at a time.
_LOGITS = 1 << 28


class Guard:
    """The rows, as far as the untrained model reproduces them token by token.

    Attributes:
        rows: that were reproduced before training.
        holds: the share of them that must be reproduced after it; unless it is 1, one of them may fall.
        looks: (step, share that held) while the copy was trained.
    """

    def __init__(self, model: nn.Module, rows: Sequence[Supervision], holds: float, side_by_side: bool = False) -> None:
        self.holds = holds
        self.looks: list[tuple[int, float]] = []
        self._side_by_side = side_by_side
        right = reproduced(model, rows, side_by_side)
        self.rows = tuple(row for row, held in zip(rows, right, strict=True) if held)
        self._start = {name: weight.detach().clone() for name, weight in _trained(model)} if self.decides else {}

    @property
    def decides(self) -> bool:
        """Whether there are enough rows to decide by."""
        return len(self.rows) >= FEWEST

    def look(self, model: nn.Module, step: int) -> bool:
        """Notes how many rows hold; whether training should stop."""
        self.looks.append((step, self.share(model)))
        return len(self.looks) > 1 and all(share < STOP_BELOW for _, share in self.looks[-2:])

    def share(self, model: nn.Module) -> float:
        """The share of the rows that the model reproduces."""
        return float(np.mean(reproduced(model, self.rows, self._side_by_side)))

    def settle(self, model: nn.Module) -> dict[str, Any]:
        """Puts the model at the farthest point of the line at which the rows hold; where none does, at the start.

        Returns:
            ``scale`` (1: trained as it came out, 0: as it was), the rows, and the share that held at scale 1 and at
            ``scale``.
        """
        if not self.decides:
            return {"scale": 1.0, "rows": len(self.rows), "held_trained": None, "held": None}
        trained = {name: weight.detach().clone() for name, weight in _trained(model)}
        shares: dict[float, float] = {}
        allowed = max(SPARED if self.holds < 1.0 else 0, (1.0 - self.holds) * len(self.rows))
        for scale in SCALES:
            self._put(model, trained, scale)
            shares[scale] = self.share(model)
            if (1.0 - shares[scale]) * len(self.rows) <= allowed + 1e-6:
                break
        else:
            scale = 0.0
            self._put(model, trained, scale)
            shares[scale] = 1.0
        return {"scale": scale, "rows": len(self.rows), "held_trained": shares[1.0], "held": shares[scale]}

    def _put(self, model: nn.Module, trained: Mapping[str, Any], scale: float) -> None:
        import torch

        with torch.no_grad():
            for name, weight in _trained(model):
                weight.copy_(torch.lerp(self._start[name], trained[name], scale))


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The weights that a training moves; those of an adapter alone where one is trained."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def reproduced(model: nn.Module, rows: Sequence[Supervision], side_by_side: bool = False) -> np.ndarray:
    """(n,) bool: whether greedy decoding gives each row's target token by token, by one forward pass a batch.

    Args:
        side_by_side: put some rows into one sequence; the model must be one for which that ``works``.
    """
    import torch

    if side_by_side:
        return _together(model, rows)
    training, device = model.training, next(model.parameters()).device
    right = np.zeros(len(rows), dtype=bool)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    vocabulary = int(getattr(model.config, "vocab_size", 1 << 17))
    model.eval()
    try:
        with torch.no_grad():
            while order:
                longest = len(rows[order[-1]].ids)
                batch = [order.pop() for _ in range(min(len(order), max(1, _LOGITS // (4 * longest * vocabulary))))]
                ids = torch.zeros((len(batch), longest), dtype=torch.long)
                for at, i in enumerate(batch):
                    ids[at, : len(rows[i].ids)] = torch.as_tensor(rows[i].ids)
                # No attention mask: the padding lies behind every real token, where causal attention does not look.
                first = model(input_ids=ids.to(device)).logits.argmax(-1).cpu().numpy()
                for at, i in enumerate(batch):
                    places = 1 + np.flatnonzero(rows[i].target[1:])
                    right[i] = bool((first[at, places - 1] == rows[i].ids[places]).all())
    finally:
        model.train(training)
    return right


def _together(model: nn.Module, rows: Sequence[Supervision]) -> np.ndarray:
    """The same, some rows in one sequence at a time; equal ones are asked for once."""
    asked = {row.ids.tobytes(): (row.ids, row.target) for row in rows if row.target[1:].any()}
    right = {key: bool((logits.argmax(-1).cpu().numpy() == wanted).all()) for key, logits, wanted in each(model, asked)}
    return np.array([right.get(row.ids.tobytes(), True) for row in rows], dtype=bool)
