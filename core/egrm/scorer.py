"""The discriminative scorer S(question, path, answer) in [0, 1]: a light head over embeddings and features.

Trained with L = (1 − α)·Huber_δ(S − y) + α·mean over pairs of one question of max(0, margin − (S(r⁺) − S(r⁻)))
(arXiv 2604.10072 as its code writes it, α = 0.3). The published δ = 1 is plain squared error here, because scores and
labels lie in [0, 1]; the default is 0.2. Shapes: ``q`` questions, ``k`` paths of a question (padded), ``f`` inputs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from core.egrm.features import GROUPS, NAMES, Path, features
from core.egrm.replay import choose
from core.egrm.stats import Interval, auroc, average_ranks, brier, calibration_error, wilson
from core.errors import UserError
from core.types import digest

if TYPE_CHECKING:
    from torch import Tensor

# Texts to (n, d) float32 vectors.
Encode = Callable[[Sequence[str]], np.ndarray]
FORMAT = "2"


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
    asked: Sequence[tuple[str, Sequence[Path]]],
    settings: ScorerSettings,
    encode: Encode | None = None,
) -> list[np.ndarray]:
    """(k, f) inputs of the head for each question: features, then embeddings of path, answer and question ⊙ path, then
    pooled hidden states of the path.

    All texts are encoded in one call, equal ones once.

    Raises:
        UserError: embeddings are switched on, and there is no encoder; hidden states are, and a path has none.
    """
    blocks = [[_features(q, paths, settings)] for q, paths in asked]
    if settings.embeddings:
        if encode is None:
            raise UserError("Embeddings are inputs, and no sentence encoder is at hand.", "", "Install one.")
        texts = _texts(asked)
        places = {t: i for i, t in enumerate(texts)}
        vectors = np.asarray(encode(texts), dtype=np.float64)
        for own, (q, paths) in zip(blocks, asked, strict=True):
            e_p = vectors[[places[p.text] for p in paths]]
            own += [e_p, vectors[[places[p.raw or ""] for p in paths]], vectors[places[q]][None] * e_p]
    if settings.states:
        for own, states in zip(blocks, _states(asked), strict=True):
            own.append(states)
    return [np.concatenate(own, axis=1) for own in blocks]


def _states(asked: Sequence[tuple[str, Sequence[Path]]]) -> list[np.ndarray]:
    """(k, d) hidden states of each question's paths."""
    found = [[p.state for p in paths] for _, paths in asked]
    flat = [s for own in found for s in own]
    missing = sum(s is None for s in flat)
    if missing:
        raise UserError(
            f"Hidden states are an input of this scorer, and for {missing:,} of {len(flat):,} paths they were not "
            "measured.",
            "They come from the checkpoint that wrote a path, while it writes it; imported paths have none.",
            "Run the routes with hidden states kept, or train a scorer without them.",
        )
    widths = sorted({len(s) for s in flat if s is not None})
    if len(widths) > 1:
        raise UserError(
            f"The paths' hidden states have different widths: {', '.join(map(str, widths))}.",
            "They come from different models, and a scorer can read those of one model only.",
            "Choose routes runs of one checkpoint.",
        )
    return [np.stack([np.asarray(s, dtype=np.float64) for s in own]) for own in found]


def _texts(asked: Sequence[tuple[str, Sequence[Path]]]) -> list[str]:
    """Every text that the embeddings of these questions need, once."""
    return list(dict.fromkeys(t for q, ps in asked for t in (q, *(p.text for p in ps), *(p.raw or "" for p in ps))))


def reads(
    asked: Sequence[tuple[str, Sequence[Path]]], lengths: Callable[[Sequence[str]], np.ndarray], window: int
) -> list[tuple[int, np.ndarray]]:
    """What the encoder reads of each question: its own word pieces, and (k,) those of each path with its answer.

    A text is read up to ``window`` word pieces, and once for all paths of a question: the first one pays for it, so
    that the first K' paths cost the sum of theirs.
    """
    texts = _texts(asked)
    size = dict(zip(texts, np.minimum(lengths(texts), window).tolist(), strict=True))
    found = []
    for question, paths in asked:
        seen = {question}
        own = np.zeros(len(paths), dtype=np.int64)
        for i, path in enumerate(paths):
            for text in (path.text, path.raw or ""):
                own[i] += 0 if text in seen else size[text]
                seen.add(text)
        found.append((size[question], own))
    return found


def _features(question: str, paths: Sequence[Path], settings: ScorerSettings) -> np.ndarray:
    x = features(question, paths)[:, settings.columns]
    return np.concatenate([x, x - x.mean(0)], axis=1) if settings.relative else x


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
            return torch.sigmoid(_head(self._weights, values, self.settings.width)).numpy().astype(np.float64)

    def score(self, asked: Sequence[tuple[str, Sequence[Path]]], encode: Encode | None = None) -> list[np.ndarray]:
        """(k,) scores of each question's paths; they depend on the question's own paths only.

        Raises:
            UserError: an input is not there: no encoder, or paths without hidden states or of another model.
        """
        if self.settings.embeddings and encode is None:
            raise UserError(
                "This scorer reads embeddings, and no sentence encoder is at hand.",
                f"It was trained with the encoder {self.encoder!r}.",
                "Install that encoder, or train a scorer without embeddings.",
            )
        rows, width = batch_inputs(asked, self.settings, encode), len(self._weights["mean"])
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
        known = {f.name for f in fields(ScorerSettings)}
        settings = {k: v for k, v in json.loads(metadata["settings"]).items() if k in known}
        return cls(ScorerSettings(**settings), metadata["encoder"], weights, json.loads(metadata["facts"]))


