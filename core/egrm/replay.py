"""Both routes replayed from what was generated: τ, M' ≤ M, K' ≤ K, normaliser and chooser move without the model.

Shape letters: ``n`` items, ``m`` direct answers, ``k`` paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.egrm.answers import FORM_FAILURE, NO_ANSWER, key
from core.egrm.consensus import chance_of_votes, consensus, early_stop, need
from core.egrm.stats import Interval, auroc, bootstrap_mean, brier, calibration_error, wilson

DRAWS = 2000
# Choosers that read scores.
SCORED = ("scorer", "weighted")


@dataclass(frozen=True, slots=True)
class Items:
    """What was generated, with answers compared by one normaliser.

    Attributes:
        keys, groups: (n,) of the items.
        judged: (n,) bool, there is a gold answer of the normaliser's form to compare with.
        gold: (n,) its key or None.
        probes, paths: (n, m) and (n, k) object, key of each answer or None.
        probe_tokens, path_tokens: (n, m) and (n, k) generated; ``probe_prompt``, ``path_prompt``: (n,) tokens read.
        probe_seconds, path_seconds: (n,).
        logp, score: (n, k) of the paths; NaN = not measured.
        score_question, score_read: (n,) and (n, k) word pieces that the scorer's encoder read: of the question, and of
            each path with its answer, a text that an earlier path has counted once. 0 for a scorer without embeddings.
        score_states: (n, k) tokens that the checkpoint read once more for the path's pooled hidden states.
        score_seconds: (n,) of encoder, features and head over all k paths. NaN in any of these four = not measured.
        perplexity, margin: (n,) of the first direct answer.
        swapped: (n, m) bool.
        hygiene: counts over all generated texts (``Hygiene``).
        refused: reason to count, for items that were not asked; they are in none of the arrays.
        options: number of options to guess among, None for open answers.
    """

    keys: tuple[str, ...]
    groups: tuple[str | None, ...]
    judged: np.ndarray
    gold: np.ndarray
    probes: np.ndarray
    paths: np.ndarray
    probe_tokens: np.ndarray
    path_tokens: np.ndarray
    probe_prompt: np.ndarray
    path_prompt: np.ndarray
    probe_seconds: np.ndarray
    path_seconds: np.ndarray
    logp: np.ndarray
    score: np.ndarray
    score_question: np.ndarray
    score_read: np.ndarray
    score_states: np.ndarray
    score_seconds: np.ndarray
    perplexity: np.ndarray
    margin: np.ndarray
    swapped: np.ndarray
    hygiene: Mapping[str, Any]
    refused: Mapping[str, int]
    options: int | None

    @property
    def n(self) -> int:
        return len(self.keys)

    @property
    def m(self) -> int:
        return self.probes.shape[1]

    @property
    def k(self) -> int:
        return self.paths.shape[1]

    @property
    def scored(self) -> bool:
        """Whether every path of every item has a score."""
        return bool(self.n) and bool(np.isfinite(self.score).all())


def answer_key(
    said: Mapping[str, Any], item: Mapping[str, Any], normaliser: str, strict: bool
) -> tuple[str | None, str]:
    """(key, failure) of one kept answer; the failure is empty where there is a key."""
    raw = said["raw"]
    if raw is None:
        return None, said["failure"]
    if strict and said["how"] != "marker":
        return None, NO_ANSWER
    found = key(raw, "choice" if item["pair"] else normaliser, item["options"])
    if found is None:
        return None, FORM_FAILURE.get("choice" if item["pair"] else normaliser, NO_ANSWER)
    if item["pair"]:  # A and B are places; what counts is which reply stood there
        found = str(int((found == "B") != said["swapped"]))
    return found, ""


def gold_key(item: Mapping[str, Any], normaliser: str) -> str | None:
    if item["pair"]:
        return None if item["better"] is None else str(item["better"])
    return key(item["gold"], normaliser, item["options"])


def load(kept: Sequence[Mapping[str, Any]], normaliser: str, strict: bool = False) -> Items:
    """Items from what ``route.compact`` kept, in the order given."""
    refused = Counter(r["refused"] for r in kept if r["refused"])
    rows = [r for r in kept if not r["refused"]]
    m, k = len(rows[0]["probes"]) if rows else 0, len(rows[0]["paths"]) if rows else 0
    hygiene = {part: Hygiene() for part in ("probes", "paths")}
    found: dict[str, np.ndarray] = {}
    for part, width in (("probes", m), ("paths", k)):
        cells = np.full((len(rows), width), None, dtype=object)
        for i, row in enumerate(rows):
            for j, said in enumerate(row[part]):
                cells[i, j], failure = answer_key(said, row, normaliser, strict)
                hygiene[part].add(said, failure)
        found[part] = cells
    golds = np.array([gold_key(r, normaliser) for r in rows], dtype=object)
    sizes = {len(r["options"]) for r in rows}
    return Items(
        keys=tuple(r["key"] for r in rows),
        groups=tuple(r["group"] for r in rows),
        judged=np.array([g is not None for g in golds], dtype=bool),
        gold=golds,
        probes=found["probes"],
        paths=found["paths"],
        probe_tokens=_numbers(rows, "probes", "tokens", m),
        path_tokens=_numbers(rows, "paths", "tokens", k),
        probe_prompt=np.array([r["prompt"][0] for r in rows], dtype=np.float64),
        path_prompt=np.array([r["prompt"][1] for r in rows], dtype=np.float64),
        probe_seconds=np.array([r["seconds"][0] for r in rows], dtype=np.float64),
        path_seconds=np.array([r["seconds"][1] for r in rows], dtype=np.float64),
        logp=_numbers(rows, "paths", "logp", k),
        score=_numbers(rows, "paths", "score", k),
        score_question=_scoring(rows, "question"),
        score_read=_numbers(rows, "paths", "read", k),
        score_states=_numbers(rows, "paths", "states", k),
        score_seconds=_scoring(rows, "seconds"),
        perplexity=np.exp(-_numbers(rows, "probes", "logp", m)[:, 0]) if m else np.empty(0),
        margin=_numbers(rows, "probes", "margin", m)[:, 0] if m else np.empty(0),
        swapped=_numbers(rows, "probes", "swapped", m).astype(bool),
        hygiene={part: h.as_dict() for part, h in hygiene.items()} | {"greedy_twice": _greedy_twice(rows)},
        refused=dict(refused),
        options=sizes.pop() if len(sizes) == 1 and 0 not in sizes else None,
    )


def _numbers(rows: Sequence[Mapping[str, Any]], part: str, name: str, width: int) -> np.ndarray:
    out = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        for j, said in enumerate(row[part]):
            if said.get(name) is not None:
                out[i, j] = said[name]
    return out


def _scoring(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """(n,) what scoring an item cost; NaN where it was not scored, or before this was measured."""
    return np.array([r.get("scoring", {}).get(name, np.nan) for r in rows], dtype=np.float64)


def _greedy_twice(rows: Sequence[Mapping[str, Any]]) -> int:
    """Items with two greedy direct answers to one prompt: the second vote is free."""

    def twice(row: Mapping[str, Any]) -> bool:
        greedy = [s["swapped"] for s in row["probes"] if s["temperature"] == 0]
        return len(greedy) > len(set(greedy))

    return sum(twice(r) for r in rows)


@dataclass(slots=True)
class Hygiene:
    """What became of the texts of one kind: none of these is ever a silent zero."""

    texts: int = 0
    cut: int = 0
    unannounced: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, said: Mapping[str, Any], failure: str) -> None:
        self.texts += 1
        self.cut += said["cut"]
        self.unannounced += said["how"] == "last line"
        if failure:
            self.failures[failure] += 1

    def as_dict(self) -> dict[str, Any]:
        return {"texts": self.texts, "cut": self.cut, "unannounced": self.unannounced, "failures": dict(self.failures)}


# ------------------------------------------------------------------------------------------------- one setting


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
    def right(self) -> np.ndarray:
        """(n,) bool: right by E-GRM."""
        return np.where(self.short, self.direct_right, self.path_right)


def choose(keys: Sequence[str | None], score: np.ndarray, logp: np.ndarray, how: str) -> int:
    """Which of k paths is taken; among those with a readable answer where there is one.

    Ties of a vote go to the answer given first, all other ties to the earlier path.
    """
    readable = [j for j, x in enumerate(keys) if x is not None]
    if not readable:
        return 0
    if how in ("vote", "weighted"):
        weights: dict[str, float] = {}
        for j in readable:
            weights[keys[j]] = weights.get(keys[j], 0.0) + (float(score[j]) if how == "weighted" else 1.0)  # type: ignore[index]
        best = max(weights, key=weights.__getitem__)
        mine = [j for j in readable if keys[j] == best]
        return max(mine, key=lambda j: float(score[j])) if how == "weighted" else mine[0]
    values = score if how == "scorer" else logp
    return max(readable, key=lambda j: float(values[j]) if np.isfinite(values[j]) else -np.inf)


def replay(items: Items, setting: Setting) -> Replayed:
    n = items.n
    direct = np.full(n, None, dtype=object)
    share, entropy, stop = np.zeros(n), np.zeros(n), np.zeros(n)
    chosen, voted, short = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, bool)
    for i in range(n):
        answers = list(items.probes[i, : setting.m])
        found = consensus(answers)
        direct[i], share[i], entropy[i] = found.answer, found.share, found.entropy
        short[i] = found.answer is not None and found.votes >= setting.wanted
        _, drawn = early_stop(answers, setting.wanted)
        stop[i] = items.probe_tokens[i, :drawn].sum()
        paths = list(items.paths[i, : setting.k])
        chosen[i] = choose(paths, items.score[i], items.logp[i], setting.choose)
        voted[i] = choose(paths, items.score[i], items.logp[i], "vote")
    row = np.arange(n)
    scores = setting.choose in SCORED
    encoder = items.score_question + items.score_read[:, : setting.k].sum(1) if scores else np.zeros(n)
    states = items.score_states[:, : setting.k].sum(1) if scores else np.zeros(n)

    def right(answers: np.ndarray) -> np.ndarray:
        return np.array([a is not None and a == g for a, g in zip(answers, items.gold, strict=True)], dtype=bool)

    return Replayed(
        setting, share, entropy, direct, short, chosen, voted, right(direct), right(items.paths[row, chosen]),
        right(items.paths[row, voted]), right(items.probes[:, 0]), right(items.paths[:, 0]),
        items.probe_tokens[:, : setting.m].sum(1), items.path_tokens[:, : setting.k].sum(1), stop, encoder, states,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- policies


@dataclass(frozen=True, slots=True)
class Policy:
    """One way of answering everything.

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


