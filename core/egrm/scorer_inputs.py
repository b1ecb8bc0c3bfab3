"""What a scorer reads of a path: features, embeddings and hidden states as numbers.

Shapes: ``q`` questions, ``k`` paths of a question, ``f`` inputs of the head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.egrm.features import GROUPS, NAMES, Path, features
from core.errors import UserError
from core.types import digest

# Texts to (n, d) float32 vectors.
Encode = Callable[[Sequence[str]], np.ndarray]
# A question and its paths.
Item = tuple[str, Sequence[Path]]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One question with paths of known quality: ``labels`` in [0, 1], 1 is right. ``source`` is never an input."""

    question: str
    paths: tuple[Path, ...]
    labels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScorerSettings:
    """Settings of one training.

    Attributes:
        alpha, delta, margin: of the loss. 0 and 1 for ``alpha`` are each half alone.
        agreement, arithmetic, form, embeddings, states: which inputs the head sees; ``states`` are the pooled hidden
            states of the checkpoint that wrote the paths, for paths where they were kept.
        relative: each feature also as its difference to the mean over the question's paths.
        hidden: width of the hidden layer, 0 for a linear head; ``bottleneck``: of the projection of the embeddings.
        lr, weight_decay, dropout, epochs, patience, batch: of AdamW over whole questions.
        held_out: share of questions kept for early stopping, on the loss.
        seed: of split, initial weights and order.
    """

    alpha: float = 0.3
    delta: float = 0.2
    margin: float = 0.1
    agreement: bool = True
    arithmetic: bool = True
    form: bool = True
    embeddings: bool = True
    states: bool = False
    relative: bool = True
    hidden: int = 0
    bottleneck: int = 16
    lr: float = 1e-2
    weight_decay: float = 1.0
    dropout: float = 0.2
    epochs: int = 120
    patience: int = 20
    batch: int = 64
    held_out: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("alpha", 0, 1), ("delta", 0.001, 10), ("margin", 0, 1), ("held_out", 0.01, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name}={getattr(self, name)!r} is out of range.", f"It lies in {low} to {high}.")
        if not (self.agreement or self.arithmetic or self.form or self.embeddings or self.states):
            raise UserError("The scorer has no input.", "All groups of inputs are switched off.", "Switch one on.")

    @property
    def columns(self) -> list[int]:
        """Which columns of ``features`` are inputs."""
        names = {n for group in GROUPS if getattr(self, group) for n in GROUPS[group]}
        return [i for i, n in enumerate(NAMES) if n in names]

    @property
    def width(self) -> int:
        """How many of the head's inputs are features; what follows them is projected first."""
        return len(self.columns) * (2 if self.relative else 1)


def data_hash(data: Sequence[Labelled]) -> str:
    """SHA-256 of the training data in its order, hidden states included where paths have them."""

    def path(p: Path) -> list[Any]:
        own: list[Any] = [p.text, p.raw, p.key]
        return own if p.state is None else [*own, hashlib.sha256(np.asarray(p.state, "<f4").tobytes()).hexdigest()]

    return digest([[d.question, [path(p) for p in d.paths], list(d.labels)] for d in data])


def batch_inputs(
    items: Sequence[Item],
    settings: ScorerSettings,
    encode: Encode | None = None,
) -> list[np.ndarray]:
    """(k, f) inputs of the head for each question: features, then embeddings of path, answer and question ⊙ path, then
    pooled hidden states of the path.

    All texts are encoded in one call, equal ones once.

    Raises:
        UserError: embeddings are switched on, and there is no encoder; hidden states are, and a path has none.
    """
    blocks = [[_features(question, paths, settings)] for question, paths in items]
    if settings.embeddings:
        if encode is None:
            raise UserError(
                "Embeddings are an input of the scorer, and no sentence encoder is at hand.",
                "",
                "Install the encoder, or train a scorer without embeddings.",
            )
        texts = _texts(items)
        places = {t: i for i, t in enumerate(texts)}
        vectors = np.asarray(encode(texts), dtype=np.float64)
        for block, (question, paths) in zip(blocks, items, strict=True):
            e_p = vectors[[places[p.text] for p in paths]]
            block += [e_p, vectors[[places[p.raw or ""] for p in paths]], vectors[places[question]][None] * e_p]
    if settings.states:
        for block, states in zip(blocks, _states(items), strict=True):
            block.append(states)
    return [np.concatenate(block, axis=1) for block in blocks]


def _states(items: Sequence[Item]) -> list[np.ndarray]:
    """(k, d) hidden states of each question's paths."""
    states = [p.state for _, paths in items for p in paths]
    missing = sum(s is None for s in states)
    if missing:
        raise UserError(
            f"Hidden states are an input of this scorer, and for {missing:,} of {len(states):,} paths they were not "
            "measured.",
            "They come from the checkpoint that wrote a path, while it writes it; imported paths have none.",
            "Run the routes with hidden states kept, or train a scorer without them.",
        )
    widths = sorted({len(s) for s in states if s is not None})
    if len(widths) > 1:
        raise UserError(
            f"The paths' hidden states have different widths: {', '.join(map(str, widths))}.",
            "They come from different models, and a scorer can read those of one model only.",
            "Choose routes runs of one checkpoint.",
        )
    return [np.stack([np.asarray(p.state, dtype=np.float64) for p in paths]) for _, paths in items]


def _texts(items: Sequence[Item]) -> list[str]:
    """Every text that the embeddings of these questions need, once."""
    return list(dict.fromkeys(t for q, ps in items for t in (q, *(p.text for p in ps), *(p.raw or "" for p in ps))))


def reads(
    items: Sequence[Item], lengths: Callable[[Sequence[str]], np.ndarray], window: int
) -> list[tuple[int, np.ndarray]]:
    """What the encoder reads of each question: its own word pieces, and (k,) those of each path with its answer.

    A text is read up to ``window`` word pieces, and once for all paths of a question: the first one pays for it, so
    that the first K' paths cost the sum of theirs.
    """
    texts = _texts(items)
    size = dict(zip(texts, np.minimum(lengths(texts), window).tolist(), strict=True))
    costs = []
    for question, paths in items:
        seen = {question}
        own = np.zeros(len(paths), dtype=np.int64)
        for i, path in enumerate(paths):
            for text in (path.text, path.raw or ""):
                own[i] += 0 if text in seen else size[text]
                seen.add(text)
        costs.append((size[question], own))
    return costs


def _features(question: str, paths: Sequence[Path], settings: ScorerSettings) -> np.ndarray:
    x = features(question, paths)[:, settings.columns]
    return np.concatenate([x, x - x.mean(0)], axis=1) if settings.relative else x