def _head(w: Mapping[str, Tensor], x: Tensor, numeric: int, dropout: float = 0.0, training: bool = False) -> Tensor:
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


def loss(
    scores: Tensor, labels: Tensor, mask: Tensor, alpha: float, delta: float, margin: float
) -> Tensor:  # shapes: (q, k)
    """The objective over padded questions; ``mask`` is True where there is a path.

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
        UserError: too few questions, or no question with both right and wrong paths.
    """
    if settings.embeddings and encode is None:
        raise UserError("Embeddings are switched on, and no sentence encoder is at hand.", "", "Switch them off.")
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
                logits = _head(w, x[rows_at], settings.width, settings.dropout, True)
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
        scores = torch.sigmoid(_head(w, x, settings.width))
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


# ------------------------------------------------------------------------------------------------------ measuring


def pairwise(data: Sequence[Labelled], scores: Sequence[np.ndarray]) -> tuple[float, int]:
    """(pairs won, ties half; pairs) over all pairs of one question with different labels."""
    won, pairs = 0.0, 0
    for d, s in zip(data, scores, strict=True):
        y = np.array(d.labels)
        better = y[:, None] > y[None, :]
        gap = s[:, None] - s[None, :]
        won += float((gap[better] > 0).sum() + 0.5 * (gap[better] == 0).sum())
        pairs += int(better.sum())
    return won, pairs


def metrics(data: Sequence[Labelled], scores: Sequence[np.ndarray]) -> dict[str, Any]:
    """What a scorer is worth on these questions, beside the baselines it has to beat.

    ``pairwise`` has a bootstrap interval over questions, since the pairs of one question hang together. ``best_of_k``,
    ``vote``, ``weighted``, ``oracle`` are shares of questions answered right; a label from 0.5 up counts as right.
    """
    if not data:
        return {}
    per = [pairwise([d], [s]) for d, s in zip(data, scores, strict=True)]
    short = [np.array([-float(len(p.text)) for p in d.paths]) for d in data]
    length = [pairwise([d], [s]) for d, s in zip(data, short, strict=True)]
    flat = np.concatenate(list(scores))
    labels = np.concatenate([np.array(d.labels) for d in data])
    right = labels >= 0.5
    sizes = np.concatenate([[len(p.text) for p in d.paths] for d in data])
    found: dict[str, Any] = {
        "questions": len(data),
        "pairs": sum(n for _, n in per),
        "pairwise": _ratio(per),
        "pairwise_shorter": _ratio(length),
        "auroc": _plain(auroc(flat, right)),
        "brier": _plain(brier(flat, right)),
        "ece": _plain(calibration_error(np.round(flat, 1), right)),
        "length_correlation": _plain(_correlation(flat, sizes)),
        "histogram": _histogram(flat, right),
        "oracle": _interval(wilson(sum(max(d.labels) >= 0.5 for d in data), len(data))),
    }
    none = np.full(max(len(d.paths) for d in data), np.nan)
    for name, how in (("best_of_k", "scorer"), ("vote", "vote"), ("weighted", "weighted")):
        chosen = [choose([p.key for p in d.paths], s, none, how) for d, s in zip(data, scores, strict=True)]
        hits = sum(d.labels[c] >= 0.5 for d, c in zip(data, chosen, strict=True))
        found[name] = _interval(wilson(hits, len(data)))
    return found


def _ratio(per: Sequence[tuple[float, int]], draws: int = 1000) -> dict[str, Any]:
    won, pairs = np.array([w for w, _ in per]), np.array([n for _, n in per], dtype=np.float64)
    if not pairs.sum():
        return {"value": None, "low": None, "high": None, "n": 0}
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(won), (draws, len(won)))
    below = pairs[picked].sum(1)
    low, high = np.quantile(won[picked].sum(1)[below > 0] / below[below > 0], [0.025, 0.975])
    return {"value": float(won.sum() / pairs.sum()), "low": float(low), "high": float(high), "n": int(pairs.sum())}


def _interval(found: Interval) -> dict[str, Any]:
    return {"value": _plain(found.value), "low": found.low, "high": found.high, "n": found.n}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN where either is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(average_ranks(a), average_ranks(b))[0, 1])


def _histogram(scores: np.ndarray, right: np.ndarray) -> list[list[int]]:
    """Ten bins of the score: [wrong, right] in each."""
    place = np.minimum((scores * 10).astype(int), 9)
    return [[int(((place == i) & ~right).sum()), int(((place == i) & right).sum())] for i in range(10)]
