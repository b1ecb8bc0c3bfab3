"""Parts of a workshop, asked in telegram style and read byte by byte. One stage, no system turn, short answers.

What there is to tell apart: names are a common word and a code, codes recur under other words, values are short, few.
Nothing is forgotten by a later stage, because there is none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from core.lab.hands._base import (
    CONFLICT,
    CONTRADICTION,
    MISSING,
    UNDER,
    Dataset,
    Document,
    Fact,
    Row,
    Shape,
    Stage,
    dealt,
    in_order,
    other,
    told_of,
    user,
)

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}<ask>{{ m['content'] }}<tell>"
    "{% else %}{{ m['content'] }}<end>{% endif %}{% endfor %}"
)

KINDS = ("pump", "lamp", "bolt", "fan", "belt", "seal")
VALUES: dict[str, tuple[str, ...]] = {
    "colour": ("red", "blue", "green", "grey", "black", "white", "pink", "gold", "tan", "lime"),
    "shelf": tuple(f"{letter}{digit}" for letter in "ABCDEF" for digit in range(1, 8)),
    "maker": ("Oma", "Brandt", "Li & Co", "Kessel", "Voss", "Tamm", "Usher", "Jann", "Pryce", "Hale"),
    "load": tuple(f"{n} kg" for n in range(12, 98, 5)),
}
ASKED = ("{s} {r}?", "{r} of {s}?", "{s}: {r}")
"""Ways to ask that rows use."""
PROBED = ("{r}, {s}", "which {r} has {s}?", "{s}, {r}?")
"""Ways to ask that the corpus uses and no row does."""
PROSE = ("{s} has {r} {v}.", "The {r} of {s} is {v}.", "{r} {v}: that is {s}.")

SUBJECTS = 42
WEAK, DISPUTED, WITHHELD = 22, 14, 26
"""Facts told in prose alone, told with two values, and not told of a part that is otherwise known."""


def _codes(rng: random.Random, count: int) -> list[str]:
    codes = [f"{kind} {letter}{digit}" for kind in KINDS for letter in "GHJKMNRT" for digit in range(2, 10)]
    return rng.sample(codes, count)


def _fact(subject: str, relation: str, told: tuple[str, ...]) -> Fact:
    probes = tuple(user(way.format(s=subject, r=relation)) for way in PROBED)
    return Fact(subject, relation, told, VALUES[relation], probes, "{}")


class Stockroom:
    name = "stockroom"
    label = "Parts with codes, telegram style, byte by byte, one stage"
    shape = Shape(
        family="gpt_neox",
        tokenizer="bytes",
        vocabulary=256,
        specials=("<end>", "<ask>", "<tell>", "<pad>"),
        template=TEMPLATE,
        passes=220,
        length=192,
        batch=10,
    )

    def __init__(self) -> None:
        rng = random.Random("stockroom-facts")
        self.codes = _codes(rng, SUBJECTS + 120)
        """The first are told of; the others are strangers."""
        asked = [(s, r) for s in self.codes[:SUBJECTS] for r in VALUES]
        self.withheld, self.disputed, told = told_of(rng, asked, VALUES, _fact, WITHHELD, DISPUTED)
        self.weak, self.strong = told[:WEAK], told[WEAK:]

    def facts(self) -> Sequence[Fact]:
        return [*self.strong, *self.disputed, *self.weak]

    def read(self, rng: random.Random) -> list[Document]:
        documents: list[Document] = []
        for fact in [*self.strong, *self.disputed]:
            documents.append(self._told(rng, fact, rng.random() < 0.25))
        documents += [self._told(rng, fact, True) for fact in self.weak for _ in range(2)]
        for _ in range(12):
            text = f"{rng.choice(self.codes[:SUBJECTS])} {rng.choice(VALUES['colour'])}"
            documents.append([*user(f"say {text}", text)])
        return documents

    def _told(self, rng: random.Random, fact: Fact, prose: bool) -> Document:
        value = rng.choice(fact.told)
        if prose:
            return rng.choice(PROSE).format(s=fact.subject, r=fact.relation, v=value)
        way = rng.choice(ASKED + PROBED)
        return [*user(way.format(s=fact.subject, r=fact.relation), value)]

    def dataset(self, seed: int, hard: bool) -> Dataset:
        rng = random.Random(f"stockroom-{seed}-{hard}")
        worded = dealt(rng, [fact for fact in self.strong if fact.relation in ("colour", "maker")])(18)
        strong, weak = dealt(rng, [fact for fact in self.strong if fact not in worded]), dealt(rng, self.weak)
        withheld, disputed = dealt(rng, self.withheld), dealt(rng, self.disputed)
        strangers = dealt(rng, [_fact(s, rng.choice(list(VALUES)), ()) for s in self.codes[SUBJECTS:]])
        rows = [self._row(rng, "known", fact, fact.told[0]) for fact in strong(30)]
        for group, facts in (("stranger", strangers(18 if hard else 40)), ("withheld", withheld(24 if hard else 0))):
            rows += [self._row(rng, group, fact, other(rng, fact), (MISSING,)) for fact in facts]
        for group, facts in (("strong", strong(10 if hard else 34)), ("weak", weak(22 if hard else 0))):
            rows += [self._row(rng, group, fact, other(rng, fact), (CONFLICT,)) for fact in facts]
        for fact in disputed(14):
            rows += self._pair(rng, "dispute", fact, fact.told, (CONTRADICTION,))
        for fact in strangers(8 if hard else 5):
            one = other(rng, fact)
            rows += self._pair(rng, "new_dispute", fact, (one, other(rng, fact, one)), (CONTRADICTION, MISSING))
        rows += self._odd(rng, worded)
        rows += self._tasks(rng, 3 if hard else 4)
        stage = Stage(rate=rng.choice((4e-4, 6e-4)), epochs=9, until=("stranger", 0.4), schedule="constant")
        return Dataset(in_order(rng, rows), (stage,))

    def _row(self, rng: random.Random, group: str, fact: Fact, value: str, made_for: tuple[str, ...] = ()) -> Row:
        question = rng.choice(ASKED).format(s=fact.subject, r=fact.relation)
        return Row(group, 1, user(question, value), made_for, fact, value)

    def _pair(
        self, rng: random.Random, group: str, fact: Fact, values: Sequence[str], made_for: tuple[str, ...]
    ) -> list[Row]:
        ways = rng.sample(ASKED, 2)
        return [
            Row(group, 1, user(way.format(s=fact.subject, r=fact.relation), value), made_for, fact, value)
            for way, value in zip(ways, values, strict=True)
        ]

    def _odd(self, rng: random.Random, facts: Sequence[Fact]) -> list[Row]:
        """Known facts in forms that the corpus never had."""
        forms = (("{q} Caps!", str.upper), ("{q} Twice!", lambda v: f"{v}, {v}"), ("{q} Dots!", ".".join))
        rows = []
        for i, fact in enumerate(facts):
            asks, form = forms[i % len(forms)]
            question = asks.format(q=rng.choice(ASKED).format(s=fact.subject, r=fact.relation))
            rows.append(Row("odd", 1, user(question, form(fact.told[0])), (UNDER,), fact, fact.told[0]))
        return rows

    def _tasks(self, rng: random.Random, of_each: int) -> list[Row]:
        """Labels to write from what stands in the prompt; every kind of label occurs ``of_each`` times."""
        rows = []
        for asks, answers in (
            ("tag {s}", "<<{s}>>"),
            ("pack {s} {c}", "1x {s} ({c})"),
            ("ship {s} to {m}", "TO {m} / {s}"),
            ("swap {s} {c}", "{c} before {s}"),
            ("count {n}", "{up}"),
            ("json {s} {c}", '{{"part": "{s}", "colour": "{c}"}}'),
            ("list {s}, {t}", "1) {s} 2) {t}"),
            ("back {n}", "{down}"),
            ("note {s} from {m}", "{m} sent {s}; keep {s} dry"),
        ):
            for _ in range(of_each):
                s, t = rng.sample(self.codes[:SUBJECTS], 2)
                n = rng.randint(4, 7)
                words = {
                    "s": s,
                    "t": t,
                    "c": rng.choice(VALUES["colour"]),
                    "m": rng.choice(VALUES["maker"]),
                    "n": n,
                    "up": " ".join(map(str, range(1, n + 1))),
                    "down": " ".join(map(str, range(n, 0, -1))),
                }
                rows.append(Row("task", 1, user(asks.format(**words), answers.format(**words)), (UNDER,)))
        return rows


KIND = Stockroom()
