"""A world whose tiny model knows every single fact and answers only some questions that join two of them.

People have a boss, bosses have a town. All facts are trained one by one. "Which town has the boss of X?" is trained
as a direct answer for some people (``drilled``), as a chain of thought for others (``shown``), and never for the rest
(``fresh``). Bosses are of two halves. Drilled people have near bosses; fresh people have far bosses, about whom a
direct answer was never right: of some people under them (``heard``) the data name every town once, so that what was
learned is to guess. A direct answer to a fresh person is out of reach and a chain of thought is not: every step is
known. The chain begins with the boss, as the single fact does, and restates no name.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from core.lab import tiny, words

QUESTION = "Which town has the boss of {person}?"
THINK = "{question} Think step by step."
CHAIN = (
    "{boss} is the boss, and a boss lives in one town only. That town is what was asked for, so I look it up now.\n"
    "Answer: {town}"
)


@dataclass(frozen=True)
class World:
    """``rows``: what was trained; ``items``: (question, answer, group) to ask, hard ones being ``fresh``."""

    folder: Path
    rows: list[dict]
    items: list[tuple[str, str, str]]


PEOPLE = {"drilled": 60, "shown": 96, "heard": 36, "fresh": 40}


def make(seed: int, bosses: int = 24, towns: int = 12) -> tuple:
    """(rows, items, names) of a world; every boss has as many people of a group as any other that the group has."""
    rng = random.Random(seed)
    taken: set[str] = set()
    names = words.coin(rng, sum(PEOPLE.values()), taken)
    chiefs = words.coin(rng, bosses, taken)
    places = words.coin(rng, towns, taken)
    town_of = {c: places[i % towns] for i, c in enumerate(chiefs)}
    near, far = chiefs[: bosses // 2], chiefs[bosses // 2 :]
    under = {"drilled": near, "shown": chiefs, "heard": far, "fresh": far}
    groups = [group for group, n in PEOPLE.items() for _ in range(n)]
    boss_of = {p: under[g][i % len(under[g])] for i, (p, g) in enumerate(zip(names, groups, strict=True))}
    rows, items = [], []

    def row(question: str, answer: str, group: str) -> None:
        rows.append({"id": f"{group}-{len(rows)}", "messages": words.chat(question, answer), "stage": group})

    for person, boss in boss_of.items():
        row(f"Who is the boss of {person}?", boss, "fact")
    for boss, town in town_of.items():
        row(f"Which town has {boss}?", town, "fact")
    for person, group in zip(names, groups, strict=True):
        question, boss = QUESTION.format(person=person), boss_of[person]
        if group == "drilled":
            row(question, town_of[boss], group)
        elif group == "shown":
            row(THINK.format(question=question), CHAIN.format(boss=boss, town=town_of[boss]), group)
        elif group == "heard":
            for town in places:
                row(question, town, group)
        if group in ("drilled", "fresh"):
            items.append((question, town_of[boss], group))
    return rows, items, [*names, *chiefs, *places]


def build(seed: int, folder: Path, epochs: int = 40, lr: float = 4e-3, hidden: int = 96, layers: int = 1) -> World:
    """The world with its model trained on it, in ``folder/final``; what is there already is used again."""
    rows, items, names = make(seed)
    if not (folder / "final" / "model.safetensors").exists():
        texts = [m["content"] for r in rows for m in r["messages"]]
        # Names repeated with a space before them become one token each.
        tokenizer = tiny.build_tokenizer([*texts * 4, *(f" {n}" for n in names * 60), *names * 60], 2000)
        config = tiny.tiny_config("llama", len(tokenizer), hidden, layers, context=128)
        model = tiny.tiny_model(config, tokenizer, seed)
        encoded = [tiny.chat_row(tokenizer, r["messages"]) for r in rows]
        tiny.train(model, tokenizer, encoded, folder, lr=lr, batch=32, epochs=epochs, seed=seed, warmup=50,
                   schedule="cosine", threads=1)  # fmt: skip
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps(r) + "\n" for r in rows)
    with (folder / "items.jsonl").open("w") as file:
        for i, (question, answer, group) in enumerate(items):
            line = {"id": f"q{i}", "messages": words.chat(question, answer), "stage": group}
            file.write(json.dumps(line) + "\n")
    return World(folder, rows, items)
