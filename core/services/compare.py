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


def compare(first_id: int, second_id: int, chosen: Filter, whole: Pairs | None = None) -> Comparison:
    """What changed from the first run to the second. ``whole``: all their pairs, where they are known already."""
    pairs = (whole or pairs_of(first_id, second_id)).passing(get_run(first_id), chosen)
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
    whole: Pairs | None = None,
) -> PairRows:  # fmt: skip
    """One page of pairs in training order.

    Args:
        change: one of ``CHANGES``, ``cause`` for a changed cause, or None for all.
        different_only: leave out pairs whose status and cause are the same in both.
        start: place of the first row among those that pass.
        whole: all pairs of the two runs, where they are known already.
    """
    one, two = get_run(first_id), get_run(second_id)
    pairs = (whole or pairs_of(first_id, second_id)).passing(one, chosen)
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


@dataclass(frozen=True, slots=True)
class Pairs:
    """Matched samples of two runs, in training order; reading the verdicts of both is most of what comparing takes.

    Attributes:
        places, status, cause: each of the first run and of the second, (n,).
        change: (n,) of ``CHANGES``. cause_differs, differs: (n,) whether the cause, or status or cause are others.
    """

    matched: Match
    places: tuple[np.ndarray, np.ndarray]
    status: tuple[np.ndarray, np.ndarray]
    cause: tuple[np.ndarray, np.ndarray]
    change: np.ndarray
    cause_differs: np.ndarray
    differs: np.ndarray

    def passing(self, one: Run, chosen: Filter) -> Pairs:
        """Those whose first sample passes the filter."""
        if not (chosen.terms or chosen.text):
            return self
        passes = np.zeros(one.n_samples, dtype=bool)
        with database().reading() as conn:
            passes[list(verdict_table.ordinals(conn, one, chosen))] = True
        kept = passes[self.places[0]]
        places, status, cause = ((a[kept], b[kept]) for a, b in (self.places, self.status, self.cause))
        return Pairs(
            self.matched, places, status, cause, self.change[kept], self.cause_differs[kept], self.differs[kept]
        )


def pairs_of(first_id: int, second_id: int) -> Pairs:
    """All matched samples of the two runs with their verdicts in both."""
    matched = match(first_id, second_id)
    with database().reading() as conn:
        one, two = (
            verdict_table.verdict_columns(conn, get_run(run), ("status", "cause")) for run in (first_id, second_id)
        )
    status = one["status"][matched.first], two["status"][matched.second]
    cause = one["cause"][matched.first], two["cause"][matched.second]
    before, after = (s == "learned" for s in status)
    unknown = (status[0] == "unknown") | (status[1] == "unknown")
    change = np.select(
        [unknown, before & after, before, after], ["unknown", "kept", "broken", "fixed"], default="still"
    )
    causes = cause[0] != cause[1]
    places = matched.first, matched.second
    return Pairs(matched, places, status, cause, change, causes, (status[0] != status[1]) | causes)


def _crossed(first: np.ndarray, second: np.ndarray) -> dict[tuple[Any, Any], int]:
    out: dict[tuple[Any, Any], int] = {}
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        out[pair] = out.get(pair, 0) + 1
    return out


def _row(one: Run, two: Run, pairs: Pairs, shown: np.ndarray) -> list[Mapping[str, Any]]:
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
