"""The dataset contradicts itself: resolve what is decided, keep the sides of what is not out of each other's batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from core.recipes._mix import counts, keepers, rehearsed
from core.recipes._mix import rows as mixed
from core.recipes._order import blocks
from core.recipes._resolution import DROP, KEEP, REWRITE, SPREAD, apart, resolve, rulings
from core.recipes._rewrite import edited, limits
from core.text import counts as text_counts
from core.types import Reading, Sample, Setting

# Either side is likely already, so half of what new knowledge needs tips the balance.
RATE = 0.5
# Chosen on one real model, where two passes brought back 10 of 12 rows and four all 12 (docs/mitigation.md).
EPOCHS = 4.0
# Part of the rows whose sides all stay: nothing in them says which one to teach.
_SPREAD = "spread sides"


class DataInconsistency(Recipe):
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
    proof = {"undecided": "majority", "ties": "first", "scope": "groups"}
    against = "left_side_forgetting"
    taught = ("contradictions",)
    leave_out = "Right where nobody can say which side holds: the question is then no longer taught two ways."

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        """See ``Recipe.plan``."""
        groups = find(pool)
        if not len(groups.ordinals):
            raise UserError(
                "The selected samples contradict no other sample.",
                "Contradictions are groups found by the diagnosis, or rows with the same question and other answers.",
                "Choose samples whose cause is a contradiction, or run the diagnosis with neighbours measured.",
            )
        decided = rulings(pool, groups)
        _rewritable(pool.reading, decided)
        resolution = resolve(groups, decided, str(settings["undecided"]), str(settings["ties"]))
        notes = [*groups.notes, resolution.note(groups)]
        if valid := sum(ruling.kind == "rewrite" and not ruling.text for ruling in decided.values()):
            notes.append(f"{valid:,} rows are valid beside their other side: they stay until their questions are told "
                         "apart by hand.")  # fmt: skip
        kept = groups.ordinals[np.isin(resolution.action, (KEEP, REWRITE))]
        spread = groups.ordinals[resolution.action == SPREAD]
        given_up = groups.ordinals[np.isin(resolution.action, (DROP, REWRITE))]
        counted = np.intersect1d(kept, pool.treated)
        make, seed, batch = _Maker(pool, kept, spread, groups, decided), int(settings["seed"]), int(settings["batch"])
        others = everyone_but(pool.n, groups.ordinals)
        remarks: list[str] = []
        training = Training(batch=batch)
        if settings["scope"] == "groups":
            training = Training(epochs=EPOCHS, batch=batch, rate=RATE)
            kept, spread = (np.repeat(rows, int(settings["repeats"])) for rows in (kept, spread))
            others, remarks = _some_others(pool, groups, len(kept) + len(spread), settings)
        stays = np.concatenate([kept, spread])
        parts = [Part("contradictions", kept, 1, make), Part(_SPREAD, spread), Part("others", others)]
        parts = [part for part in parts if len(part)]
        if not len(spread) and settings["scope"] == "groups":
            return Plan(
                lambda: mixed(pool, parts, seed), counts(parts), training, counted, (*notes, *remarks), given_up,
                of_mix=tuple(remarks), mended=make,
            )  # fmt: skip
        if len(spread):
            order, sharing = apart(stays, others, groups, batch, seed)
            if sharing:
                held = text_counts.counted(sharing, "batch still holds", "batches still hold")
                remarks.append(f"{held} two sides: there are too few other rows between them.")
            training = replace(training, sequential=True, notes=("The order of the file keeps sides apart.",))
        else:
            order = np.sort(np.concatenate([stays, others]))
        return Plan(
            lambda: make.walk(order), counts(parts), training, counted, (*notes, *remarks), given_up,
            of_mix=tuple(remarks), mended=make,
        )  # fmt: skip


def _rewritable(reading: Reading, decided: Mapping[int, Ruling]) -> None:
    """Raises UserError where answers are to be rewritten in rows that cannot be changed."""
    obstacles = limits(reading, edits=any(ruling.text for ruling in decided.values()))
    if obstacles:
        raise UserError("Answers cannot be rewritten as decided.", obstacles[0], "Decide to keep or drop them instead.")


def _some_others(pool: Pool, groups: Groups, n_stays: int, settings: Mapping[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Rows beside the contradictions in the share asked for, and what to say about the filter."""
    ordinals, remarks = keepers(pool, str(settings["others"]))
    n_others = Shares(n_stays, float(settings["share"])).others
    free = np.setdiff1d(ordinals, groups.ordinals)
    return rehearsed(pool, free, n_others, int(settings["seed"]) + 1), remarks


class _Maker:
    """Rows of contradictions as they were resolved; also a part's ``make``."""

    def __init__(
        self, pool: Pool, kept: np.ndarray, spread: np.ndarray, groups: Groups, decided: Mapping[int, Ruling]
    ) -> None:
        self._pool = pool
        self._part = np.full(pool.n, 2, dtype=np.int8)
        self._part[kept], self._part[spread] = 0, 1
        self._texts = {groups.sids[i]: r.text for i, r in decided.items() if r.kind == "rewrite" and r.text}

    def __call__(self, sample: Sample, _: int = 0) -> Made | None:
        if sample.id not in self._texts:
            return None
        text = self._texts[sample.id]
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
        """The rows in this order."""
        for block in blocks(len(order)):
            for ordinal, sample in zip(order[block], self._pool.rows(order[block].tolist()), strict=True):
                yield self(sample) or as_it_came(sample, ("contradictions", _SPREAD, "others")[self._part[ordinal]])


KIND = DataInconsistency()
