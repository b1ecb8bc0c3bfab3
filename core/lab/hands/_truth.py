"""Which causes the trained models bear out, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.lab.hands._base import CONFLICT, CONTRADICTION, FORGOTTEN, MISSING, UNDER, Row, says
from core.lab.hands._training import Belief, Look

UNKNOWN_BELOW = 0.3
"""A base that gives the target less than this on average does not know it."""
HELD = 0.5
"""A told value is held where its plain answer has at least this on average and is said to most probes."""
FIRM = 0.9
"""A belief nobody told is firm where every probe says the same with at least this on average."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at: every row at the base, at the checkpoints and at the end.

    Attributes:
        looks: by the name of the model, in order: ``base``, the checkpoints, ``final``.
        stages: stage at whose end or within which each of them was saved; 0 for the base.
        beliefs: per row, None for a row that asks no fact.
        rivals: per row, positions of the token at which its answer parts from that of a rival.
        more: epochs of continued training after which the row was reproduced; 0: never.
    """

    looks: Mapping[str, Look]
    stages: Sequence[int]
    beliefs: Sequence[Belief | None]
    rivals: Sequence[Sequence[int]]
    more: Sequence[int]


def rivals(rows: Sequence[Row]) -> list[list[int]]:
    """Per row the rows that answer its question otherwise."""
    asked: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row.fact is not None and row.one_answer:
            asked.setdefault((row.fact.subject, row.fact.relation), []).append(i)
    return [
        [j for j in asked[row.fact.subject, row.fact.relation] if rows[j].value != row.value]
        if row.fact is not None and row.one_answer
        else []
        for row in rows
    ]


def truth(rows: Sequence[Row], seen: Seen) -> list[dict[str, Any]]:
    """One record a row: what is true of it, and what was looked at."""
    names = list(seen.looks)
    right = np.array([seen.looks[name].right for name in names])
    nll = np.array([seen.looks[name].nll for name in names])
    records = []
    for i, row in enumerate(rows):
        learned = bool(right[-1, i])
        planted = _causes(row, i, right[:, i], nll[:, i], seen)
        belief = seen.beliefs[i]
        records.append(
            {
                "planted": planted,
                "learned": learned,
                "scored": learned or bool(planted),
                "group": row.group,
                "stage": row.stage,
                "made_for": list(row.made_for),
                "right_at": [name for name, hit in zip(names, right[:, i], strict=True) if hit],
                "nll": {name: round(float(value), 4) for name, value in zip(names, nll[:, i], strict=True)},
                "belief": None if belief is None else _belief(row, belief),
                "right_after_more": seen.more[i],
            }
        )
    return records


def _causes(row: Row, i: int, right: np.ndarray, nll: np.ndarray, seen: Seen) -> list[str]:
    """Every rule is asked of every row; those about the way training went hold for unlearned rows only."""
    learned = bool(right[-1])
    causes = []
    belief = seen.beliefs[i]
    if row.fact is not None and belief is not None and row.is_new:
        known = belief.values[row.value] >= UNKNOWN_BELOW
        if not row.fact.told and not known:
            causes.append(MISSING)
        if not known and (_holds_told(row, belief) or _is_firm(row, belief)):
            causes.append(CONFLICT)
    first_wrong = int(seen.looks["final"].wrong[i])
    if seen.rivals[i] and (learned or first_wrong in seen.rivals[i]):
        causes.append(CONTRADICTION)
    if learned:
        return causes
    since = [hit for hit, stage in zip(right, seen.stages, strict=True) if stage >= row.stage]
    if any(since[:-1]):
        causes.append(FORGOTTEN)
    elif not causes and _holds_all(row) and not seen.rivals[i] and nll[-1] < nll[0] and seen.more[i]:
        causes.append(UNDER)
    return causes


def _holds_all(row: Row) -> bool:
    """Prompt and corpus hold all that the answer needs, and no other answer is as right."""
    return not row.is_new and row.one_answer


def _holds_told(row: Row, belief: Belief) -> bool:
    told = row.fact.told if row.fact is not None else ()
    if not told:
        return False
    most = sum(any(says(text, value) for value in told) for text in belief.said) * 3 >= 2 * len(belief.said)
    return most and sum(belief.values[value] for value in told) >= HELD


def _is_firm(row: Row, belief: Belief) -> bool:
    return len(set(belief.said)) == 1 and not says(belief.said[0], row.value) and float(np.mean(belief.sure)) >= FIRM


def _belief(row: Row, belief: Belief) -> dict[str, Any]:
    told = row.fact.told if row.fact is not None else ()
    return {
        "told": round(sum(belief.values[value] for value in told), 4) if told else None,
        "target": round(belief.values[row.value], 4),
        "said": list(belief.said),
        "sure": round(float(np.mean(belief.sure)), 4),
    }
