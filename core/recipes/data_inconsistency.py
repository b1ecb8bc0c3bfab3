"""The dataset contradicts itself: resolve what is decided, keep the sides of what is not out of each other's batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.errors import UserError
from core.recipes._base import (
    OTHERS,
    SEED,
    FileSlot,
    Made,
    Part,
    Plan,
    Pool,
    Recipe,
    Ruling,
    Shares,
    Training,
    as_it_came,
    everyone_but,
)
from core.recipes._groups import Groups, find
from core.recipes._mix import keepers, rehearsed
from core.recipes._mix import rows as mixed
from core.recipes._order import Order, blocks
from core.recipes._rewrite import edited
from core.types import Sample, Setting

KEEP, DROP, REWRITE, SPREAD = range(4)
# Either side is likely already, so half of what new knowledge needs tips the balance.
RATE = 0.5


class DataInconsistency:
    name = "data_inconsistency"
    label = "Resolve contradictions"
    help = (
        "Decisions are carried out: rows are kept, rewritten or dropped. The sides of undecided contradictions are "
        "spread so that they never share a batch."
    )
    causes = ("data_inconsistency",)
    settings = (
        Setting(
            "undecided",
            "choice",
            "spread",
            "Undecided contradictions",
            "First and last are meant in training order.",
            ("spread", "majority", "first", "last", "drop"),
            words=("Spread the sides", "Keep the largest side", "Keep the first side", "Keep the last side", "Drop"),
        ),
        Setting("ties", "choice", "spread", "Where no side has the majority", "First and last are meant in training "
                "order.", ("spread", "first", "last"),
                words=("Spread the sides", "Keep the first side", "Keep the last side")),
        Setting("scope", "choice", "dataset", "Rows", "", ("dataset", "groups"),
                words=("The whole dataset, repaired", "The contradictions and some other rows")),
        Setting("repeats", "int", 3, "Copies of a resolved row", "Not for the whole dataset.", minimum=1, maximum=50),
        Setting("share", "float", 0.1, "Share of contradictions in the mix", "Not for the whole dataset.", minimum=0.01,
                maximum=1.0),
        Setting("batch", "int", 8, "Rows per step", "Batch size times accumulation times devices.", minimum=1,
                maximum=65536),
        replace(OTHERS, help=f"Not for the whole dataset. {OTHERS.help}"),
        SEED,
    )  # fmt: skip
    files = (
        FileSlot("decisions", "Decisions", "JSONL with id and action (keep, drop, rewrite) as the contradictions page "
                 "gives it; a text beside rewrite is the new answer."),
    )  # fmt: skip
    expects = "With one answer left per question the kept side is learned; spread sides at least do not cancel out."
    risks = (
        "A wrong decision teaches the wrong answer with nothing left against it.",
        "Both sides of a spread contradiction stay in the data: the later one tends to win.",
        "A trainer that shuffles undoes the spreading; the configurations switch shuffling off.",
    )
    proof: Mapping[str, object] = {"undecided": "majority", "ties": "first", "scope": "groups"}
    against = "left_side_forgetting"

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        groups = find(pool)
        if not len(groups.ordinals):
            raise UserError(
                "The selected samples contradict no other sample.",
                "Contradictions are groups found by the diagnosis, or rows with the same question and other answers.",
                "Choose samples whose cause is a contradiction, or run the diagnosis with neighbours measured.",
            )
        rulings = _rulings(pool, groups)
        solved = _resolve(groups, rulings, str(settings["undecided"]), str(settings["ties"]))
        seed, batch = int(settings["seed"]), int(settings["batch"])
        notes = [*groups.notes, solved.note(groups)]
        if valid := sum(r.kind == "rewrite" and not r.text for r in rulings.values()):
            notes.append(f"{valid:,} rows are valid beside their other side: they stay, spread, until their questions "
                         "are told apart by hand.")  # fmt: skip
        counted = np.intersect1d(groups.ordinals[np.isin(solved.action, (KEEP, REWRITE))], pool.treated)
        whole = settings["scope"] == "dataset"
        stays, dropped = (groups.ordinals[at] for at in (solved.action != DROP, solved.action == DROP))
        others = everyone_but(pool.n, groups.ordinals)
        if not whole:
            stays = np.repeat(stays, int(settings["repeats"]))
            found, told = keepers(pool, str(settings["others"]))
            notes += told
            wanted = Shares(len(stays), float(settings["share"])).others
            others = rehearsed(pool, np.setdiff1d(found, groups.ordinals), wanted, seed + 1)
        make = _Maker(pool, groups, rulings)
        spread = groups.ordinals[solved.action == SPREAD]
        if len(spread):
            order, shared = _apart(stays, others, groups, batch, seed)
            if shared:
                notes.append(f"{shared:,} batches still hold two sides: there are too few other rows between them.")
            training = Training(sequential=True, batch=batch, notes=("The order of the file keeps sides apart.",))
        elif whole:
            order, training = np.sort(np.concatenate([stays, others])), Training(batch=batch)
        else:
            parts = [p for p in (Part("contradictions", stays, 1, make), Part("others", others)) if len(p)]
            training = Training(epochs=2.0, batch=batch, rate=RATE)
            sizes = {p.name: len(p) for p in parts}
            return Plan(lambda: mixed(pool, parts, seed), sizes, training, counted, tuple(notes), dropped)
        sizes = {"contradictions": len(stays), "others": len(others)}
        sizes = {name: n for name, n in sizes.items() if n}
        return Plan(lambda: make.walk(order), sizes, training, counted, tuple(notes), dropped)


@dataclass(frozen=True, slots=True)
class _Solved:
    """``action``: (m,) for each row of a group; ``by_person``: how many of them a person decided."""

    action: np.ndarray
    by_person: int

    def note(self, groups: Groups) -> str:
        n = [int((self.action == a).sum()) for a in (KEEP, REWRITE, DROP, SPREAD)]
        return (
            f"{len(np.unique(groups.group)):,} contradictions with {len(groups.ordinals):,} rows: {n[0]:,} kept, "
            f"{n[1]:,} rewritten, {n[2]:,} dropped, {n[3]:,} spread; {self.by_person:,} of them as decided by hand."
        )


def _rulings(pool: Pool, groups: Groups) -> dict[int, Ruling]:
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
    found = ((i, by_id.get(s) or pool.rulings.get(h)) for i, (s, h) in enumerate(zip(groups.sids, groups.hashes,
                                                                                     strict=True)))  # fmt: skip
    return {i: ruling for i, ruling in found if ruling is not None}


def _ruling(line: bytes, number: int) -> tuple[str, Ruling]:
    try:
        said = json.loads(line)
        sid, action, text = str(said["id"]), said["action"], said.get("text") or ""
        if action not in ("keep", "drop", "rewrite") or not isinstance(text, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Line {number} of the decisions is none.",
            "A line holds id and action: keep, drop or rewrite; beside rewrite a text.",
            'For example {"id": "row-7", "action": "rewrite", "text": "The new answer."}',
        ) from error
    return sid, Ruling(action, text)


def _resolve(groups: Groups, rulings: Mapping[int, Ruling], undecided: str, ties: str) -> _Solved:
    """What happens to each row of each group."""
    action = np.full(len(groups.ordinals), SPREAD, dtype=np.int8)
    by_hand = np.zeros(len(groups.ordinals), dtype=bool)
    codes = {"keep": KEEP, "drop": DROP, "rewrite": REWRITE}
    for i, ruling in rulings.items():
        action[i] = SPREAD if ruling.kind == "rewrite" and not ruling.text else codes[ruling.kind]
        by_hand[i] = True
    for inside in groups.each():
        if by_hand[inside].any():
            # A decision about one side speaks for the group: what nobody kept goes.
            kept = inside[np.isin(action[inside], (KEEP, REWRITE)) & by_hand[inside]]
            if (action[inside][by_hand[inside]] == SPREAD).any():
                continue
            if len(kept):
                same = np.isin(groups.side[inside], groups.side[kept])
                left = inside[~by_hand[inside]]
                action[left] = np.where(same[~by_hand[inside]], KEEP, DROP)
            else:
                left = inside[~by_hand[inside]]
                action[left] = KEEP if len(np.unique(groups.side[left])) < 2 else SPREAD
            continue
        winner = _winner(groups, inside, undecided, ties)
        if undecided == "drop":
            action[inside] = DROP
        elif winner is not None:
            action[inside] = np.where(groups.side[inside] == winner, KEEP, DROP)
    return _Solved(action, int(by_hand.sum()))


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


class _Maker:
    """Rows of contradictions as they were resolved; also a part's ``make``."""

    def __init__(self, pool: Pool, groups: Groups, rulings: Mapping[int, Ruling]) -> None:
        self._pool = pool
        self._in_group = np.zeros(pool.n, dtype=bool)
        self._in_group[groups.ordinals] = True
        self._rewrite = {groups.sids[i]: r.text for i, r in rulings.items() if r.kind == "rewrite" and r.text}

    def __call__(self, sample: Sample, _: int) -> Made | None:
        if sample.id not in self._rewrite:
            return None
        text = self._rewrite[sample.id]
        last = max(i for i, m in enumerate(sample.messages) if m.role in ("assistant", "text"))
        raw = edited(sample, self._pool.reading, last, lambda _: text)
        if raw is None:
            raise UserError(
                f"The answer of sample {sample.id!r} cannot be rewritten in its row.",
                "Its shape keeps the answer in a form that is not plain text.",
                "Decide to keep or drop it instead.",
            )
        return Made(raw, sample.id, "contradictions", "the answer was rewritten as decided", sample.raw)

    def walk(self, order: np.ndarray) -> Iterator[Made]:
        for block in blocks(len(order)):
            for ordinal, sample in zip(order[block], self._pool.rows(order[block].tolist()), strict=True):
                part = "contradictions" if self._in_group[ordinal] else "others"
                yield self(sample, 0) or as_it_came(sample, part)


