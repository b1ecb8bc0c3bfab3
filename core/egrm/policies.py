"""What routing is worth: E-GRM beside other ways of answering everything, and the curve over all thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from core.egrm.items import Items
from core.egrm.replay import SCORED, Replayed, Setting, replay
from core.statistics import Interval, bootstrap_mean, share

_CHOICE = {"scorer": "best score", "weighted": "weighted vote", "likelihood": "likeliest"}


@dataclass(frozen=True, slots=True)
class Policy:
    """One way of answering everything, measured.

    Attributes:
        accuracy: with a 95 % interval: Wilson, or bootstrap over items where an item's value is an expectation.
        tokens: generated per item, direct answers included wherever the policy draws them; ``prompt``: read per item.
        scoring: word pieces and tokens read per item to score paths, by the encoder and once more by the checkpoint;
            0 where the policy asks no scorer, NaN where it does and this was not measured.
        seconds: per item, scoring included, at the batch sizes of this measurement; None where the policy was not timed
            on its own.
        long: share of items that reason.
    """

    name: str
    label: str
    accuracy: Interval
    tokens: float
    prompt: float
    scoring: float
    seconds: float | None
    long: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """E-GRM against another policy on the same items: points of accuracy with a paired bootstrap interval; tokens."""

    label: str
    points: Interval
    tokens_ratio: float


@dataclass(frozen=True, slots=True)
class _Way:
    """A way of answering, item by item.

    Attributes:
        right: (n,) bool, or the chance of being right.
        direct: (n,) tokens of direct answers, None where none are drawn; ``path``: (n,) tokens of an item that reasons.
        long: (n,) chance that an item reasons.
        scored: whether its paths are scored.
        seconds: (n,) where it was timed.
    """

    name: str
    label: str
    right: np.ndarray
    direct: np.ndarray | None
    path: np.ndarray
    long: np.ndarray
    scored: bool = False
    seconds: np.ndarray | None = None

    @property
    def tokens(self) -> np.ndarray:
        """(n,) generated."""
        path: np.ndarray = self.long * self.path
        return path if self.direct is None else self.direct + path


def _ways(items: Items, seen: Replayed) -> list[_Way]:
    s, judged = seen.setting, items.judged
    never, always = np.zeros(items.n), np.ones(items.n)
    thinks = ~seen.short
    rate = float(thinks[judged].mean()) if judged.any() else 0.0
    mixed = (1 - rate) * seen.direct_right + rate * seen.path_right.astype(float)
    rescued = ~seen.direct_right & seen.path_right
    probe_s = items.probe_seconds if s.m == items.m else None
    path_s = items.path_seconds if s.k == items.k else None
    chosen_s = None if path_s is None else path_s + (items.score_seconds if s.choose in SCORED else 0.0)
    both_s = None if probe_s is None or chosen_s is None else probe_s + _times(thinks, chosen_s)
    direct, path = seen.probe_cost, seen.path_cost
    first_direct, first_path = items.probe_tokens[:, 0], items.path_tokens[:, 0]
    ways = [
        _Way("direct_1", "Always direct, first answer", seen.first_right, first_direct, never, never),
        _Way("direct_m", f"Always direct, vote of {s.m}", seen.direct_right, direct, never, never, False, probe_s),
        _Way("path_1", "Always reason, one path", seen.one_path_right, None, first_path, always),
        _Way("path_vote", f"Always reason, vote of {s.k}", seen.vote_right, None, path, always, False, path_s),
    ]
    if s.choose != "vote":
        label = f"Always reason, {_CHOICE[s.choose]} of {s.k}"
        ways.append(_Way("path_k", label, seen.path_right, None, path, always, True, chosen_s))
    return [
        *ways,
        _Way("egrm", "E-GRM", seen.right, direct, path, thinks, True, both_s),
        _Way("random", "Random router, equal share", mixed, direct, path, always * rate, True),
        _Way("oracle", "Oracle router", np.where(rescued, seen.path_right, seen.direct_right), direct, path, rescued,
             True),
    ]  # fmt: skip


def _times(chance: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """chance · cost, where a cost that was not measured matters only if there is a chance of it."""
    return np.where(chance > 0, chance * cost, 0.0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def policies(items: Items, seen: Replayed) -> list[Policy]:
    """The policies side by side, over the items with a gold answer."""
    return [_measured(way, items, seen) for way in _ways(items, seen)]


def _measured(way: _Way, items: Items, seen: Replayed) -> Policy:
    j = items.judged
    right = way.right[j]
    accuracy = share(int(right.sum()), len(right)) if right.dtype == bool else bootstrap_mean(right)
    prompt = (0 if way.direct is None else items.probe_prompt) + way.long * items.path_prompt
    scoring = _times(way.long, seen.encoder_cost + seen.states_cost) if way.scored else np.zeros(items.n)
    timed = None if way.seconds is None or not np.isfinite(way.seconds[j]).all() else _mean(way.seconds[j])
    return Policy(way.name, way.label, accuracy, _mean(way.tokens[j]), _mean(prompt[j]), _mean(scoring[j]), timed,
                  _mean(way.long[j]))  # fmt: skip


def comparisons(items: Items, seen: Replayed) -> list[Comparison]:
    """Differences of E-GRM to each policy that could be had instead, so that every saving names its baseline."""
    j = items.judged
    if not j.any():
        return []
    ways = {way.name: way for way in _ways(items, seen) if way.name != "oracle"}
    own = ways.pop("egrm")
    return [
        Comparison(
            way.label,
            bootstrap_mean(own.right[j].astype(float) - way.right[j].astype(float)),
            float(own.tokens[j].sum() / total) if (total := way.tokens[j].sum()) else float("nan"),
        )
        for way in ways.values()
    ]


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the curve: route short from ``wanted`` votes on (M + 1: never)."""

    wanted: int
    tau: float
    accuracy: float
    random: float
    tokens: float
    short: float


def curve(items: Items, m: int, k: int, choose: str) -> list[Point]:
    """E-GRM over all settings of τ that differ: there are M + 1 of them, not a continuum."""
    points, lowest = [], replay(items, Setting(1, m, k, choose))
    for votes in range(1, m + 2):
        seen = replace(lowest, short=lowest.votes >= votes)
        by_name = {way.name: way for way in _ways(items, seen)}
        own, random = by_name["egrm"], by_name["random"]
        accuracy, chance, tokens, short = (
            _mean(values[items.judged]) for values in (own.right, random.right, own.tokens, seen.short)
        )
        points.append(Point(votes, votes / m, accuracy, chance, tokens, short))
    return points
