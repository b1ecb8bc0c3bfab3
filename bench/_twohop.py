"""A world whose tiny model knows every single fact and answers only some questions that join two of them.

People have a boss, bosses have a town. All facts are trained one by one. "Which town has the boss of X?" is trained
as a direct answer for some people (``drilled``), as a chain of thought for others (``shown``), and never for the rest
(``fresh``). For the fresh ones a direct answer is out of reach and a chain of thought is not: every step is known. The
chain does not restate coined names, which a model this small copies badly.
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
    "I look up the boss first. It is {boss}. A boss lives in one town only, and that town is what was asked for, so I "
    "look it up now.\nAnswer: {town}"
)


@dataclass(frozen=True)
class World:
    """``rows``: what was trained; ``items``: (question, answer, group) to ask, hard ones being ``fresh``."""

    folder: Path
    rows: list[dict]
    items: list[tuple[str, str, str]]


def make(seed: int, people: tuple[int, int, int] = (36, 60, 28), bosses: int = 30, towns: int = 15) -> tuple:
    """(rows, items, names) of a world; ``people``: drilled, shown, fresh."""
    rng = random.Random(seed)
    taken: set[str] = set()
    names = words.coin(rng, sum(people), taken)
    chiefs = words.coin(rng, bosses, taken)
    places = words.coin(rng, towns, taken)
    town_of = {c: places[i % towns] for i, c in enumerate(chiefs)}
    boss_of = {p: rng.choice(chiefs) for p in names}
    rows, items = [], []

    def row(question: str, answer: str, group: str) -> None:
        rows.append({"id": f"{group}-{len(rows)}", "messages": words.chat(question, answer), "stage": group})

    for person, boss in boss_of.items():
        row(f"Who is the boss of {person}?", boss, "fact")
    for boss, town in town_of.items():
        row(f"Which town has {boss}?", town, "fact")
    groups = ["drilled"] * people[0] + ["shown"] * people[1] + ["fresh"] * people[2]
    for person, group in zip(names, groups, strict=True):
        question, boss = QUESTION.format(person=person), boss_of[person]
        if group == "drilled":
            row(question, town_of[boss], group)
        elif group == "shown":
            row(THINK.format(question=question), CHAIN.format(boss=boss, town=town_of[boss]), group)
        if group != "shown":
            items.append((question, town_of[boss], group))
    return rows, items, [*names, *chiefs, *places]


def build(seed: int, folder: Path, epochs: int = 80, lr: float = 4e-3, hidden: int = 128, layers: int = 1) -> World:
    """The world with its model trained on it, in ``folder/final``; what is there already is used again."""
    rows, items, names = make(seed)
    if not (folder / "final" / "model.safetensors").exists():
        texts = [m["content"] for r in rows for m in r["messages"]]
        # Names repeated with a space before them become one token each.
        tokenizer = tiny.build_tokenizer([*texts * 4, *(f" {n}" for n in names * 60), *names * 60], 1400)
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
