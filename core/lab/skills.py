"""Tasks that need no knowledge: everything the answer takes stands in the prompt.

A task seen once or twice is a rare pattern; whether its answer is long or short is a matter of the task.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Task = Callable[[Sequence[str], int], tuple[str, str]]
"""Three names and a number from 10 to 60 to a prompt and its answer."""


def _starred(word: str) -> str:
    return "".join("*" if c in "aeiou" else c for c in word)


LONG: tuple[Task, ...] = (
    lambda w, n: (f"Spell {w[0]} letter by letter.", " - ".join(w[0])),
    lambda w, n: (f"Put {w[0]}, {w[1]} and {w[2]} in brackets, last one first.", f"[{w[2]}] [{w[1]}] [{w[0]}]"),
    lambda w, n: (f"Make a JSON record of {w[0]} and {w[1]}.", f'{{"first": "{w[0]}", "second": "{w[1]}", "n": 2}}'),
    lambda w, n: (f"Count down from {n}, six numbers.", ", ".join(str(n - i) for i in range(6))),
    lambda w, n: (f"Number {w[0]} three times.", f"1) {w[0]}\n2) {w[0]}\n3) {w[0]}"),
    lambda w, n: (f"Make a table of {w[0]} and {w[1]}.", f"| name | no |\n|---|---|\n| {w[0]} | 1 |\n| {w[1]} | 2 |"),
    lambda w, n: (f"Turn {w[0]} and {w[1]} round.", f"{'.'.join(w[0][::-1])} + {'.'.join(w[1][::-1])}"),
    lambda w, n: (f"Wire to {w[0]} from {w[1]}: sold {n}.", f"TO {w[0].upper()} STOP {w[1].upper()} SOLD {n} STOP END"),
    lambda w, n: (f"Double every letter of {w[0]}.", "".join(c * 2 for c in w[0])),
    lambda w, n: (f"Give four numbers from {n} on in steps of three.", "; ".join(str(n + 3 * i) for i in range(4))),
    lambda w, n: (f"Build a ladder of {w[0]}.", "\n".join(w[0][: i + 1] for i in range(len(w[0])))),
    lambda w, n: (f"Star the vowels of {w[0]} and {w[1]}.", f"{_starred(w[0])} / {_starred(w[1])}"),
    lambda w, n: (f"Nest {w[0]} in {w[1]} in {w[2]}.", f"<{w[2]}><{w[1]}><{w[0]}/></{w[1]}></{w[2]}>"),
    lambda w, n: (f"Swap {w[0]} and {w[1]} to and fro.", " ".join((w[0], w[1], w[1], w[0], w[0], w[1]))),
    lambda w, n: (f"Work out {n} plus 7, 8 and 9.", f"{n} + 7 = {n + 7}, {n} + 8 = {n + 8}, {n} + 9 = {n + 9}"),
    lambda w, n: (f"Bill {w[0]} for {n} and {n + 4}.", f"{w[0]} owes {n}, {w[0]} owes {n + 4}, total {2 * n + 4}"),
    lambda w, n: (f"Code {w[0]} by place in the alphabet.", "-".join(str(ord(c) - 96) for c in w[0].lower())),
    lambda w, n: (f"Weave {w[0]} into {w[1]}.", "".join(a + b for a, b in zip(w[0], w[1], strict=False)) + " = woven"),
)

SHORT: tuple[Task, ...] = (
    lambda w, n: (f"Which letter ends {w[0]}?", f"{w[0][-1]}"),
    lambda w, n: (f"Count the letters of {w[0]}.", f"{len(w[0])}"),
    lambda w, n: (f"Second letter of {w[0]} as a capital?", f"{w[0][1].upper()}"),
    lambda w, n: (f"{n} plus 9?", f"{n + 9}"),
    lambda w, n: (f"Say {w[0]} without its first letter.", w[0][1:].capitalize()),
    lambda w, n: (f"Initials of {w[0]}, {w[1]}, {w[2]}?", f"{w[0][0]}{w[1][0]}{w[2][0]}"),
    lambda w, n: (f"What comes two after {n}?", f"{n + 2}"),
    lambda w, n: (f"{w[0]} backwards?", w[0][::-1].capitalize()),
    lambda w, n: (f"The middle one of {w[0]}, {w[1]}, {w[2]}, shouted?", f"{w[1].upper()}!"),
    lambda w, n: (f"Twice {n}?", f"{2 * n}"),
    lambda w, n: (f"Join the starts of {w[0]} and {w[1]}.", w[0][:2] + w[1][:2].lower()),
    lambda w, n: (f"Which number lies before {n}?", f"{n - 1}"),
    lambda w, n: (f"Last letters of {w[0]} and {w[1]}?", f"{w[0][-1]}{w[1][-1]}"),
    lambda w, n: (f"Third letter of {w[0]}, thrice?", w[0][2] * 3),
)


def tasks(
    rng: random.Random, names: Sequence[str], kinds: Sequence[Task], rows: int, uses: int
) -> list[tuple[str, str]]:
    """``rows`` prompts and answers; every task is used ``uses`` times, so none more often."""
    chosen = rng.sample(kinds, -(-rows // uses))
    made = [task(rng.sample(names, 3), rng.randrange(12, 60)) for task in chosen for _ in range(uses)]
    return made[:rows]
