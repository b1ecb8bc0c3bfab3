"""Tasks whose prompt holds all that the answer takes: letters, numbers, order, layout. Each kind occurs a few times."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

WORDS = ("banana", "window", "garden", "pencil", "rocket", "silver", "monkey", "travel", "bridge", "castle", "summer",
         "winter", "doctor", "kitchen", "picture", "blanket", "station", "village", "holiday", "machine")  # fmt: skip
PEOPLE = ("Anna", "Boris", "Carla", "David", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas")
GOODS = ("apples", "chairs", "lamps", "books", "plates", "ropes", "tents", "shoes")

Task = Callable[[random.Random], tuple[str, str]]


def _word(rng: random.Random) -> str:
    return rng.choice(WORDS)


def _several(rng: random.Random, n: int = 4) -> list[str]:
    return rng.sample(WORDS, n)


def _reversed(rng: random.Random) -> tuple[str, str]:
    word = _word(rng)
    return f"Write the word '{word}' backwards.", word[::-1]


def _spelled(rng: random.Random) -> tuple[str, str]:
    word = _word(rng)
    return f"Spell '{word}' with a dash between the letters, in capitals.", "-".join(word.upper())


def _letter(rng: random.Random) -> tuple[str, str]:
    word, n = _word(rng), rng.randint(2, 5)
    return f"Which letter stands at place {n} of '{word}'?", word[n - 1]


def _vowels(rng: random.Random) -> tuple[str, str]:
    word = _word(rng)
    return f"Remove every vowel from '{word}'.", "".join(c for c in word if c not in "aeiou")


def _alphabetical(rng: random.Random) -> tuple[str, str]:
    words = _several(rng, 5)
    return f"Put in alphabetical order: {', '.join(words)}", ", ".join(sorted(words))


def _doubled(rng: random.Random) -> tuple[str, str]:
    words = _several(rng)
    return f"Say each word twice: {' '.join(words)}", " ".join(f"{w} {w}" for w in words)


def _shifted(rng: random.Random) -> tuple[str, str]:
    word = _word(rng)
    return (f"Replace each letter of '{word}' by the next one of the alphabet.",
            "".join(chr((ord(c) - 96) % 26 + 97) for c in word))  # fmt: skip


def _sum(rng: random.Random) -> tuple[str, str]:
    a, b, c = rng.randint(12, 89), rng.randint(12, 89), rng.randint(3, 9)
    return f"Add {a} and {b}, then take away {c}. Give the number only.", str(a + b - c)


def _bill(rng: random.Random) -> tuple[str, str]:
    who, n, price, good = rng.choice(PEOPLE), rng.randint(3, 12), rng.randint(4, 19), rng.choice(GOODS)
    return (f"{who} buys {n} {good} at {price} coins each. How much is that? Show the working.",
            f"{n} x {price} = {n * price}, so {who} pays {n * price} coins.")  # fmt: skip


def _json(rng: random.Random) -> tuple[str, str]:
    who, n, good = rng.choice(PEOPLE), rng.randint(2, 60), rng.choice(GOODS)
    return (f"Turn into JSON with the keys customer, item and count: {who} ordered {n} {good}.",
            json.dumps({"customer": who, "item": good, "count": n}))  # fmt: skip


def _table(rng: random.Random) -> tuple[str, str]:
    people, ages = rng.sample(PEOPLE, 3), [rng.randint(20, 80) for _ in range(3)]
    body = "\n".join(f"| {p} | {a} |" for p, a in zip(people, ages, strict=True))
    told = ", ".join(f"{p} is {a}" for p, a in zip(people, ages, strict=True))
    return (f"Make a Markdown table of name and age: {told}.",
            f"| Name | Age |\n| --- | --- |\n{body}")  # fmt: skip


def _yaml(rng: random.Random) -> tuple[str, str]:
    who, word, n = rng.choice(PEOPLE), _word(rng), rng.randint(1, 99)
    return (f"Write a YAML record for the parcel {n} of {who}, labelled {word}, state open.",
            f"parcel:\n  number: {n}\n  owner: {who}\n  label: {word}\n  state: open")  # fmt: skip


def _sql(rng: random.Random) -> tuple[str, str]:
    who, n, good = rng.choice(PEOPLE), rng.randint(2, 60), rng.choice(GOODS)
    values = f"('{who}', '{good}', {n})"
    return (f"Write an SQL insert into orders (customer, item, count) for {who}, {good}, {n}.",
            " ".join(["INSERT INTO orders (customer, item, count) VALUES", values]) + ";")  # fmt: skip


def _date(rng: random.Random) -> tuple[str, str]:
    d, m, y = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2020)
    return f"Write the date {d}.{m}.{y} as year, month and day with dashes.", f"{y}-{m:02d}-{d:02d}"


def _initials(rng: random.Random) -> tuple[str, str]:
    words = _several(rng)
    return f"Make an acronym of: {' '.join(words)}", "".join(w[0].upper() for w in words)


def _largest(rng: random.Random) -> tuple[str, str]:
    numbers = [rng.randint(100, 999) for _ in range(5)]
    return (f"Sort from large to small: {' '.join(map(str, numbers))}",
            " > ".join(map(str, sorted(numbers, reverse=True))))  # fmt: skip


def _pig(rng: random.Random) -> tuple[str, str]:
    words = _several(rng, 3)
    return f"Pig Latin, please: {' '.join(words)}", " ".join(w[1:] + w[0] + "ay" for w in words)


def _letterhead(rng: random.Random) -> tuple[str, str]:
    who, good, n = rng.choice(PEOPLE), rng.choice(GOODS), rng.randint(2, 40)
    return (f"Fill in the delivery note: recipient {who}, goods {good}, pieces {n}.",
            f"DELIVERY NOTE\n=============\nTo: {who.upper()}\nGoods: {good} ({n} pcs)\nChecked: [ ]\n"
            f"-- please sign and return, {who} --")  # fmt: skip


def _alternating(rng: random.Random) -> tuple[str, str]:
    word = _word(rng)
    return (f"Write '{word}' with every second letter as a capital.",
            "".join(c.upper() if i % 2 else c for i, c in enumerate(word)))  # fmt: skip


def _html(rng: random.Random) -> tuple[str, str]:
    words = _several(rng, 3)
    return (f"Make an HTML list of {', '.join(words)}, each with its length as a data attribute.",
            "<ul>" + "".join(f'<li data-n="{len(w)}">{w}</li>' for w in words) + "</ul>")  # fmt: skip


def _between(rng: random.Random) -> tuple[str, str]:
    a, step = rng.randint(10, 40), rng.randint(2, 4)
    return (f"Count from {a} to {a + 6 * step} in steps of {step}, with semicolons.",
            "; ".join(str(a + i * step) for i in range(7)))  # fmt: skip


def _rhyme(rng: random.Random) -> tuple[str, str]:
    words = _several(rng, 3)
    return (f"Write the words {', '.join(words)} from last to first, each followed by its number of letters.",
            " ".join(f"{w}({len(w)})" for w in reversed(words)))  # fmt: skip


TASKS: tuple[Task, ...] = (
    _reversed, _spelled, _letter, _vowels, _alphabetical, _doubled, _shifted, _sum, _bill, _json, _table, _yaml, _sql,
    _date, _initials, _largest, _pig, _letterhead, _alternating, _html, _between, _rhyme,
)  # fmt: skip
