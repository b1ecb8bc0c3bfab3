"""The discriminative scorer S(question, path, answer) in [0, 1]: a light head over embeddings and features.

Trained with L = (1 − α)·Huber_δ(S − y) + α·mean over pairs of one question of max(0, margin − (S(r⁺) − S(r⁻)))
(arXiv 2604.10072 as its code writes it, α = 0.3). The published δ = 1 is plain squared error here, because scores and
labels lie in [0, 1]; the default is 0.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from core.egrm.scorer_inputs import Encode, Item, ScorerSettings, batch_inputs
from core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "2"


class Scorer:
    """A trained head.

    Attributes:
        settings: of its training. ``encoder``: name of the encoder its embeddings come from, empty for none.
        facts: ``data_hash``, ``metrics`` on held-out questions, counts; JSON-able.
    """

    def __init__(
        self, settings: ScorerSettings, encoder: str, weights: Mapping[str, Tensor], facts: Mapping[str, Any]
    ) -> None:
        self.settings, self.encoder, self.facts = settings, encoder, dict(facts)
        self._weights = dict(weights)

    def score_inputs(self, x: np.ndarray) -> np.ndarray:
        """(n,) scores in [0, 1] of inputs (n, f)."""
        import torch

        with torch.no_grad():
            values = torch.from_numpy(np.asarray(x, dtype=np.float32))
            return torch.sigmoid(head(self._weights, values, self.settings.width)).numpy().astype(np.float64)

    def score(self, items: Sequence[Item], encode: Encode | None = None) -> list[np.ndarray]:
        """(k,) scores of each question's paths; they depend on the question's own paths only.

        Raises:
            UserError: an input is not there: no encoder, or paths without hidden states or of another model.
        """
        rows, width = batch_inputs(items, self.settings, encode), len(self._weights["mean"])
        if rows and rows[0].shape[1] != width:
            raise UserError(
                f"The scorer reads {width:,} numbers of a path, and there are {rows[0].shape[1]:,}.",
                "Its embeddings or hidden states come from another model.",
                "Train a scorer on paths of this checkpoint.",
            )
        return [self.score_inputs(x) for x in rows]

    def to_bytes(self) -> bytes:
        """A safetensors file; settings and facts stand in its metadata."""
        from safetensors.torch import save

        metadata = {
            "lacuna_scorer": FORMAT,
            "settings": json.dumps(asdict(self.settings)),
            "encoder": self.encoder,
            "facts": json.dumps(self.facts),
        }
        return save(self._weights, metadata=metadata)

    @classmethod
    def load(cls, path: FilePath) -> Scorer:
        """Raises UserError where the file is no scorer of this version."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path.name} cannot be read as a scorer.", str(error)[:300], "Train it again.") from error
        if metadata.get("lacuna_scorer") != FORMAT:
            raise UserError(f"{path.name} is not a scorer of this version.", "", "Train it again.")
        names = {f.name for f in fields(ScorerSettings)}
        settings = {k: v for k, v in json.loads(metadata["settings"]).items() if k in names}
        return cls(ScorerSettings(**settings), metadata["encoder"], weights, json.loads(metadata["facts"]))


def head(w: Mapping[str, Tensor], x: Tensor, numeric: int, dropout: float = 0.0, training: bool = False) -> Tensor:
    """(..., f) to (...) logits: standardised features and the projected embeddings, through a hidden layer if any."""
    import torch
    from torch.nn.functional import dropout as drop

    x = (x - w["mean"]) / w["std"]
    parts = [x[..., :numeric]]
    if "project" in w:
        parts.append(torch.tanh(drop(x[..., numeric:], dropout, training) @ w["project"]))
    h = torch.cat(parts, dim=-1)
    if "w1" in w:
        h = drop(torch.relu(h @ w["w1"] + w["b1"]), dropout, training)
    return (h @ w["w2"])[..., 0] + w["b2"]
