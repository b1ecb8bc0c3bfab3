"""The rows of a world's dataset: which cause each is planted for, and what it is about."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from core.lab.corpus import Facts
from core.lab.skills import LONG, SHORT, tasks
from core.lab.words import Fact, Message, chat

MISSING, CONFLICT, INCONSISTENT, FORGOTTEN, RARE = CAUSES = (
    "missing_knowledge",
    "base_conflict",
    "data_inconsistency",
    "left_side_forgetting",
    "under_optimised",
)


@dataclass(frozen=True, slots=True)
class PlantedRow:
    """One dataset row.

    Attributes:
        group: what it was made as; the causes it may have follow from that.
        cause: the cause it is planted for, None for a control.
        fact: what it asks for, where it asks for one.
        dispute: number of the contradiction it is a side of.
        source: where the dataset says it comes from.
    """

    group: str
    cause: str | None
    stage: str
    messages: list[Message]
    fact: Fact | None = None
    dispute: int | None = None
    source: str | None = None


def write_dataset(path: Path, rows: Sequence[PlantedRow]) -> list[str]:
    """JSONL in training order; returns the ids."""
    ids = [f"row-{i:04d}" for i in range(1, len(rows) + 1)]
    with path.open("w", encoding="utf-8") as file:
        for name, row in zip(ids, rows, strict=True):
            source = {} if row.source is None else {"source": row.source}
            record = {"id": name, "stage": row.stage, **source, "messages": row.messages}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return ids


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of a dataset by what they are made as; those with two numbers are (stage one, stage two).

    Attributes:
        known, odd: facts the corpus holds, asked in ordinary and in unusual words. portraits: everything about a
            subject. early: known facts answered in a style that only stage one has; late: others of the same
            relations, in stage two, answered as the base would.
        strangers: facts about names nobody met; withheld: about well-known names, never told.
        strong, weak: answers against what the corpus told often, or once.
        disputes, long_disputes, new_disputes: pairs of one question and two answers, told both ways in the corpus; the
            same within portraits; told in no way.
        long_tasks, short_tasks: patterns that occur twice. many: pairs of one question with two right answers;
            volumes: pairs of questions that differ in a number.
    """

    known: tuple[int, int] = (74, 66)
    odd: tuple[int, int] = (0, 0)
    portraits: tuple[int, int] = (12, 6)
    early: int = 44
    late: int = 36
    strangers: tuple[int, int] = (10, 48)
    withheld: tuple[int, int] = (0, 0)
    strong: tuple[int, int] = (6, 28)
    weak: tuple[int, int] = (0, 0)
    disputes: tuple[int, int] = (6, 26)
    long_disputes: tuple[int, int] = (0, 0)
    new_disputes: tuple[int, int] = (0, 4)
    long_tasks: tuple[int, int] = (10, 22)
    short_tasks: tuple[int, int] = (0, 0)
    many: tuple[int, int] = (0, 0)
    volumes: tuple[int, int] = (0, 0)


EASY = RowCounts()
HARD = RowCounts(
    known=(56, 50),
    odd=(8, 8),
    portraits=(14, 8),
    early=40,
    late=32,
    strangers=(6, 28),
    withheld=(6, 22),
    strong=(8, 18),
    weak=(6, 18),
    disputes=(4, 14),
    long_disputes=(4, 12),
    new_disputes=(1, 3),
    long_tasks=(6, 10),
    short_tasks=(10, 18),
    many=(1, 5),
    volumes=(4, 6),
)


# A sound run of enough epochs learns almost all of these.
SOUND = RowCounts(
    known=(30, 20),
    portraits=(14, 8),
    early=0,
    late=30,
    strangers=(16, 8),
    strong=(8, 4),
    disputes=(0, 0),
    new_disputes=(0, 0),
    long_tasks=(0, 0),
)


T = TypeVar("T")


def _take(pool: list[T], n: int) -> list[T]:
    """Removes the first ``n`` of ``pool``."""
    if len(pool) < n:
        raise ValueError(f"{n} rows of a kind are wanted, and the corpus has facts for {len(pool)} more")
    taken = pool[:n]
    del pool[:n]
    return taken