def policies(items: Items, found: Replayed) -> list[Policy]:
    """The policies side by side, over the items with a gold answer."""
    j = items.judged
    s = found.setting
    all_paths, direct_prompt = found.path_cost, items.probe_prompt
    whole = s.m == items.m, s.k == items.k

    def policy(name: str, label: str, right: np.ndarray, tokens: np.ndarray, prompt: np.ndarray, long: np.ndarray,
               seconds: np.ndarray | None, asks: np.ndarray | None = None) -> Policy:  # fmt: skip
        """``asks``: (n,) chance that the item's paths are scored, None for a policy that asks no scorer."""
        exact = right.dtype == bool
        value = wilson(int(right[j].sum()), int(j.sum())) if exact else bootstrap_mean(right[j], DRAWS)
        mean = (lambda x: float(x[j].mean())) if j.any() else (lambda x: float("nan"))
        read = np.zeros(items.n) if asks is None else _times(asks, found.encoder_cost + found.states_cost)
        timed = None if seconds is None or not np.isfinite(seconds[j]).all() else mean(seconds)
        return Policy(name, label, value, mean(tokens), mean(prompt), mean(read), timed, mean(long.astype(float)))

    none, every = np.zeros(items.n), np.ones(items.n)
    thinks = ~found.short
    rate = float(thinks[j].mean()) if j.any() else 0.0
    oracle_long = ~found.direct_right & found.path_right
    probe_s = items.probe_seconds if whole[0] else None
    path_s = items.path_seconds if whole[1] else None
    chosen_s = None if path_s is None else path_s + (items.score_seconds if s.choose in SCORED else 0.0)
    both = None if probe_s is None or chosen_s is None else probe_s + _times(thinks, chosen_s)
    out = [
        policy("direct_1", "Always direct, first answer", found.first_right, items.probe_tokens[:, 0], direct_prompt,
               none, None),
        policy("direct_m", f"Always direct, vote of {s.m}", found.direct_right, found.probe_cost, direct_prompt, none,
               probe_s),
        policy("path_1", "Always reason, one path", found.one_path_right, items.path_tokens[:, 0], items.path_prompt,
               every, None),
        policy("path_vote", f"Always reason, vote of {s.k}", found.vote_right, all_paths, items.path_prompt, every,
               path_s),
    ]  # fmt: skip
    if s.choose != "vote":
        out.append(policy("path_k", f"Always reason, {_WORDS[s.choose]} of {s.k}", found.path_right, all_paths,
                          items.path_prompt, every, chosen_s, every))  # fmt: skip
    out += [
        policy("egrm", "E-GRM", found.right, found.probe_cost + thinks * all_paths,
               direct_prompt + thinks * items.path_prompt, thinks, both, thinks),
        policy("random", "Random router, equal share",
               (1 - rate) * found.direct_right + rate * found.path_right.astype(float),
               found.probe_cost + rate * all_paths, direct_prompt + rate * items.path_prompt, every * rate, None,
               every * rate),
        policy("oracle", "Oracle router", np.where(oracle_long, found.path_right, found.direct_right),
               found.probe_cost + oracle_long * all_paths, direct_prompt + oracle_long * items.path_prompt,
               oracle_long, None, oracle_long),
    ]  # fmt: skip
    return out