def _apart(stays: np.ndarray, others: np.ndarray, groups: Groups, batch: int, seed: int) -> tuple[np.ndarray, int]:
    """All rows in an order whose batches never hold two sides of one contradiction.

    Side s of every contradiction lies in bucket s; buckets are whole batches, filled up with other rows, each shuffled
    in itself.

    Returns:
        The order, and how many batches still hold two sides because other rows did not suffice.
    """
    place = {int(o): i for i, o in enumerate(groups.ordinals)}
    rank = groups.side[[place[int(o)] for o in stays]]
    n_buckets = int(rank.max()) + 1
    filler = others[Order(len(others), seed + 2)(np.arange(len(others)))] if len(others) else others
    even, used, buckets = len(filler) // n_buckets, 0, []
    for b in range(n_buckets):
        mine = stays[rank == b]
        last = b == n_buckets - 1
        wanted = len(filler) - used if last else even + (-(len(mine) + even)) % batch
        wanted = min(wanted, len(filler) - used)
        whole = np.concatenate([mine, filler[used : used + wanted]])
        used += wanted
        buckets.append(whole[Order(len(whole), seed + 3 + b)(np.arange(len(whole)))] if len(whole) else whole)
    order = np.concatenate(buckets)
    return order, _sharing(order, groups, place, batch)


def _sharing(order: np.ndarray, groups: Groups, place: Mapping[int, int], batch: int) -> int:
    """Batches that hold two sides of one contradiction."""
    seen: dict[tuple[int, int], int] = {}
    bad: set[int] = set()
    for i, ordinal in enumerate(order.tolist()):
        at = place.get(ordinal)
        if at is None:
            continue
        key = (i // batch, int(groups.group[at]))
        if seen.setdefault(key, int(groups.side[at])) != int(groups.side[at]):
            bad.add(key[0])
    return len(bad)


KIND: Recipe = DataInconsistency()
