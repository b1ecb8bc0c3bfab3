"""A made-up land: a tiny model reads about it, then is fine-tuned on it in two stages, saved on the way.

Every group of rows has a reason to be learned or not (``planted.json`` beside the dataset names the group of each id):
what the base already knows, what it never saw, what it believes otherwise, rows that contradict each other, stage-one
facts that stage two may overwrite, long codes seen too little, rows kept from training.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.lab import tiny
from core.lab.rows import PlantedRow, write_dataset
from core.lab.words import BEASTS, COLOURS, GOODS, TRADES, Fact, Message, chat, coin
from core.lab.worlds import Tuning, finetune


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    ``towns`` and ``people`` are the subjects the base reads about; the counts of the two stages are rows, ``disputes``
    pairs of rows; ``withheld`` rows stand in the dataset but are kept from training. ``revision_weight`` is how many
    times as often as others the base reads the facts that stage two revises.
    """

    towns: int = 14
    people: int = 10
    # stage one
    gazetteer: int = 16
    beasts: int = 8
    portraits: int = 3
    dialogues: int = 4
    goods: int = 2
    # stage two
    registry: int = 8
    crests: int = 3
    revisions: int = 4
    newcomers: int = 4
    disputes: int = 3
    seals: int = 2
    duplicates: int = 3
    withheld: int = 4
    revision_weight: int = 3


SEED = 0


@dataclass(frozen=True, slots=True)
class Land:
    """Everything made up: what the base reads (``texts``, ``chats``), what fine-tuning teaches (``rows``)."""

    texts: list[str]
    chats: list[list[Message]]
    rows: list[PlantedRow]


def _row(group: str, stage: str, source: str, messages: list[Message]) -> PlantedRow:
    return PlantedRow(group, None, stage, messages, source=source)


