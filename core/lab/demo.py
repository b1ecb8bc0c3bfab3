"""The demo project: a tiny real model, pretrained on a made-up land, fine-tuned in two stages, saved on the way.

Every group of rows has a reason to be learned or not (``planted.json`` beside the dataset names the group of each id):
what the base already knows, what it never saw, what it believes otherwise, rows that contradict each other, stage-one
facts overwritten by stage two, long codes seen too little. What the model really does with them is for the diagnosis
to find out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.lab.words import BEASTS, COLOURS, GOODS, TRADES, Fact, chat, coin

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; the counts are rows, ``towns`` and ``people`` subjects the base has read about."""

    towns: int = 50
    people: int = 50
    gazetteer: int = 115
    beasts: int = 40
    portraits: int = 24
    dialogues: int = 12
    goods: int = 16
    registry: int = 100
    crests: int = 40
    revisions: int = 32
    newcomers: int = 36
    disputes: int = 16
    seals: int = 24
    vocab: int = 1100
    hidden: int = 128
    layers: int = 2
    base_epochs: int = 24
    base_lr: float = 2e-3
    stage_epochs: tuple[int, int] = (8, 8)
    lr: float = 1e-3
    batch: int = 16


@dataclass(frozen=True, slots=True)
class PlantedRow:
    """One dataset row and the group it was planted for."""

    group: str
    stage: str
    source: str
    messages: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Land:
    """Everything made up: what the base reads (``texts``, ``chats``) and what fine-tuning teaches (``rows``)."""

    texts: list[str] = field(default_factory=list)
    chats: list[list[dict[str, str]]] = field(default_factory=list)
    rows: list[PlantedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DemoProject:
    """Where the parts of a built project lie; ``checkpoints`` in step order, without ``final``."""

    dataset: Path
    base: Path
    checkpoints: list[Path]
    final: Path
    planted: Path

    @classmethod
    def at(cls, out: Path) -> DemoProject:
        checkpoints = sorted(out.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
        return cls(out / "dataset.jsonl", out / "base", checkpoints, out / "final", out / "planted.json")


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + " and " + items[-1]


def make_land(size: Size, seed: int) -> Land:
    """Texts, chats and rows; the rows in training order, stage one before stage two."""
    rng = random.Random(seed)
    taken: set[str] = set()
    towns, people = coin(rng, size.towns, taken), coin(rng, size.people, taken)
    rivers, founders = coin(rng, 20, taken), coin(rng, 20, taken)
    pools = {"river": rivers, "founder": founders, "flag": COLOURS, "home": towns, "trade": TRADES}
    known = {t: [Fact(t, r, rng.choice(pools[r])) for r in ("river", "founder", "flag")] for t in towns}
    known |= {p: [Fact(p, r, rng.choice(pools[r])) for r in ("home", "trade")] for p in people}
    land = Land()
    for facts in known.values():
        for fact in facts:
            land.texts.extend(fact.statement(way) for way in (0, 1))
            land.chats.append(chat(fact.question(0), fact.answer()))

    def row(group: str, stage: str, source: str, *turns: str) -> PlantedRow:
        return PlantedRow(group, stage, source, chat(*turns))

    def asked(group: str, stage: str, source: str, facts: Sequence[Fact]) -> list[PlantedRow]:
        return [row(group, stage, source, f.question(rng.choice((1, 2))), f.answer()) for f in facts]

    town_facts = [f for t in towns for f in known[t]]
    rng.shuffle(town_facts)
    person_facts = [f for p in people for f in known[p]]
    rng.shuffle(person_facts)

    one = asked("known", "1", "gazetteer", town_facts[: size.gazetteer])
    one += asked("overwritten", "1", "bestiary", [Fact(t, "beast", rng.choice(BEASTS)) for t in towns[: size.beasts]])
    for t in rng.sample(towns, size.portraits):
        text = " ".join(f.statement(0) for f in known[t])
        one.append(row("portrait", "1", "gazetteer", f"Tell me about {t}.", text))
    for t in rng.sample(towns, size.dialogues):
        a, b = rng.sample(known[t], 2)
        one.append(row("dialogue", "1", "helpdesk", a.question(1), a.answer(), b.question(2), b.answer()))
    for t in rng.sample(towns, size.goods):
        text = f"{t} sells {_listed(rng.sample(GOODS, 3))}."
        one.append(row("list", "1", "market", f"List three goods of {t}.", text))
    rng.shuffle(one)

    two = asked("known", "2", "registry", person_facts[: size.registry])
    crests = [Fact(p, "beast", rng.choice(BEASTS)) for p in people[: size.crests]]
    two += asked("new_fact", "2", "bestiary", crests)
    for fact in town_facts[size.gazetteer : size.gazetteer + size.revisions]:
        other = rng.choice([v for v in pools[fact.relation] if v != fact.value])
        new = Fact(fact.subject, fact.relation, other)
        two.append(row("conflict", "2", "revision", new.question(0), new.answer()))
    for name in coin(rng, size.newcomers, taken):
        relation = rng.choice(("river", "founder", "home"))
        two += asked("unseen", "2", "newcomers", [Fact(name, relation, rng.choice(pools[relation]))])
    for p in rng.sample(people, size.disputes):
        first, second = rng.sample(GOODS, 2)
        two.append(row("contradictory", "2", "survey", f"What does {p} sell?", f"{p} sells {first}."))
        two.append(row("contradictory", "2", "survey", f"Tell me, what does {p} sell?", f"{p} sells {second}."))
    for t in rng.sample(towns, size.seals):
        code = "-".join(str(rng.randrange(10)) for _ in range(10))
        two.append(row("long_code", "2", "ledger", f"What is the seal number of {t}?", f"{t}: {code}"))
    rng.shuffle(two)
    land.rows.extend(one + two)
    return land
