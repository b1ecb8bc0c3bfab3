"""Signals that could route in place of consensus, on the same direct answers: which would have sent the right items.

A signal says how far the direct answers can be trusted. The items it trusts least reason first; how many do is free. So
a signal is a curve of accuracy over the share of items that reason, and signals are compared at one share. No signal
asks the model for more than E-GRM does.

Shape letters: ``n`` items, ``j`` of them judged.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from core.egrm.items import Items
from core.egrm.replay import Replayed
from core.scorers.token_f1 import tokens
from core.statistics import Interval, auroc, bootstrap_mean

SIGNALS: dict[str, str] = {
    "consensus": "Consensus (E-GRM)",
    "entropy": "Entropy of the answers",
    "words": "Words the answers share",
    "likelihood": "Mean log-probability of the answers",
    "margin": "Mean margin of the answers",
    "mix": "Mix of all of them",
}
# Folds where items name no groups to be fitted across, and items a fit needs: with fewer a mix is noise.
_FOLDS, _FEWEST = 5, 30
# Points of a curve that is drawn: a signal without ties has one per item.
_MOST_POINTS = 201


@dataclass(frozen=True, slots=True)
class Router:
    """A signal as a router.

    Attributes:
        auroc: chance that it ranks a right direct vote above a wrong one.
        shares, accuracy, tokens: the curve from no item that reasons to all, (share, share right, generated per item).
        area: mean accuracy over all shares.
        at: accuracy where as many items reason as under E-GRM; ``points``: its difference to E-GRM there, paired.
    """

    name: str
    label: str
    auroc: float
    shares: tuple[float, ...]
    accuracy: tuple[float, ...]
    tokens: tuple[float, ...]
    area: float
    at: Interval
    points: Interval


@dataclass(frozen=True, slots=True)
class Routers:
    """All measured signals, the random router's area, and why a signal is missing, by its label.

    ``fitted``: what the mix was fitted on, in words.
    """

    routers: tuple[Router, ...]
    random: float
    missing: dict[str, str]
    fitted: str


def routers(items: Items, seen: Replayed) -> Routers:
    """Every signal that was measured, over the items with a gold answer."""
    j = items.judged
    if not j.any():
        return Routers((), float("nan"), {}, "")
    found, fitted = signals(items, seen)
    missing = {SIGNALS[name]: "not measured for every item" for name in SIGNALS if name not in found and name != "mix"}
    if "mix" not in found:
        missing[SIGNALS["mix"]] = fitted
    direct, path = seen.direct_right[j].astype(float), seen.path_right[j].astype(float)
    drawn = tuple(_router(name, values[j], direct, path, seen, j) for name, values in found.items())
    return Routers(drawn, float((direct.mean() + path.mean()) / 2), missing, fitted)


def signals(items: Items, seen: Replayed) -> tuple[dict[str, np.ndarray], str]:
    """Name to (n,) values, higher for answers to be trusted; and what the mix was fitted on, or why there is none."""
    m = seen.setting.m
    found = {
        "consensus": seen.share,
        "entropy": -seen.entropy,
        "words": shared_words(items, m),
        "likelihood": items.probe_logp[:, :m].mean(1),
        "margin": items.probe_margin[:, :m].mean(1),
    }
    found = {name: values for name, values in found.items() if np.isfinite(values[items.judged]).all()}
    mix, fitted = _mixed(items, seen, np.column_stack(list(found.values())))
    return found if mix is None else found | {"mix": mix}, fitted


def shared_words(items: Items, m: int) -> np.ndarray:
    """(n,) mean overlap of two direct answers: 1 for the same answer, else the F1 of their words, 0 if unreadable."""
    out = np.ones(items.n)
    for i in range(items.n):
        bags = [None if w is None else tokens(w) for w in items.probe_words[i, :m]]
        pairs = [
            1.0 if a is not None and a == b else _overlap(bags[x], bags[y])
            for (x, a), (y, b) in combinations(enumerate(items.probes[i, :m]), 2)
        ]
        out[i] = float(np.mean(pairs)) if pairs else 1.0
    return out


def _overlap(one: list[str] | None, other: list[str] | None) -> float:
    if not one or not other:
        return 0.0
    return 2.0 * (Counter(one) & Counter(other)).total() / (len(one) + len(other))


def _mixed(items: Items, seen: Replayed, columns: np.ndarray) -> tuple[np.ndarray | None, str]:
    """(n,) chance that the direct vote is right, by a logistic fit that saw no item of the same group."""
    groups = np.array(items.groups, dtype=object)
    names = [g for g in dict.fromkeys(items.groups) if g is not None]
    if len(names) > 1 and not any(g is None for g in items.groups):
        folds, fitted = [groups == name for name in names], f"fitted on the other {len(names) - 1} groups of items"
        if len(names) == 2:
            fitted = "fitted on the other group of items"
    else:
        place = np.random.default_rng(0).permutation(items.n) % _FOLDS
        folds = [place == fold for fold in range(_FOLDS)]
        fitted = f"fitted on the other {_FOLDS - 1} of {_FOLDS} parts of the items"
    out = np.full(items.n, np.nan)
    for own in folds:
        other = items.judged & ~own
        right = seen.direct_right[other]
        if len(right) < _FEWEST or right.all() or not right.any():
            return None, f"needs {_FEWEST} other items, right and wrong ones"
        out[own] = _fit(columns[other], right, columns[own])
    return out, fitted


def _fit(columns: np.ndarray, right: np.ndarray, asked: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    mean, spread = columns.mean(0), columns.std(0)
    spread[spread == 0] = 1.0
    model = LogisticRegression().fit((columns - mean) / spread, right)
    chance: np.ndarray = model.predict_proba((asked - mean) / spread)[:, 1]
    return chance


def _router(
    name: str, signal: np.ndarray, direct: np.ndarray, path: np.ndarray, seen: Replayed, j: np.ndarray
) -> Router:
    n = len(signal)
    values, place, counts = np.unique(signal, return_inverse=True, return_counts=True)
    shares = np.concatenate([[0.0], np.cumsum(counts)]) / n
    accuracy = direct.mean() + _running(path - direct, place, len(values))
    cost = seen.probe_cost[j].mean() + _running(seen.path_cost[j], place, len(values))
    # Between two points tied items are sent at random, so the line between them is the exact expectation.
    drawn = shares if len(shares) <= _MOST_POINTS else np.linspace(0.0, 1.0, _MOST_POINTS)
    chance = sent(signal, float((~seen.short[j]).mean()))
    right = direct + chance * (path - direct)
    points = bootstrap_mean(right - seen.right[j].astype(float))
    return Router(
        name, SIGNALS[name], auroc(signal, direct.astype(bool)), _floats(drawn),
        _floats(np.interp(drawn, shares, accuracy).clip(0.0, 1.0)), _floats(np.interp(drawn, shares, cost)),
        float(np.trapezoid(accuracy, shares)), bootstrap_mean(right), points,
    )  # fmt: skip


def _running(values: np.ndarray, place: np.ndarray, levels: int) -> np.ndarray:
    """(levels + 1,) sum of ``values`` over the items at or below each level, over all items; it starts at 0."""
    return np.concatenate([[0.0], np.cumsum(np.bincount(place, values, levels))]) / len(values)


def sent(signal: np.ndarray, share: float) -> np.ndarray:
    """(n,) chance that an item reasons where ``share`` of all do, least trusted first and tied ones at random."""
    _, place, counts = np.unique(signal, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    chance: np.ndarray = np.clip((share * len(signal) - before) / counts, 0.0, 1.0)[place]
    return chance


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