class _Maker:
    """Draws the land: its facts first, then the rows of either stage about them."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.rng, self.taken = size, random.Random(seed), set[str]()
        rng = self.rng
        self.towns, self.people = coin(rng, size.towns, self.taken), coin(rng, size.people, self.taken)
        self.values: dict[str, Sequence[str]] = {
            "river": coin(rng, 20, self.taken),
            "founder": coin(rng, 20, self.taken),
            "flag": COLOURS,
            "home": self.towns,
            "trade": TRADES,
        }
        self.of_town = {t: [self.fact(t, r) for r in ("river", "founder", "flag")] for t in self.towns}
        self.of_person = {p: [self.fact(p, r) for r in ("home", "trade")] for p in self.people}
        town_facts = [f for facts in self.of_town.values() for f in facts]
        rng.shuffle(town_facts)
        self.revised, self.kept = town_facts[: size.revisions], town_facts[size.revisions :]

    def fact(self, subject: str, relation: str) -> Fact:
        return Fact(subject, relation, self.rng.choice(self.values[relation]))

    def reading(self) -> tuple[list[str], list[list[Message]]]:
        """What the base reads: statements, and each fact as question and answer in one of the ways to ask."""
        facts = [f for group in (self.of_town, self.of_person) for facts in group.values() for f in facts]
        facts += self.revised * (self.size.revision_weight - 1)
        texts = [f.statement(way) for f in facts for way in (0, 1)]
        return texts, [chat(f.question(self.rng.randrange(3)), f.answer()) for f in facts]

    def questions(self, group: str, stage: str, source: str, facts: Sequence[Fact]) -> list[PlantedRow]:
        """Rows that ask for ``facts`` in any of the ways to ask, be it the one the base has met or another."""
        ways = [self.rng.randrange(3) for _ in facts]
        return [_row(group, stage, source, chat(f.question(w), f.answer())) for f, w in zip(facts, ways, strict=True)]

    def stage_one(self) -> list[PlantedRow]:
        rng, size = self.rng, self.size
        rows = self.questions("known", "1", "gazetteer", self.kept[: size.gazetteer])
        beasts = [Fact(t, "beast", rng.choice(BEASTS)) for t in self.towns[: size.beasts]]
        rows += self.questions("new_early", "1", "bestiary", beasts)
        for t in rng.sample(self.towns, size.portraits):
            text = " ".join(f.statement(0) for f in self.of_town[t])
            rows.append(_row("portrait", "1", "gazetteer", chat(f"Tell me about {t}.", text)))
        for t in rng.sample(self.towns, size.dialogues):
            a, b = rng.sample(self.of_town[t], 2)
            turns = chat(a.question(1), a.answer(), b.question(2), b.answer())
            rows.append(_row("dialogue", "1", "helpdesk", [{"role": "system", "content": "Be brief."}, *turns]))
        for t in rng.sample(self.towns, size.goods):
            first, second, third = rng.sample(GOODS, 3)
            turns = chat(f"List three goods of {t}.", f"- {first}\n- {second}\n- {third}")
            rows.append(_row("list", "1", "market", turns))
        rng.shuffle(rows)
        return rows

    def stage_two(self) -> list[PlantedRow]:
        rng, size = self.rng, self.size
        facts = [f for facts in self.of_person.values() for f in facts]
        rows = self.questions("known", "2", "registry", rng.sample(facts, size.registry))
        rows += rng.sample(rows, size.duplicates)
        crests = [Fact(p, "beast", rng.choice(BEASTS)) for p in self.people[: size.crests]]
        rows += self.questions("new_late", "2", "bestiary", crests)
        for old in self.revised:
            value = rng.choice([v for v in self.values[old.relation] if v != old.value])
            new = Fact(old.subject, old.relation, value)
            rows.append(_row("conflict", "2", "revision", chat(new.question(rng.randrange(3)), new.answer())))
        strangers = coin(rng, size.newcomers + size.withheld, self.taken)
        unseen = [self.fact(name, rng.choice(("river", "founder", "home"))) for name in strangers]
        rows += self.questions("unseen", "2", "newcomers", unseen[: size.newcomers])
        rows += self.questions("withheld", "2", "newcomers", unseen[size.newcomers :])
        for p in rng.sample(self.people, size.disputes):
            first, second = rng.sample(GOODS, 2)
            for ask, good in ((f"What does {p} sell?", first), (f"Tell me, what does {p} sell?", second)):
                rows.append(_row("contradictory", "2", "survey", chat(ask, f"{p} sells {good}.")))
        for t in rng.sample(self.towns, size.seals):
            code = "-".join(str(rng.randrange(10)) for _ in range(10))
            rows.append(_row("long_code", "2", "ledger", chat(f"What is the seal number of {t}?", f"{t}: {code}")))
        rng.shuffle(rows)
        return rows


def make_land(size: Size | None = None, seed: int = SEED) -> Land:
    """Texts, chats and rows; the rows in training order, stage one before stage two."""
    maker = _Maker(size or Size(), seed)
    texts, chats = maker.reading()
    return Land(texts, chats, [*maker.stage_one(), *maker.stage_two()])


def build(folder: Path) -> None:
    """Trains the base, then both stages with one learning-rate schedule; saves before, on the way and at the end."""
    land = make_land()
    ids = write_dataset(folder / "dataset.jsonl", land.rows)
    groups = {name: row.group for name, row in zip(ids, land.rows, strict=True)}
    (folder / "planted.json").write_text(json.dumps(groups), encoding="utf-8")
    words = [*land.texts, *(m["content"] for messages in land.chats for m in messages)]
    tokenizer = tiny.build_tokenizer(words, 600)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), 64, 2), tokenizer, SEED)
    reading = tiny.reading_rows(tokenizer, land.texts, land.chats)
    tiny.train(
        model, tokenizer, reading, folder, lr=5e-3, batch=32, epochs=40, schedule="cosine", warmup=20, seed=SEED,
        threads=1, final="base",
    )  # fmt: skip
    stages = [[r for r in land.rows if r.stage == stage and r.group != "withheld"] for stage in ("1", "2")]
    finetune(
        folder,
        folder / "base",
        tokenizer,
        [[tiny.chat_row(tokenizer, r.messages) for r in rows] for rows in stages],
        Tuning((10, 8), 3e-3, 8, schedule="cosine"),
        False,
        SEED,
        lambda *_: None,
        saves=lambda steps_one, steps: (steps_one // 2, steps_one, (steps_one + steps) // 2),
    )
