"""The review queue: the rows whose judgement by a person would teach the diagnosis most, in rounds of thirty."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.causes import UNDETERMINED, ordered_causes
from core.services.labels import NOTHING, reviews_of
from core.services.runs import get_run
from core.signals import _columns as col
from core.types import PIPELINE, STRENGTH, Filter, Term
from db import people as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

# Rows of a round: what a person can judge in one sitting of a quarter of an hour.
ROUND = 30


@dataclass(frozen=True, slots=True)
class Queued:
    """A row of the queue.

    Attributes:
        doubt: how unsure its verdict is, in [0, 1].
        alike: rows that were not learned and share its question and answer pattern, itself included.
        reviewed: a person said something about it.
    """

    ordinal: int
    sid: str
    prompt: str
    response: str
    status: str
    cause: str | None
    confidence: float | None
    doubt: float
    alike: int
    reviewed: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """One round of the queue. ``number`` from 1, of ``rounds``; ``done``: rows of it that were reviewed."""

    number: int
    rounds: int
    rows: tuple[Queued, ...]
    done: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """All rows worth a review, the most instructive first.

    (n,) ``ordinals``, the ``doubt`` of each, and how many rows are ``alike``, itself included.
    """

    ordinals: np.ndarray
    doubt: np.ndarray
    alike: np.ndarray


def queue(run_id: int, number: int | None = None, ranked: Ranked | None = None) -> Queue:
    """A round of the queue; by default the first that is not finished, or the last one.

    The order rests on verdicts alone, so that a row stays in its round when it is reviewed; ``ranked`` is that order
    where it was asked for before.
    """
    run = get_run(run_id)
    ranked = rank(run_id) if ranked is None else ranked
    order = ranked.ordinals
    with database().reading() as conn:
        reviewed = set(table.overrides_of(conn, run_id))
        rounds = max(1, math.ceil(len(order) / ROUND))
        if number is None:
            first = np.flatnonzero(~np.isin(order, list(reviewed)))
            number = int(first[0]) // ROUND + 1 if len(first) else rounds
        number = min(max(number, 1), rounds)
        places = range((number - 1) * ROUND, min(number * ROUND, len(order)))
        mine = [int(order[i]) for i in places]
        judged = verdict_table.judged(conn, run, mine)
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, mine)) if mine else []
    rows = tuple(
        Queued(
            s.ordinal, s.id, s.prompt, s.response, judged[s.ordinal]["status"], judged[s.ordinal]["cause"],
            judged[s.ordinal]["confidence"], float(ranked.doubt[i]), int(ranked.alike[i]), s.ordinal in reviewed,
        )
        for i, s in zip(places, samples, strict=True)
    )  # fmt: skip
    return Queue(number, rounds, rows, sum(r.reviewed for r in rows))


def rank(run_id: int) -> Ranked:
    """All rows worth a review.

    A row is worth ``doubt × log2(1 + alike)``. The best row of every pattern comes before the second of any, so that a
    round does not ask the same thing thirty times.
    """
    run = get_run(run_id)
    names = [c.name for c in run.columns]
    strengths = [s for s in (STRENGTH.of(c.name) for c in ordered_causes()) if s in names]
    patterns = [p for p in (col.PATTERN, col.ANSWER_PATTERN) if p in names]
    missing = Filter((Term("status", "in", ("partly", "unlearned")), Term("cause", "not_in", (None,))))
    with database().reading() as conn:
        wanted = ["ordinal", "cause", "confidence", *strengths, *patterns]
        values = verdict_table.verdict_columns(conn, run, wanted, missing)
    judged = np.array([PIPELINE.member(name) is None for name in values["cause"]], dtype=bool)
    values = {name: column[judged] for name, column in values.items()}
    unsure = _doubt(values["cause"], values["confidence"], [values[s] for s in strengths])
    ordinals = values["ordinal"].astype(np.int64)
    pattern, alike = _patterns([values[p] for p in patterns], len(ordinals))
    worth = np.lexsort((ordinals, -unsure * np.log2(1 + alike)))
    # How many rows of the same pattern stand before each, by worth.
    by_pattern = worth[np.argsort(pattern[worth], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(np.bincount(pattern)))).astype(np.int64)
    turn = np.empty(len(ordinals), dtype=np.int64)
    turn[by_pattern] = np.arange(len(ordinals)) - starts[pattern[by_pattern]]
    order = worth[np.argsort(turn[worth], kind="stable")]
    return Ranked(ordinals[order], unsure[order], alike[order])


def _doubt(cause: np.ndarray, confidence: np.ndarray, strengths: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) 1 − the confidence in the named cause; without one, 1 − the lead of the strongest over the second."""
    known = np.array([np.where(np.isfinite(s), s, -np.inf) for s in strengths]).reshape(len(strengths), len(cause))
    lead = np.zeros(len(cause))
    if len(strengths) > 1:
        second, first = np.sort(known, axis=0)[-2:]
        both = np.isfinite(second)
        lead[both] = first[both] - second[both]
    named = (cause != UNDETERMINED) & np.isfinite(confidence)
    return np.asarray(1.0 - np.where(named, confidence, lead), dtype=np.float64)


def _patterns(columns: Sequence[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) number of each row's pattern, and how many rows have it; a row without patterns is like itself alone."""
    if not columns or not n:
        return np.arange(n), np.ones(n, dtype=np.int64)
    keys = np.column_stack([*columns, np.zeros(n)])
    alone = ~np.isfinite(keys).all(axis=1)
    keys[alone] = 0.0
    keys[alone, -1] = 1.0 + np.flatnonzero(alone)
    _, pattern, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return pattern, counts[pattern]


def lines(run_id: int, number: int | None = None) -> Iterator[bytes]:
    """The round as a file to fill in and to take in again: one JSON object per row, with what was said already."""
    this_round = queue(run_id, number)
    with database().reading() as conn:
        reviews = reviews_of(conn, run_id, [r.ordinal for r in this_round.rows])
    for row in this_round.rows:
        line = {
            "id": row.sid, "prompt": row.prompt, "target": row.response, "status": row.status, "cause": row.cause,
            **reviews.get(row.ordinal, NOTHING),
        }  # fmt: skip
        yield json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
