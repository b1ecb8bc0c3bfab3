"""What a scorer is worth on questions it was not trained on, beside the baselines it has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from core.egrm.replay import choose
from core.egrm.scorer_inputs import Labelled
from core.statistics import Interval, auroc, bootstrap_ratio, brier, calibration_error, share


def pairwise(data: Sequence[Labelled], scores: Sequence[np.ndarray]) -> tuple[float, int]:
    """(pairs won, ties half; pairs) over all pairs of one question with different labels."""
    won, pairs = 0.0, 0
    for d, s in zip(data, scores, strict=True):
        labels = np.array(d.labels)
        better = labels[:, None] > labels[None, :]
        gap = s[:, None] - s[None, :]
        won += float((gap[better] > 0).sum() + 0.5 * (gap[better] == 0).sum())
        pairs += int(better.sum())
    return won, pairs


def metrics(data: Sequence[Labelled], scores: Sequence[np.ndarray]) -> dict[str, Any]:
    """The numbers that are kept with a scorer, JSON-able.

    ``pairwise`` has a bootstrap interval over questions, since the pairs of one question hang together. ``best_of_k``,
    ``vote``, ``weighted``, ``oracle`` are shares of questions answered right; a label from 0.5 up counts as right.
    """
    if not data:
        return {}
    flat = np.concatenate(list(scores))
    right = np.concatenate([np.array(d.labels) for d in data]) >= 0.5
    lengths = [np.array([float(len(p.text)) for p in d.paths]) for d in data]
    pairs = _pairwise_interval(data, scores)
    none = np.full(max(len(d.paths) for d in data), np.nan)

    def chosen(how: str) -> dict[str, Any]:
        picks = [choose([p.key for p in d.paths], s, none, how) for d, s in zip(data, scores, strict=True)]
        hits = sum(d.labels[pick] >= 0.5 for d, pick in zip(data, picks, strict=True))
        return _interval(share(hits, len(data)))

    return {
        "questions": len(data),
        "pairs": pairs["n"],
        "pairwise": pairs,
        "pairwise_shorter": _pairwise_interval(data, [-length for length in lengths]),
        "auroc": _plain(auroc(flat, right)),
        "brier": _plain(brier(flat, right)),
        "ece": _plain(calibration_error(np.round(flat, 1), right)),
        "length_correlation": _plain(_spearman(flat, np.concatenate(lengths))),
        "histogram": _histogram(flat, right),
        "oracle": _interval(share(sum(max(d.labels) >= 0.5 for d in data), len(data))),
        "best_of_k": chosen("scorer"),
        "vote": chosen("vote"),
        "weighted": chosen("weighted"),
    }


def _pairwise_interval(data: Sequence[Labelled], scores: Sequence[np.ndarray]) -> dict[str, Any]:
    won, pairs = np.array([pairwise([d], [s]) for d, s in zip(data, scores, strict=True)]).T
    return _interval(bootstrap_ratio(won, pairs, draws=1000))


def _interval(interval: Interval) -> dict[str, Any]:
    return {name: value if name == "n" else _plain(value) for name, value in asdict(interval).items()}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; NaN where either is constant."""
    from scipy.stats import spearmanr

    return math.nan if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def _histogram(scores: np.ndarray, right: np.ndarray) -> list[list[int]]:
    """Ten bins of the score: [wrong, right] in each."""
    counts = [np.histogram(scores[group], bins=10, range=(0, 1))[0].tolist() for group in (~right, right)]
    return [list(pair) for pair in zip(*counts, strict=True)]
