"""Both routes replayed from what was generated: τ, M' ≤ M, K' ≤ K, normaliser and chooser move without the model.

Shape letters: ``n`` items, ``m`` direct answers, ``k`` paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.egrm.consensus import chance_of_votes, consensus, early_stop, need
from core.egrm.items import Items, load
from core.statistics import Interval, auroc, brier, calibration_error, share

# Choosers that read scores.
SCORED = ("scorer", "weighted")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the sliders stand: ``wanted`` votes among the first ``m`` answers, the first ``k`` paths, the chooser."""

    wanted: int
    m: int
    k: int
    choose: str

    @classmethod
    def of(cls, tau: float | str, m: int, k: int, choose: str) -> Setting:
        return cls(need(tau, m), m, k, choose)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One setting over all items.

    Attributes:
        share: (n,) consensus; ``entropy``: (n,); ``direct``: (n,) object, the consensus answer.
        short: (n,) bool. ``chosen``: (n,) index of the path that the chooser takes; ``voted``: by vote.
        direct_right, path_right, vote_right, first_right, one_path_right: (n,) bool, an unreadable answer is wrong:
            consensus of M, chosen path, path voted for, first direct answer, first path.
        stop_tokens: (n,) tokens of direct answers when they are drawn one after another with early stopping.
        encoder_cost, states_cost: (n,) word pieces and tokens read to score the first K' paths; 0 where the chooser
            reads no score, NaN where it does and this was not measured.
    """

    setting: Setting
    share: np.ndarray
    entropy: np.ndarray
    direct: np.ndarray
    short: np.ndarray
    chosen: np.ndarray
    voted: np.ndarray
    direct_right: np.ndarray
    path_right: np.ndarray
    vote_right: np.ndarray
    first_right: np.ndarray
    one_path_right: np.ndarray
    probe_cost: np.ndarray
    path_cost: np.ndarray
    stop_tokens: np.ndarray
    encoder_cost: np.ndarray
    states_cost: np.ndarray

    @property
    def votes(self) -> np.ndarray:
        """(n,) int: how many direct answers gave the consensus."""
        votes: np.ndarray = np.rint(self.share * self.setting.m).astype(int)
        return votes

    @property
    def right(self) -> np.ndarray:
        """(n,) bool: right by E-GRM."""
        return np.where(self.short, self.direct_right, self.path_right)


def choose(keys: Sequence[str | None], score: np.ndarray, logp: np.ndarray, how: str) -> int:
    """Which of k paths is taken; among those with a readable answer where there is one.

    Ties of a vote go to the answer given first, all other ties to the earlier path.
    """
    readable = [j for j, answer in enumerate(keys) if answer is not None]
    if not readable:
        return 0
    if how in ("vote", "weighted"):
        weights: dict[str | None, float] = {}
        for j in readable:
            weights[keys[j]] = weights.get(keys[j], 0.0) + (float(score[j]) if how == "weighted" else 1.0)
        best = max(weights, key=weights.__getitem__)
        voters = [j for j in readable if keys[j] == best]
        return max(voters, key=lambda j: float(score[j])) if how == "weighted" else voters[0]
    values = score if how == "scorer" else logp
    return max(readable, key=lambda j: float(values[j]) if np.isfinite(values[j]) else -np.inf)


def replay(items: Items, setting: Setting) -> Replayed:
    """Every item at one setting; no model runs."""
    n, m, k = items.n, setting.m, setting.k
    probes, paths = items.probes[:, :m], items.paths[:, :k]
    agreed = [consensus(list(answers)) for answers in probes]
    direct = np.array([a.answer for a in agreed], dtype=object)
    short = np.array([a.answer is not None and a.votes >= setting.wanted for a in agreed], dtype=bool)
    drawn = [early_stop(list(answers), setting.wanted)[1] for answers in probes]

    def taken(how: str) -> np.ndarray:
        picks = (choose(list(paths[i]), items.score[i], items.logp[i], how) for i in range(n))
        return np.fromiter(picks, np.int64, n)

    def right(answers: np.ndarray) -> np.ndarray:
        return np.array([a is not None and a == g for a, g in zip(answers, items.gold, strict=True)], dtype=bool)

    row, chosen, voted = np.arange(n), taken(setting.choose), taken("vote")
    scores = setting.choose in SCORED
    return Replayed(
        setting=setting,
        share=np.array([a.share for a in agreed]),
        entropy=np.array([a.entropy for a in agreed]),
        direct=direct,
        short=short,
        chosen=chosen,
        voted=voted,
        direct_right=right(direct),
        path_right=right(items.paths[row, chosen]),
        vote_right=right(items.paths[row, voted]),
        first_right=right(probes[:, :1].ravel()),
        one_path_right=right(paths[:, :1].ravel()),
        probe_cost=items.probe_tokens[:, :m].sum(1),
        path_cost=items.path_tokens[:, :k].sum(1),
        stop_tokens=np.array([items.probe_tokens[i, :d].sum() for i, d in enumerate(drawn)]),
        encoder_cost=items.score_question + items.score_read[:, :k].sum(1) if scores else np.zeros(n),
        states_cost=items.score_states[:, :k].sum(1) if scores else np.zeros(n),
    )


# ------------------------------------------------------------------------------------------- levels of consensus


@dataclass(frozen=True, slots=True)
class Level:
    """Items whose consensus has this many votes. ``chance``: share of items here if all guessed among the options."""

    votes: int
    n: int
    right: int
    accuracy: Interval
    chance: float | None
    covered: float
    covered_right: float


def levels(items: Items, seen: Replayed) -> list[Level]:
    """Consensus levels 0 to M with how often the consensus is right there, and from there on upwards."""
    m, j, votes = seen.setting.m, items.judged, seen.votes
    chances = chance_of_votes(m, items.options) if items.options else None
    out = []
    for level in range(m + 1):
        here, above = j & (votes == level), j & (votes >= level)
        right, n = int(seen.direct_right[here].sum()), int(here.sum())
        out.append(
            Level(
                level, n, right, share(right, n), None if chances is None else chances[level],
                float(above.sum() / j.sum()) if j.any() else float("nan"),
                float(seen.direct_right[above].mean()) if above.any() else float("nan"),
            )
        )  # fmt: skip
    return out


def calibration(items: Items, seen: Replayed) -> dict[str, float]:
    """How well consensus tells right from wrong direct answers, and the rival signals beside it.

    ECE and Brier take the share as a probability; AUROC is for each signal the chance that a right item ranks above a
    wrong one (0.5 is chance).
    """
    j = items.judged
    right, agreement = seen.direct_right[j], seen.share[j]
    first_logp, first_margin = (values[j, :1].sum(1) for values in (items.probe_logp, items.probe_margin))
    return {
        "ece": calibration_error(agreement, right),
        "brier": brier(agreement, right),
        "auroc_consensus": auroc(agreement, right),
        "auroc_entropy": auroc(-seen.entropy[j], right),
        "auroc_perplexity": auroc(first_logp, right),
        "auroc_margin": auroc(first_margin, right),
    }


# -------------------------------------------------------------------------------------------------- single items

LISTS: dict[str, str] = {
    "confident": "Confidently wrong: enough agree, and they are wrong",
    "rescue": "Rescued: direct answers are wrong, reasoning is right",
    "harm": "Harmed: direct answers are right, reasoning is wrong",
    "wasted": "Thought for nothing: both are right, and it reasoned",
    "missed": "Neither is right, and it reasoned",
}


def lists(items: Items, seen: Replayed) -> dict[str, np.ndarray]:
    """Name of each list to the indices of its items; what is confidently wrong with most agreement stands first."""
    j, direct, path, short = items.judged, seen.direct_right, seen.path_right, seen.short
    masks = {
        "confident": j & short & ~direct,
        "rescue": j & ~short & ~direct & path,
        "harm": j & ~short & direct & ~path,
        "wasted": j & ~short & direct & path,
        "missed": j & ~short & ~direct & ~path,
    }
    places = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    agreement = seen.share[places["confident"]]
    return places | {"confident": places["confident"][np.argsort(-agreement, kind="stable")]}


def outcomes(items: Items, seen: Replayed) -> dict[tuple[bool, bool, bool], int]:
    """(short, direct right, reasoning right) to number of items."""
    j = items.judged
    cells = zip(seen.short[j], seen.direct_right[j], seen.path_right[j], strict=True)
    return dict(Counter((bool(a), bool(b), bool(c)) for a, b, c in cells))


def order_agreement(items: Items, seen: Replayed) -> tuple[int, int] | None:
    """Judging mode: items whose majority verdict is the same in both orders, of those with a verdict in both."""
    m = seen.setting.m
    probes, swapped = items.probes[:, :m], items.swapped[:, :m]
    if not swapped.any():
        return None
    verdicts = [
        (consensus(list(answers[~turned])).answer, consensus(list(answers[turned])).answer)
        for answers, turned in zip(probes, swapped, strict=True)
    ]
    both = [(one, other) for one, other in verdicts if one is not None and other is not None]
    return sum(one == other for one, other in both), len(both)


def group_rows(items: Items, seen: Replayed) -> list[dict[str, Any]]:
    """The route split by group; empty where items name none."""
    groups = np.array(items.groups, dtype=object)
    columns = {"short": seen.short, "direct": seen.direct_right, "reason": seen.path_right, "egrm": seen.right}
    rows = []
    for name in dict.fromkeys(g for g in items.groups if g is not None):
        here = items.judged & (groups == name)
        if here.any():
            shares = {column: float(values[here].mean()) for column, values in columns.items()}
            rows.append({"group": name, "n": int(here.sum()), **shares})
    return rows


def normaliser_difference(kept: Sequence[Mapping[str, Any]], seen: Replayed, strict: bool) -> int:
    """Items whose route or consensus answer's correctness is another under the author's exact comparison."""
    if not len(seen.short) or any(r["pair"] for r in kept):
        return 0
    exact = replay(load(kept, "exact", strict), seen.setting)
    return int(((exact.short != seen.short) | (exact.direct_right != seen.direct_right)).sum())
