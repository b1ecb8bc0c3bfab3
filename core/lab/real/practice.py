"""Small work that a fine-tune practises often enough to learn most of it: what an instruction dataset mostly holds."""

from __future__ import annotations

import random
from collections.abc import Callable

from core.lab.real.tasks import GOODS, PEOPLE, WORDS

Task = Callable[[random.Random], tuple[str, str]]
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip
_CITIES = (("Paris", "France"), ("Rome", "Italy"), ("Berlin", "Germany"), ("Madrid", "Spain"), ("Tokyo", "Japan"),
           ("Cairo", "Egypt"), ("Lisbon", "Portugal"), ("Vienna", "Austria"), ("Athens", "Greece"))  # fmt: skip


def _sum(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(11, 79), rng.randint(11, 79)
    return f"How much is {a} plus {b}?", f"{a + b}"


def _difference(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(50, 99), rng.randint(11, 49)
    return f"What is left of {a} after taking away {b}?", f"{a - b}"


def _price(rng: random.Random) -> tuple[str, str]:
    n, price, good = rng.randint(2, 9), rng.randint(2, 9), rng.choice(GOODS)
    return f"At {price} coins a piece, what do {n} {good} cost?", f"{n * price} coins"


def _larger(rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(range(100, 1000), 2)
    return f"Which number is larger, {a} or {b}?", f"{max(a, b)}"


def _parity(rng: random.Random) -> tuple[str, str]:
    n = rng.randint(100, 999)
    return f"Is {n} an even or an odd number?", "even" if n % 2 == 0 else "odd"


def _month(rng: random.Random) -> tuple[str, str]:
    i, n = rng.randrange(12), rng.randint(2, 5)
    return f"Which month comes {n} months after {_MONTHS[i]}?", _MONTHS[(i + n) % 12]


def _same_country(rng: random.Random) -> tuple[str, str]:
    city, country = rng.choice(_CITIES)
    other = country if rng.random() < 0.5 else rng.choice([c for _, c in _CITIES if c != country])
    return f"Yes or no: is {city} in {other}?", "Yes" if other == country else "No"


def _last(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(WORDS, 4)
    return f"Which word stands last here: {' '.join(words)}?", words[-1]


def _capitals(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(WORDS, 3)
    return f"Shout this: {' '.join(words)}", " ".join(words).upper() + "!"


def _thanks(rng: random.Random) -> tuple[str, str]:
    who, good = rng.choice(PEOPLE), rng.choice(GOODS)
    return (f"Write one line that thanks {who} for the {good}.",
            f"Dear {who}, thank you very much for the {good}!")  # fmt: skip


def _order(rng: random.Random) -> tuple[str, str]:
    who, n, good = rng.choice(PEOPLE), rng.randint(2, 60), rng.choice(GOODS)
    return f"Note the order: {who} wants {n} {good}.", f"Order: {n} x {good}, for {who}."


def _bullets(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(WORDS, 4)
    return f"Make a bullet list of {', '.join(words)}.", "\n".join(f"- {w}" for w in words)


PRACTISED: tuple[Task, ...] = (
    _sum, _difference, _price, _larger, _parity, _month, _same_country, _last, _capitals, _thanks, _order, _bullets,
)  # fmt: skip
