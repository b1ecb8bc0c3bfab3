"""How far direct answers agree, when that settles the route, and what agreement chance alone would give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

RouteName = Literal["short", "long"]


def need(tau: float | str, m: int) -> int:
    """The smallest whole number of votes that is at least τ·M, computed exactly.

    τ is read as the decimal it is written as: ``ceil(0.56 * 25)`` in floating point is 15, the right number is 14.
    """
    return math.ceil(Fraction(str(tau)) * m)


@dataclass(frozen=True, slots=True)
class Consensus:
    """Agreement among M answers.

    Attributes:
        answer: the answer with most votes, of several the one given first; None where no answer could be read.
        votes: how many gave it; ``m``: how many were asked.
        entropy: of the distribution of answers, divided by log M, in [0, 1]. An unreadable answer agrees with none.
    """

    answer: str | None
    votes: int
    m: int
    entropy: float

    @property
    def share(self) -> float:
        return self.votes / self.m if self.m else 0.0


def consensus(keys: Sequence[str | None]) -> Consensus:
    """Consensus(x) = max_y Count(y) / M (arXiv 2604.10072); unreadable answers (None) count in M and for nobody."""
    counts = Counter(k for k in keys if k is not None)
    m = len(keys)
    if not counts:
        return Consensus(None, 0, m, 1.0 if m > 1 else 0.0)
    top = max(counts.values())
    answer = next(k for k in keys if k is not None and counts[k] == top)
    groups = [*counts.values(), *[1] * (m - counts.total())]
    nats = -sum(c / m * math.log(c / m) for c in groups)
    return Consensus(answer, top, m, nats / math.log(m) if m > 1 else 0.0)


def early_stop(keys: Sequence[str | None], wanted: int) -> tuple[RouteName, int]:
    """The route, and how many answers had to be drawn one after another to know it.

    Short as soon as enough agree; long as soon as the answers left cannot make enough agree. Never another route than
    all of them together would take.
    """
    m = len(keys)
    counts: Counter[str] = Counter()
    top = 0
    for drawn in range(m + 1):
        if drawn:
            answer = keys[drawn - 1]
            if answer is not None:
                counts[answer] += 1
                top = max(top, counts[answer])
        if counts and top >= wanted:
            return "short", drawn
        if top + m - drawn < max(wanted, 1):
            return "long", drawn
    raise AssertionError("after the last answer the route is known")


@lru_cache(maxsize=256)
def chance_of_votes(m: int, options: int) -> tuple[float, ...]:
    """(m + 1,) chance that guesses among equally likely options give a largest count of 0, 1, ..., M.

    P(all counts ≤ t) = M! [x^M] (Σ_{j≤t} (x/c)^j / j!)^c, in exact fractions. For two options and M = 5, at least four
    agree in 37.5 % of cases without any knowledge.
    """
    at_most = [_all_counts_at_most(t, m, options) for t in range(m + 1)]
    return tuple(float(at_most[t] - (at_most[t - 1] if t else 0)) for t in range(m + 1))


def _all_counts_at_most(t: int, m: int, options: int) -> Fraction:
    series = [Fraction(1, options**j * math.factorial(j)) for j in range(t + 1)]
    total = [Fraction(1)] + [Fraction(0)] * m
    for _ in range(options):
        total = [sum((total[i - j] * series[j] for j in range(min(i, t) + 1)), Fraction(0)) for i in range(m + 1)]
    return total[m] * math.factorial(m)
