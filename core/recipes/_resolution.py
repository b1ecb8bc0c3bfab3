"""What happens to each row of a contradiction, and an order that keeps two sides out of one batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.recipes._base import Pool, Ruling
from core.recipes._groups import Groups
from core.recipes._order import Order

KEEP, DROP, REWRITE, SPREAD = range(4)
_ACTIONS = {"keep": KEEP, "drop": DROP, "rewrite": REWRITE}


@dataclass(frozen=True, slots=True)
class Resolution:
    """``action``: (m,) for each row of a group; ``by_person``: how many of them a person decided."""

    action: np.ndarray
    by_person: int

    def note(self, groups: Groups) -> str:
        """The counts in a sentence."""
        kept, rewritten, dropped, spread = (int((self.action == a).sum()) for a in (KEEP, REWRITE, DROP, SPREAD))
        return (
            f"{len(np.unique(groups.group)):,} contradictions with {len(groups.ordinals):,} rows: {kept:,} kept, "
            f"{rewritten:,} rewritten, {dropped:,} dropped, {spread:,} spread; {self.by_person:,} of them as decided "
            "by hand."
        )


# ------------------------------------------------------------------------------------------------------ decisions


def rulings(pool: Pool, groups: Groups) -> dict[int, Ruling]:
    """Place in ``groups`` to what was decided about the row: by the file where it names the row, else by the pool.

    Raises:
        UserError: a line of the file that is no decision.
    """
    by_id: dict[str, Ruling] = {}
    if "decisions" in pool.files:
        with pool.files["decisions"].open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    by_id.update([_ruling(line, number)])
    by_place = {}
    for i, (sid, content) in enumerate(zip(groups.sids, groups.hashes, strict=True)):
        if ruling := by_id.get(sid) or pool.rulings.get(content):
            by_place[i] = ruling
    return by_place


def _ruling(line: bytes, number: int) -> tuple[str, Ruling]:
    try:
        decision = json.loads(line)
        sid, action, text = str(decision["id"]), decision["action"], decision.get("text") or ""
        if action not in _ACTIONS or not isinstance(text, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Line {number} of the decisions is none.",
            "A line holds id and action: keep, drop or rewrite; beside rewrite a text.",
            'For example {"id": "row-7", "action": "rewrite", "text": "The new answer."}',
        ) from error
    return sid, Ruling(action, text)


def resolve(groups: Groups, decided: Mapping[int, Ruling], undecided: str, ties: str) -> Resolution:
    """What happens to each row of each group; ``undecided`` and ``ties`` are the recipe's settings."""
    action = np.full(len(groups.ordinals), SPREAD, dtype=np.int8)
    by_hand = np.zeros(len(groups.ordinals), dtype=bool)
    for i, ruling in decided.items():
        # A rewriting without a text: both sides are valid.
        action[i] = SPREAD if ruling.kind == "rewrite" and not ruling.text else _ACTIONS[ruling.kind]
        by_hand[i] = True
    for inside in groups.each():
        if by_hand[inside].any():
            _follow(action, by_hand, groups.side, inside)
        elif undecided == "drop":
            action[inside] = DROP
        elif (winner := _winner(groups, inside, undecided, ties)) is not None:
            action[inside] = np.where(groups.side[inside] == winner, KEEP, DROP)
    return Resolution(action, int(by_hand.sum()))


def _follow(action: np.ndarray, by_hand: np.ndarray, side: np.ndarray, inside: np.ndarray) -> None:
    """A decision about one side speaks for the group: what nobody kept goes. Changes ``action``.

    A rewritten answer is not a kept one: the rows that still give the old answer go as well.
    """
    decided, rest = inside[by_hand[inside]], inside[~by_hand[inside]]
    if (action[decided] == SPREAD).any():
        return
    if np.isin(action[decided], (KEEP, REWRITE)).any():
        kept = side[decided[action[decided] == KEEP]]
        action[rest] = np.where(np.isin(side[rest], kept), KEEP, DROP)
    else:
        action[rest] = KEEP if len(np.unique(side[rest])) < 2 else SPREAD


def _winner(groups: Groups, inside: np.ndarray, undecided: str, ties: str) -> int | None:
    """The side that stays, None where none does or two weigh the same."""
    side, weight = groups.side[inside], groups.weight[inside]
    if undecided in ("first", "last"):
        return int(side[0] if undecided == "first" else side[-1])
    if undecided != "majority":
        return None
    sides = np.unique(side)
    weights = np.array([weight[side == s].sum() for s in sides])
    best = weights >= weights.max() - 1e-9
    if best.sum() == 1:
        return int(sides[weights.argmax()])
    tied = side[np.isin(side, sides[best])]
    return None if ties == "spread" else int(tied[0] if ties == "first" else tied[-1])


# ---------------------------------------------------------------------------------------------------------- order


def apart(stays: np.ndarray, others: np.ndarray, groups: Groups, batch: int, seed: int) -> tuple[np.ndarray, int]:
    """All rows in an order whose batches never hold two sides of one contradiction.

    Side s of every contradiction lies in bucket s; buckets are whole batches, filled up with other rows, each shuffled
    in itself.

    Returns:
        The order, and how many batches still hold two sides because other rows did not suffice.
    """
    place = {int(ordinal): i for i, ordinal in enumerate(groups.ordinals)}
    side = groups.side[[place[int(ordinal)] for ordinal in stays]]
    n_buckets = int(side.max()) + 1
    filler = others[Order(len(others), seed + 2)(np.arange(len(others)))] if len(others) else others
    even, used, buckets = len(filler) // n_buckets, 0, []
    for b in range(n_buckets):
        members, rest = stays[side == b], len(filler) - used
        n_filler = rest if b == n_buckets - 1 else min(rest, even + (-(len(members) + even)) % batch)
        bucket = np.concatenate([members, filler[used : used + n_filler]])
        used += n_filler
        buckets.append(bucket[Order(len(bucket), seed + 3 + b)(np.arange(len(bucket)))] if len(bucket) else bucket)
    order = np.concatenate(buckets)
    return order, _sharing(order, groups, place, batch)


def _sharing(order: np.ndarray, groups: Groups, place: Mapping[int, int], batch: int) -> int:
    """Batches that hold two sides of one contradiction."""
    sides: dict[tuple[int, int], int] = {}
    sharing: set[int] = set()
    for i, ordinal in enumerate(order.tolist()):
        at = place.get(ordinal)
        if at is None:
            continue
        key, side = (i // batch, int(groups.group[at])), int(groups.side[at])
        if sides.setdefault(key, side) != side:
            sharing.add(key[0])
    return len(sharing)
