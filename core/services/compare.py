"""Two runs beside each other: which samples are the same, and what changed from the first to the second."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.services.runs import get_run
from core.signals import _columns as col
from core.statistics import Paired, paired
from core.types import Filter, Run, Sample
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

# What became of a sample, in the order shown.
CHANGES = ("fixed", "broken", "still", "kept", "unknown")
# An id made from the content, where the user's rows had none.
_MADE = re.compile(r"[0-9a-f]{12}-[0-9]+")


@dataclass(frozen=True, slots=True)
class Match:
    """Which samples of two datasets are the same.

    Attributes:
        how: in words for people.
        first, second: (k,) ordinals, pair by pair, in the order of the first dataset.
        only_first, only_second: samples without a partner.
    """

    how: str
    first: np.ndarray
    second: np.ndarray
    only_first: int
    only_second: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed among the matched samples that pass the filter of the first run.

    Attributes:
        counts: change to pairs; ``cause_changed`` pairs that are learned in neither and whose cause differs.
        status: (status in the first, in the second) to pairs; ``causes`` the same of the pairs learned in neither.
        effect: change of the share learned; None where no pair has a status in both.
        different: pairs whose status or cause differs.
    """

    how: str
    matched: int
    only_first: int
    only_second: int
    counts: Mapping[str, int]
    cause_changed: int
    status: Mapping[tuple[str, str], int]
    causes: Mapping[tuple[str | None, str | None], int]
    effect: Paired | None
    different: int


@dataclass(frozen=True, slots=True)
class PairRows:
    """One page of pairs. ``start``: place of its first row among ``matching``."""

    rows: tuple[Mapping[str, Any], ...]
    matching: int
    start: int


# ----------------------------------------------------------------------------------------------------- which are one


def match(first_id: int, second_id: int) -> Match:
    """Samples of two runs by the dataset itself, by the user's own ids, else by the prompt.

    Rows that ask the same are matched by equal content first, then in their order; a prompt that one run has more often
    leaves the rest without a partner.
    """
    one, two = get_run(first_id), get_run(second_id)
    if one.spec.dataset_id == two.spec.dataset_id:
        places = np.arange(one.n_samples)
        return Match("the same dataset", places, places, 0, 0)
    with database().reading() as conn:
        mine, theirs = (sample_table.order(conn, r.spec.dataset_id)["sid"] for r in (one, two))
        if _are_own(mine) and _are_own(theirs):
            at = {sid: i for i, sid in enumerate(theirs)}
            pairs = [(i, at[sid]) for i, sid in enumerate(mine) if sid in at]
            if pairs:
                return _match("the rows' own ids", pairs, len(mine), len(theirs))
        keys = [_prompts(conn, r.spec.dataset_id) for r in (one, two)]
    return _match("equal prompts", _by_prompt(*keys), len(mine), len(theirs))


def _are_own(sids: Sequence[str]) -> bool:
    return sum(bool(_MADE.fullmatch(s)) for s in sids) < 0.5 * len(sids)


def _match(how: str, pairs: Sequence[tuple[int, int]], n_first: int, n_second: int) -> Match:
    first, second = (np.array([p[side] for p in pairs], dtype=np.int64) for side in (0, 1))
    return Match(how, first, second, n_first - len(pairs), n_second - len(pairs))


def _prompts(conn: Any, dataset_id: int) -> list[tuple[bytes, str]]:
    """(n,) hash of what each sample asks, and the hash of its whole content."""
    return [(_asked(s), s.content_hash) for s in sample_table.iter_samples(conn, dataset_id)]


def _asked(sample: Sample) -> bytes:
    """Of everything before the last answer; of a plain text, which asks nothing, the whole."""
    text = sample.prompt or sample.response
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()[:16]


def _by_prompt(mine: Sequence[tuple[bytes, str]], theirs: Sequence[tuple[bytes, str]]) -> list[tuple[int, int]]:
    waiting: dict[bytes, list[int]] = defaultdict(list)
    for j, (prompt, _) in enumerate(theirs):
        waiting[prompt].append(j)
    pairs: dict[int, int] = {}
    for equal in (True, False):
        for i, (prompt, content) in enumerate(mine):
            if i in pairs:
                continue
            fit = [j for j in waiting[prompt] if not equal or theirs[j][1] == content]
            if fit:
                pairs[i] = fit[0]
                waiting[prompt].remove(fit[0])
    return sorted(pairs.items())


# ---------------------------------------------------------------------------------------------------- what changed


