"""The review queue: the rows whose judgement by a person would teach the diagnosis most, in rounds of thirty."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.causes import UNDETERMINED, ordered_causes
from core.services.labels import NOTHING, reviews_of
from core.services.runs import get_run
from core.signals import _columns as col
from core.types import PIPELINE, STRENGTH, Run
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


def queue(run_id: int, number: int | None = None) -> Queue:
    """A round of the queue; by default the first that is not finished, or the last one.

    The order rests on verdicts alone, so that a row stays in its round when it is reviewed.
    """
    run = get_run(run_id)
    with database().reading() as conn:
        order, doubt, alike = _order(conn, run)
        reviewed = set(table.overrides_of(conn, run_id))
        rounds = max(1, math.ceil(len(order) / ROUND))
        if number is None:
            open_rounds = (i // ROUND + 1 for i, o in enumerate(order) if o not in reviewed)
            number = next(open_rounds, rounds)
        number = min(max(number, 1), rounds)
        mine = order[(number - 1) * ROUND : number * ROUND]
        judged = verdict_table.judged(conn, run, mine)
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, mine)) if mine else []
    rows = tuple(
        Queued(
            s.ordinal, s.id, s.prompt, s.response, judged[s.ordinal]["status"], judged[s.ordinal]["cause"],
            judged[s.ordinal]["confidence"], doubt[s.ordinal], alike[s.ordinal], s.ordinal in reviewed,
        )
        for s in samples
    )  # fmt: skip
    return Queue(number, rounds, rows, sum(r.reviewed for r in rows))


def _order(conn: Any, run: Run) -> tuple[list[int], dict[int, float], dict[int, int]]:
    """All rows worth a review, the most instructive first, with the doubt and the number of like rows of each.

    A row is worth ``doubt × log2(1 + alike)``. The best row of every pattern comes before the second of any, so that a
    round does not ask the same thing thirty times.
    """
    names = [c.name for c in run.columns]
    strengths = [s for s in (STRENGTH.of(c.name) for c in ordered_causes()) if s in names]
    patterns = [p for p in (col.PATTERN, col.ANSWER_PATTERN) if p in names]
    wanted = ["status", "cause", "confidence", *strengths, *patterns]
    values = verdict_table.verdict_columns(conn, run, wanted)
    at = verdict_table.verdict_columns(conn, run, ["ordinal"])["ordinal"].astype(np.int64)
    cause = values["cause"]
    rows = [
        i
        for i, (status, name) in enumerate(zip(values["status"], cause, strict=True))
        if status in ("partly", "unlearned") and name is not None and PIPELINE.member(name) is None
    ]
    unsure = {i: _doubt(cause[i], values["confidence"][i], [values[s][i] for s in strengths]) for i in rows}
    keys = {i: _key(i, [values[p][i] for p in patterns]) for i in rows}
    counts = Counter(keys.values())
    worth = sorted(rows, key=lambda i: (-unsure[i] * math.log2(1 + counts[keys[i]]), i))
    turn: Counter[Any] = Counter()
    turns = {}
    for i in worth:
        turns[i] = turn[keys[i]]
        turn[keys[i]] += 1
    order = sorted(worth, key=lambda i: turns[i])  # stable: within a turn by worth
    ordinals = at.tolist()
    return (
        [ordinals[i] for i in order],
        {ordinals[i]: unsure[i] for i in rows},
        {ordinals[i]: counts[keys[i]] for i in rows},
    )


def _doubt(cause: str, confidence: float, strengths: Sequence[float]) -> float:
    """1 − the confidence in the named cause; where none is named, 1 − the lead of the strongest over the second."""
    if cause != UNDETERMINED and math.isfinite(confidence):
        return float(1.0 - confidence)
    known = sorted((s for s in strengths if math.isfinite(s)), reverse=True)
    return float(1.0 - (known[0] - known[1] if len(known) > 1 else 0.0))


def _key(i: int, patterns: Sequence[float]) -> tuple[float, ...]:
    """What makes rows alike; a row without patterns is like itself alone."""
    return tuple(patterns) if patterns and all(math.isfinite(p) for p in patterns) else (-1.0 - i,)


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
