"""The demo project: a tiny real model, pretrained on a made-up land, fine-tuned in two stages, saved on the way.

Every group of rows has a reason to be learned or not (``planted.json`` beside the dataset names the group of each id):
what the base already knows, what it never saw, what it believes otherwise, rows that contradict each other, stage-one
facts that stage two may overwrite, long codes seen too little. What the model really made of them is for the diagnosis
to find out.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.lab import tiny
from core.lab.bases import Progress
from core.lab.rows import PlantedRow, write_dataset
from core.lab.words import BEASTS, COLOURS, GOODS, TRADES, Fact, Message, chat, coin
from core.lab.worlds import Tuning, finetune
from core.types import digest


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    ``towns`` and ``people`` are the subjects the base reads about; the counts of the two stages are rows, ``disputes``
    pairs of rows; ``withheld`` rows stand in the dataset but are kept from training. ``revision_weight`` is how many
    times as often as others the base reads the facts that stage two revises. ``epochs`` are those of either stage.
    """

    towns: int = 50
    people: int = 50
    # stage one
    gazetteer: int = 110
    beasts: int = 40
    portraits: int = 24
    dialogues: int = 12
    goods: int = 14
    # stage two
    registry: int = 100
    crests: int = 32
    revisions: int = 40
    newcomers: int = 30
    disputes: int = 16
    seals: int = 18
    duplicates: int = 6
    withheld: int = 0
    # the model and its training
    vocab: int = 1100
    hidden: int = 128
    layers: int = 2
    base_epochs: int = 20
    base_lr: float = 2e-3
    revision_weight: int = 3
    epochs: tuple[int, int] = (14, 7)
    lr: float = 8e-4
    batch: int = 8


@dataclass(frozen=True, slots=True)
class Land:
    """Everything made up: what the base reads (``texts``, ``chats``), what fine-tuning teaches (``rows``)."""

    texts: list[str]
    chats: list[list[Message]]
    rows: list[PlantedRow]


@dataclass(frozen=True, slots=True)
class DemoProject:
    """Where the parts of a built project lie.

    Attributes:
        dataset: JSONL in training order; ``planted``: JSON, row id to group.
        checkpoints: folders in step order, without ``final``.
    """

    dataset: Path
    base: Path
    checkpoints: list[Path]
    final: Path
    planted: Path

    @classmethod
    def at(cls, folder: Path) -> DemoProject:
        return cls(
            folder / "dataset.jsonl",
            folder / "base",
            tiny.saved_checkpoints(folder),
            folder / "final",
            folder / "planted.json",
        )


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


def make_land(size: Size, seed: int = 0) -> Land:
    """Texts, chats and rows; the rows in training order, stage one before stage two."""
    maker = _Maker(size, seed)
    texts, chats = maker.reading()
    return Land(texts, chats, [*maker.stage_one(), *maker.stage_two()])


def _write_dataset(folder: Path, rows: Sequence[PlantedRow]) -> None:
    ids = write_dataset(folder / "dataset.jsonl", rows)
    groups = {name: row.group for name, row in zip(ids, rows, strict=True)}
    (folder / "planted.json").write_text(json.dumps(groups, indent=0), encoding="utf-8")


def _pretrain(folder: Path, land: Land, size: Size, seed: int, progress: Progress) -> None:
    words = [*land.texts, *(m["content"] for messages in land.chats for m in messages)]
    tokenizer = tiny.build_tokenizer(words, size.vocab)
    config = tiny.tiny_config("llama", len(tokenizer), size.hidden, size.layers)
    rows = tiny.reading_rows(tokenizer, land.texts, land.chats)
    tiny.train(
        tiny.tiny_model(config, tokenizer, seed),
        tokenizer,
        rows,
        folder,
        lr=size.base_lr,
        batch=32,
        epochs=size.base_epochs,
        schedule="cosine",
        warmup=20,
        seed=seed,
        threads=1,
        final="base.partial",
        progress=lambda done, total: progress("pretraining", done, total),
    )
    (folder / "base.partial").rename(folder / "base")


def _finetune(folder: Path, land: Land, size: Size, seed: int, progress: Progress) -> None:
    """Two stages in dataset order, one after the other, with one learning-rate schedule over both."""
    _, tokenizer = tiny.load(folder / "base")
    stages = [[r for r in land.rows if r.stage == stage and r.group != "withheld"] for stage in ("1", "2")]
    finetune(
        folder,
        folder / "base",
        tokenizer,
        [[tiny.chat_row(tokenizer, r.messages) for r in rows] for rows in stages],
        Tuning(size.epochs, size.lr, size.batch, schedule="cosine"),
        False,
        seed,
        progress,
        saves=lambda steps_one, steps: (steps_one // 2, steps_one, (steps_one + steps) // 2),
    )


def build_demo(out: Path, progress: Progress, size: Size | None = None, seed: int = 0) -> DemoProject:
    """Builds the project into ``out``, or returns the one that is there.

    The work is done in ``<out>.partial``, renamed at the end, so ``out`` exists only when complete. An interrupted
    build keeps its base model; the next one begins with fine-tuning.

    Args:
        progress: called with (stage, done, total).
    """
    size = size or Size()
    if out.exists():
        return DemoProject.at(out)
    land = make_land(size, seed)
    part = out.with_name(out.name + ".partial")
    made_of = part / "made_of"
    key = digest([asdict(size), seed, asdict(land)])
    if not (made_of.exists() and made_of.read_text(encoding="utf-8") == key):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        made_of.write_text(key, encoding="utf-8")
    _write_dataset(part, land.rows)
    if not (part / "base").exists():
        _pretrain(part, land, size, seed, progress)
    for stale in part.glob("checkpoint-*"):
        shutil.rmtree(stale)
    _finetune(part, land, size, seed, progress)
    made_of.unlink()
    part.rename(out)
    return DemoProject.at(out)