def compare(first_id: int, second_id: int, chosen: Filter, matched: Match | None = None) -> Comparison:
    """What changed from the first run to the second."""
    pairs = _Pairs(get_run(first_id), get_run(second_id), chosen, matched or match(first_id, second_id))
    counts = {name: int((pairs.change == name).sum()) for name in CHANGES}
    known = len(pairs.change) - counts["unknown"]
    neither = pairs.change == "still"
    return Comparison(
        how=pairs.matched.how,
        matched=len(pairs.change),
        only_first=pairs.matched.only_first,
        only_second=pairs.matched.only_second,
        counts=counts,
        cause_changed=int((neither & pairs.cause_differs).sum()),
        status=_crossed(*pairs.status),
        causes=_crossed(*(c[neither] for c in pairs.cause)),
        effect=paired(counts["fixed"], counts["broken"], known),
        different=int(pairs.differs.sum()),
    )


def rows(
    first_id: int, second_id: int, chosen: Filter, change: str | None, different_only: bool, start: int, limit: int,
    matched: Match | None = None,
) -> PairRows:  # fmt: skip
    """One page of pairs in training order.

    Args:
        change: one of ``CHANGES``, ``cause`` for a changed cause, or None for all.
        different_only: leave out pairs whose status and cause are the same in both.
        start: place of the first row among those that pass.
    """
    one, two = get_run(first_id), get_run(second_id)
    pairs = _Pairs(one, two, chosen, matched or match(first_id, second_id))
    keep = np.ones(len(pairs.change), dtype=bool)
    if change == "cause":
        keep &= (pairs.change == "still") & pairs.cause_differs
    elif change in CHANGES:
        keep &= pairs.change == change
    if different_only:
        keep &= pairs.differs
    places = np.flatnonzero(keep)
    start = max(0, min(start, max(0, len(places) - 1)))
    shown = places[start : start + limit]
    return PairRows(tuple(_row(one, two, pairs, shown)), len(places), start)


class _Pairs:
    """Status and cause of every matched pair whose first sample passes the filter."""

    def __init__(self, one: Run, two: Run, chosen: Filter, matched: Match) -> None:
        self.matched = matched
        names = ("status", "cause")
        with database().reading() as conn:
            both = [verdict_table.verdict_columns(conn, run, names) for run in (one, two)]
            if chosen.terms or chosen.text:
                passing = np.zeros(one.n_samples, dtype=bool)
                passing[list(verdict_table.ordinals(conn, one, chosen))] = True
                kept = passing[matched.first]
            else:
                kept = np.ones(len(matched.first), dtype=bool)
        self.places = matched.first[kept], matched.second[kept]
        self.status = tuple(f["status"][at] for f, at in zip(both, self.places, strict=True))
        self.cause = tuple(f["cause"][at] for f, at in zip(both, self.places, strict=True))
        before, after = (s == "learned" for s in self.status)
        unknown = (self.status[0] == "unknown") | (self.status[1] == "unknown")
        self.change = np.select(
            [unknown, before & after, before, after], ["unknown", "kept", "broken", "fixed"], default="still"
        )
        self.cause_differs = self.cause[0] != self.cause[1]
        self.differs = (self.status[0] != self.status[1]) | self.cause_differs


def _crossed(first: np.ndarray, second: np.ndarray) -> dict[tuple[Any, Any], int]:
    out: dict[tuple[Any, Any], int] = {}
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        out[pair] = out.get(pair, 0) + 1
    return out


def _row(one: Run, two: Run, pairs: _Pairs, shown: np.ndarray) -> list[Mapping[str, Any]]:
    first, second = ([int(o) for o in at[shown]] for at in pairs.places)
    with database().reading() as conn:
        judged = verdict_table.judged(conn, one, first), verdict_table.judged(conn, two, second)
        samples = {s.ordinal: s for s in sample_table.iter_samples(conn, one.spec.dataset_id, first)}
    out: list[Mapping[str, Any]] = []
    for at, a, b in zip(shown, first, second, strict=True):
        left, right, sample = judged[0][a], judged[1][b], samples[a]
        out.append(
            {
                "change": str(pairs.change[at]), "sid": left["sid"], "other_sid": right["sid"],
                "prompt": sample.prompt, "response": sample.response,
                "status": left["status"], "other_status": right["status"], "cause": left["cause"],
                "other_cause": right["cause"], "nll": left.get(col.NLL), "other_nll": right.get(col.NLL),
            }
        )  # fmt: skip
    return out