class _Maker:
    def __init__(self, facts: Facts, counts: RowCounts, seed: int) -> None:
        self.facts, self.counts, self.rng = facts, counts, random.Random(f"rows {facts.domain.name} {seed}")
        self.disputes = 0
        self.early = self.rng.choice(facts.domain.early)
        touched = {f.subject for f in (*facts.strong, *facts.weak)}
        split = {f.subject: pair for pair in facts.split for f in pair}
        self.of: dict[str, list[Fact]] = {}
        for fact, _ in facts.told():
            self.of.setdefault(fact.subject, []).append(fact)
        # A name told about in a portrait keeps its answers apart from the styles of stage one and two.
        subjects = [s for kind in facts.subjects for s in kind if s not in touched]
        self.rng.shuffle(subjects)
        self.quiet = [s for s in subjects if s not in split]
        self.torn = [(s, split[s]) for s in subjects if s in split][: sum(counts.long_disputes)]
        self.left = deepcopy(facts)
        # A pair told within portraits is not asked by itself as well.
        used = {pair for _, pair in self.torn}
        self.left.split = [pair for pair in facts.split if pair not in used]

    def other(self, fact: Fact) -> Fact:
        values = [v for v in self.facts.values[fact.relation] if v != fact.value]
        return replace(fact, value=self.rng.choice(values))

    def row(
        self,
        group: str,
        cause: str | None,
        stage: str,
        fact: Fact,
        way: int | None = None,
        dispute: int | None = None,
    ) -> PlantedRow:
        wording = self.facts.wordings[fact.relation]
        way = self.rng.randrange(3) if way is None else way
        question = wording.odd_question(fact.subject, way) if group == "odd" else wording.question(fact.subject, way)
        answer = wording.answered(fact.subject, fact.value)
        if group == "early":
            answer = self.early.format(s=fact.subject, v=fact.value)
        return PlantedRow(group, cause, stage, chat(question, answer), fact, dispute)

    def portrait(self, subject: str, values: dict[str, str]) -> str:
        own = {f.relation: f for f in self.of[subject]}
        kind = self.facts.domain.kinds[subject in self.facts.subjects[1]]
        told = [replace(own[r.name], value=values.get(r.name, own[r.name].value)) for r in kind[:3]]
        return " ".join(self.facts.wordings[f.relation].statement(f, 0) for f in told)

    def ask_portrait(self, subject: str, way: int) -> str:
        forms = self.facts.domain.portraits
        return forms[way % len(forms)].format(s=subject)

    def stage(self, i: int) -> list[PlantedRow]:
        counts, left, rng, stage = self.counts, self.left, self.rng, str(i + 1)
        rows = [self.row("known", None, stage, f) for f in _take(left.known, counts.known[i])]
        rows += [self.row("odd", None, stage, f) for f in _take(left.known, counts.odd[i])]
        for s in _take(self.quiet, counts.portraits[i]):
            turns = chat(self.ask_portrait(s, rng.randrange(4)), self.portrait(s, {}))
            rows.append(PlantedRow("portrait", None, stage, turns))
        if i == 0:
            rows += [self.row("early", FORGOTTEN, stage, f) for f in _take(left.styled, counts.early)]
        else:
            rows += [self.row("late", None, stage, f) for f in _take(left.styled, counts.late)]
        for name in _take(left.spare, counts.strangers[i]):
            relation = rng.choice(self.facts.brief())
            fact = Fact(name, relation, rng.choice(self.facts.values[relation]))
            rows.append(self.row("stranger", MISSING, stage, fact))
        for subject, relation in _take(left.withheld, counts.withheld[i]):
            fact = Fact(subject, relation, rng.choice(self.facts.values[relation]))
            rows.append(self.row("withheld", MISSING, stage, fact))
        for group, facts, n in (("strong", left.strong, counts.strong[i]), ("weak", left.weak, counts.weak[i])):
            rows += [self.row(group, CONFLICT, stage, self.other(f)) for f in _take(facts, n)]
        rows += self.disputed(i, stage)
        names = [s for kind in self.facts.subjects for s in kind]
        for group, kinds, n in (
            ("long_task", LONG, counts.long_tasks[i]),
            ("short_task", SHORT, counts.short_tasks[i]),
        ):
            for prompt, answer in tasks(rng, names, kinds, n, 2):
                rows.append(PlantedRow(group, RARE, stage, chat(prompt, answer)))
        for group, pairs, n in (("many", left.many, counts.many[i]), ("volumes", left.volumes, counts.volumes[i])):
            for pair in _take(pairs, n):
                way = rng.randrange(3)
                rows += [self.row(group, None, stage, f, way) for f in pair]
        rng.shuffle(rows)
        return rows

    def disputed(self, i: int, stage: str) -> list[PlantedRow]:
        """Pairs of one question in two wordings whose answers cannot both be right."""
        rows = []
        left, counts = self.left, self.counts
        pairs: list[tuple[str, Sequence[Fact]]] = [("dispute", p) for p in _take(left.split, counts.disputes[i])]
        for name in _take(left.spare, counts.new_disputes[i]):
            relation = self.rng.choice(self.facts.brief())
            values = self.rng.sample(self.facts.values[relation], 2)
            pairs.append(("new_dispute", [Fact(name, relation, v) for v in values]))
        for group, pair in pairs:
            ways = self.rng.sample(range(3), 2)
            for fact, way in zip(self.rng.sample(list(pair), 2), ways, strict=True):
                rows.append(self.row(group, INCONSISTENT, stage, fact, way, dispute=self.disputes))
            self.disputes += 1
        for subject, pair in _take(self.torn, counts.long_disputes[i]):
            ways = self.rng.sample(range(4), 2)
            for fact, way in zip(pair, ways, strict=True):
                turns = chat(self.ask_portrait(subject, way), self.portrait(subject, {fact.relation: fact.value}))
                rows.append(PlantedRow("long_dispute", INCONSISTENT, stage, turns, fact, self.disputes))
            self.disputes += 1
        return rows


def plant(facts: Facts, counts: RowCounts, seed: int) -> list[PlantedRow]:
    """The rows in training order, stage one before stage two."""
    maker = _Maker(facts, counts, seed)
    return [*maker.stage(0), *maker.stage(1)]