def _times(share: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """share · cost, where a cost that was not measured matters only if there is a share of it."""
    return np.where(share > 0, share * cost, 0.0)


_WORDS = {"scorer": "best score", "weighted": "weighted vote", "likelihood": "likeliest"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """E-GRM against another policy on the same items: points of accuracy with a paired bootstrap interval; tokens."""

    label: str
    points: Interval
    tokens_ratio: float


def comparisons(items: Items, found: Replayed) -> list[Comparison]:
    """Differences of E-GRM to each policy, so that every saving names its baseline."""
    j = items.judged
    if not j.any():
        return []
    rate = float((~found.short[j]).mean())
    cost = (found.probe_cost + ~found.short * found.path_cost)[j]
    others: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("Always direct, first answer", found.first_right, items.probe_tokens[:, 0]),
        (f"Always direct, vote of {found.setting.m}", found.direct_right, found.probe_cost),
        ("Always reason, one path", found.one_path_right, items.path_tokens[:, 0]),
        (f"Always reason, vote of {found.setting.k}", found.vote_right, found.path_cost),
        (f"Always reason, {found.setting.k} paths, same choice", found.path_right, found.path_cost),
        (
            "Random router, equal share",
            (1 - rate) * found.direct_right + rate * found.path_right,
            found.probe_cost + rate * found.path_cost,
        ),
    ]
    if found.setting.choose == "vote":
        others.pop(4)
    return [
        Comparison(
            label,
            bootstrap_mean(found.right[j].astype(float) - right[j].astype(float), DRAWS),
            float(cost.sum() / tokens[j].sum()) if tokens[j].sum() else float("nan"),
        )
        for label, right, tokens in others
    ]


# ------------------------------------------------------------------------------------------- curves and levels


@dataclass(frozen=True, slots=True)
class Point:
    """One step of the curve: route short from ``wanted`` votes on (M + 1: never)."""

    wanted: int
    tau: float
    accuracy: float
    random: float
    tokens: float
    short: float


def curve(items: Items, m: int, k: int, how: str) -> list[Point]:
    """E-GRM over all settings of τ that differ: there are M + 1 of them, not a continuum."""
    out = []
    found = replay(items, Setting(1, m, k, how))
    j = items.judged
    votes = np.rint(found.share * m)
    for wanted in range(1, m + 2):
        short = (votes >= wanted) & np.array([a is not None for a in found.direct])
        right = np.where(short, found.direct_right, found.path_right)[j]
        rate = float((~short[j]).mean()) if j.any() else float("nan")
        random = (1 - rate) * found.direct_right[j].mean() + rate * found.path_right[j].mean() if j.any() else np.nan
        tokens = (found.probe_cost + ~short * found.path_cost)[j]
        out.append(
            Point(
                wanted, wanted / m, float(right.mean()) if j.any() else float("nan"), float(random),
                float(tokens.mean()) if j.any() else float("nan"), 1 - rate,
            )
        )  # fmt: skip
    return out


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


def levels(items: Items, found: Replayed) -> list[Level]:
    """Consensus levels 0 to M with how often the consensus is right there, and from there on upwards."""
    m, j = found.setting.m, items.judged
    votes = np.rint(found.share * m).astype(int)
    chances = chance_of_votes(m, items.options) if items.options else None
    out = []
    for level in range(m + 1):
        here, above = j & (votes == level), j & (votes >= level)
        k, n = int(found.direct_right[here].sum()), int(here.sum())
        out.append(
            Level(
                level, n, k, wilson(k, n), None if chances is None else chances[level],
                float(above.sum() / j.sum()) if j.any() else float("nan"),
                float(found.direct_right[above].mean()) if above.any() else float("nan"),
            )
        )  # fmt: skip
    return out


def calibration(items: Items, found: Replayed) -> dict[str, float]:
    """How well consensus tells right from wrong direct answers, and the rival signals beside it.

    ECE and Brier take the share as a probability; AUROC is for each signal the chance that a right item ranks above a
    wrong one (0.5 is chance).
    """
    j = items.judged
    right = found.direct_right[j]
    share = found.share[j]
    return {
        "ece": calibration_error(share, right),
        "brier": brier(share, right),
        "auroc_consensus": auroc(share, right),
        "auroc_entropy": auroc(-found.entropy[j], right),
        "auroc_perplexity": auroc(-items.perplexity[j], right),
        "auroc_margin": auroc(items.margin[j], right),
    }


# -------------------------------------------------------------------------------------------------- single items

LISTS: dict[str, str] = {
    "confident": "Confidently wrong: enough agree, and they are wrong",
    "rescue": "Rescued: direct answers are wrong, reasoning is right",
    "harm": "Harmed: direct answers are right, reasoning is wrong",
    "wasted": "Thought for nothing: both are right, and it reasoned",
    "missed": "Neither is right, and it reasoned",
}


def lists(items: Items, found: Replayed) -> dict[str, np.ndarray]:
    """Name of each list to the indices of its items; what is confidently wrong with most agreement stands first."""
    j, d, p, short = items.judged, found.direct_right, found.path_right, found.short
    masks = {
        "confident": j & short & ~d,
        "rescue": j & ~short & ~d & p,
        "harm": j & ~short & d & ~p,
        "wasted": j & ~short & d & p,
        "missed": j & ~short & ~d & ~p,
    }
    out = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    out["confident"] = out["confident"][np.argsort(-found.share[out["confident"]], kind="stable")]
    return out


def outcomes(items: Items, found: Replayed) -> dict[tuple[bool, bool, bool], int]:
    """(short, direct right, reasoning right) to number of items."""
    j = items.judged
    cells = zip(found.short[j], found.direct_right[j], found.path_right[j], strict=True)
    return dict(Counter((bool(a), bool(b), bool(c)) for a, b, c in cells))


def order_agreement(items: Items, found: Replayed) -> tuple[int, int] | None:
    """Judging mode: items whose majority verdict is the same in both orders, of those with a verdict in both."""
    m = found.setting.m
    if not items.swapped[:, :m].any():
        return None
    same = asked = 0
    for i in range(items.n):
        turned = items.swapped[i, :m]
        one = consensus(list(items.probes[i, :m][~turned])).answer
        other = consensus(list(items.probes[i, :m][turned])).answer
        if one is not None and other is not None:
            asked += 1
            same += one == other
    return same, asked


def group_rows(items: Items, found: Replayed) -> list[dict[str, Any]]:
    """The route split by group; empty where items name none."""
    names = list(dict.fromkeys(g for g in items.groups if g is not None))
    if not names:
        return []
    groups = np.array(items.groups, dtype=object)
    out = []
    for name in names:
        here = items.judged & (groups == name)
        if here.any():
            row = {"group": name, "n": int(here.sum()), "short": float(found.short[here].mean())}
            for column, right in (
                ("direct", found.direct_right), ("reason", found.path_right), ("egrm", found.right),
            ):  # fmt: skip
                row[column] = float(right[here].mean())
            out.append(row)
    return out


def normaliser_difference(kept: Sequence[Mapping[str, Any]], items: Items, setting: Setting, strict: bool) -> int:
    """Items whose route or consensus answer's correctness is another under the author's exact comparison."""
    if not items.n or any(r["pair"] for r in kept):
        return 0
    exact = replay(load(kept, "exact", strict), setting)
    found = replay(items, setting)
    return int(((exact.short != found.short) | (exact.direct_right != found.direct_right)).sum())
