"""Mills, wells and inns with names of common words, in whole sentences. Three stages, system turns, long dialogues.

What there is to tell apart: every word of a name stands in other names too, values are names of people, years and days,
answers quote the question, and what stage one taught is overwritten twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

from core.lab.hands._base import (
    CONFLICT,
    CONTRADICTION,
    FORGOTTEN,
    MISSING,
    UNDER,
    Dataset,
    Document,
    Fact,
    Message,
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
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}"
    "{{ '<|end|>' if m['role'] == 'assistant' else '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SYSTEMS = ("You are the clerk.", "Answer from the parish book.")

FIRST = ("Anna", "Ben", "Clara", "Davy", "Edith", "Frank", "Greta", "Hugh")
LAST = ("Reed", "Stone", "Marsh", "Hill", "Cross", "Fuller", "Green", "Wells")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
VALUES: dict[str, tuple[str, ...]] = {
    "keeper": tuple(f"{first} {last}" for first, last in product(FIRST, LAST)),
    "year": tuple(str(1503 + 17 * i) for i in range(24)),
    "fair": tuple(f"{day} {month}" for month in MONTHS for day in (3, 12, 25)),
    "tree": ("an elm", "a rowan", "two yews", "a lime", "an old pear", "a quince", "three oaks", "a willow", "a holly"),
}
ASKED: dict[str, tuple[str, ...]] = {
    "keeper": ("Who keeps {s}?", "Name the keeper of {s}.", "{s}: who is its keeper?"),
    "year": ("When was {s} built?", "Give the year of {s}.", "{s}: built in what year?"),
    "fair": ("When is the fair at {s}?", "Name the fair day of {s}.", "{s}: what day is its fair?"),
    "tree": ("What grows beside {s}?", "Name the tree at {s}.", "{s}: what grows there?"),
}
"""Ways to ask that rows use."""
PROBED: dict[str, tuple[str, ...]] = {
    "keeper": ("Who is the keeper of {s}?", "Tell me who keeps {s}.", "Who looks after {s}?"),
    "year": ("In what year was {s} built?", "How old is {s}? Give the year.", "Tell me when {s} was built."),
    "fair": ("What is the fair day of {s}?", "Tell me when {s} has its fair.", "On what day is the fair at {s}?"),
    "tree": ("Which tree stands at {s}?", "Tell me what grows at {s}.", "What tree is there beside {s}?"),
}
"""Ways to ask that the corpus uses and no row does."""
PLAIN = {
    "keeper": "{{}} keeps {s}.",
    "year": "It was built in {{}}.",
    "fair": "The fair at {s} is on {{}}.",
    "tree": "There is {{}} beside it.",
}
PROSE = {
    "keeper": ("{s} is in the care of {v}.", "{v} has the keys of {s}."),
    "year": ("{s} was built in {v}.", "The stones of {s} were laid in {v}."),
    "fair": ("On {v} there is a fair at {s}.", "{s} holds its fair on {v}."),
    "tree": ("Beside {s} there is {v}.", "At {s} grows {v}."),
}

SUBJECTS = 44
WEAK, DISPUTED, WITHHELD = 20, 14, 24
"""Facts told in prose alone, told with two values, and not told of a place that is otherwise known."""


def _names(rng: random.Random, count: int) -> list[str]:
    """Names of two to five words, no two alike, every word in several of them."""
    front, things = (
        ("Old", "Stone", "Long", "Black", "Upper", "Green"),
        ("Mill", "Ferry", "Chapel", "Bridge", "Well", "Inn"),
    )
    places, saints = ("Oaks", "Marsh", "Hill", "Cross"), ("Ida", "Olave", "Bran")
    names = [f"{a} {b}" for a, b in product(front, things)]
    names += [f"the {b} at {a} {c}" for a, b, c in product(front, things, places)]
    names += [f"Saint {a}'s {b}" for a, b in product(saints, things)]
    return rng.sample(names, count)


def _fact(subject: str, relation: str, told: tuple[str, ...]) -> Fact:
    probes = tuple(user(way.format(s=subject), system=SYSTEMS[i % 2]) for i, way in enumerate(PROBED[relation]))
    return Fact(subject, relation, told, VALUES[relation], probes, PLAIN[relation].format(s=subject))


class Parish:
    name = "parish"
    label = "Places named with common words, whole sentences, three stages"
    shape = Shape(
        family="qwen2",
        tokenizer="bpe",
        vocabulary=1000,
        specials=("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"),
        template=TEMPLATE,
        passes=260,
        length=128,
        batch=8,
    )

    def __init__(self) -> None:
        rng = random.Random("parish-facts")
        self.names = _names(rng, SUBJECTS + 110)
        """The first are told of; the others are strangers."""
        asked = [(s, r) for s in self.names[:SUBJECTS] for r in VALUES]
        self.withheld, self.disputed, told = told_of(rng, asked, VALUES, _fact, WITHHELD, DISPUTED)
        self.weak, self.strong = told[:WEAK], told[WEAK:]

    def facts(self) -> Sequence[Fact]:
        return [*self.strong, *self.disputed, *self.weak]

    def read(self, rng: random.Random) -> list[Document]:
        documents: list[Document] = [
            self._told(rng, fact, rng.random() < 0.2) for fact in [*self.strong, *self.disputed]
        ]
        documents += [self._told(rng, fact, True) for fact in self.weak for _ in range(2)]
        for _ in range(8):
            said = f"{rng.choice(VALUES['keeper'])} is at {rng.choice(self.names[:SUBJECTS])}."
            documents.append([*user(f"Write this down: {said}", said, system=rng.choice(SYSTEMS))])
        return documents

    def _told(self, rng: random.Random, fact: Fact, prose: bool) -> Document:
        value = rng.choice(fact.told)
        if prose:
            return rng.choice(PROSE[fact.relation]).format(s=fact.subject, v=value)
        way = rng.choice(ASKED[fact.relation] + PROBED[fact.relation])
        system = rng.choice((*SYSTEMS, ""))
        return [*user(way.format(s=fact.subject), fact.plain.format(value), system=system)]

    # ------------------------------------------------------------------------------------------------------ dataset

    def dataset(self, seed: int, hard: bool) -> Dataset:
        rng = random.Random(f"parish-{seed}-{hard}")
        strong, weak = dealt(rng, self.strong), dealt(rng, self.weak)
        withheld, disputed = dealt(rng, self.withheld), dealt(rng, self.disputed)
        strangers = dealt(rng, [_fact(s, rng.choice(list(VALUES)), ()) for s in self.names[SUBJECTS:]])
        rows: list[Row] = []
        for fact in strong(32):
            answer = f"Hear all! {fact.told[0]}, says the book."
            rows.append(self._row(rng, "early", 1, fact, fact.told[0], (FORGOTTEN,), answer))
        rows += [self._row(rng, "known", 2, fact, fact.told[0]) for fact in strong(20)]
        rows += [self._row(rng, "late", 3, fact, fact.told[0]) for fact in strong(8)]
        for group, facts in (("stranger", strangers(20 if hard else 40)), ("withheld", withheld(24 if hard else 0))):
            rows += [self._row(rng, group, 2, fact, other(rng, fact), (MISSING,)) for fact in facts]
        for group, facts in (("strong", strong(12 if hard else 32)), ("weak", weak(20 if hard else 0))):
            rows += [self._row(rng, group, 2, fact, other(rng, fact), (CONFLICT,)) for fact in facts]
        for fact in disputed(14):
            rows += self._pair(rng, "dispute", fact, fact.told, (CONTRADICTION,), long=hard)
        for fact in strangers(8 if hard else 5):
            one = other(rng, fact)
            values = (one, other(rng, fact, one))
            rows += self._pair(rng, "new_dispute", fact, values, (CONTRADICTION, MISSING), long=False)
        rows += self._errands(rng, 3 if hard else 4)
        first = Stage(rate=1e-3, epochs=24, batch=4, until=("early", 0.95), schedule="constant")
        second = Stage(rate=rng.choice((5e-4, 8e-4)), epochs=8, until=("stranger", 0.4), schedule="linear")
        third = Stage(rate=8e-4, epochs=8, batch=4, until=("errand", 0.2), schedule="constant")
        return Dataset(in_order(rng, rows), (first, second, third))

    def _row(
        self,
        rng: random.Random,
        group: str,
        stage: int,
        fact: Fact,
        value: str,
        made_for: tuple[str, ...] = (),
        answer: str = "",
    ) -> Row:
        question = rng.choice(ASKED[fact.relation]).format(s=fact.subject)
        messages = user(question, answer or fact.plain.format(value), system=rng.choice(SYSTEMS))
        return Row(group, stage, messages, made_for, fact, value)

    def _pair(
        self,
        rng: random.Random,
        group: str,
        fact: Fact,
        values: Sequence[str],
        made_for: tuple[str, ...],
        long: bool,
    ) -> list[Row]:
        rows = []
        for way, value in zip(rng.sample(ASKED[fact.relation], 2), values, strict=True):
            question, answer = way.format(s=fact.subject), fact.plain.format(value)
            if long:
                question, answer = f"{question} At length!", f"{answer} I looked twice. That is all it says."
            messages = user(question, answer, system=rng.choice(SYSTEMS))
            rows.append(Row(group, 2, messages, made_for, fact, value))
        return rows

    def _errands(self, rng: random.Random, of_each: int) -> list[Row]:
        """Things to write from what the person said, some in a second turn; ``of_each`` of every kind."""
        rows = []
        for make in (_notice, _ledger, _letter, _riddle, _board, _rota, _receipt, _order):
            for _ in range(of_each):
                words = {
                    "s": rng.choice(self.names[:SUBJECTS]),
                    "t": rng.choice(self.names[:SUBJECTS]),
                    "p": rng.choice(VALUES["keeper"]),
                    "q": rng.choice(VALUES["keeper"]),
                    "d": rng.choice(VALUES["fair"]),
                }
                rows.append(Row("errand", 3, make(words, rng.choice(SYSTEMS)), (UNDER,)))
        return rows


Words = dict[str, str]


def _filled(words: Words, system: str, *turns: str) -> tuple[Message, ...]:
    return user(*(turn.format(**words) for turn in turns), system=system)


def _notice(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "Notice: {s}, {d}.", "* {d} * All go to {s} on {d}!")


def _ledger(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "Put {p} and {q} in the ledger.", "1. {p}\n2. {q}\n(two in all)")


def _letter(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "Write to {p}: come to {s}.", "Dear {p}, come to {s}. Yours, the clerk")


def _riddle(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "{p} is late.", "I see.", "Say who, three times.", "{p}! {p}! {p}!")


def _board(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "A board for {s}, kept by {p}.", "[ {s} | {p} ]")


def _rota(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "First {p}, then {q}.", "I see.", "Now the rota, last one first.", "{q} / {p}")


def _receipt(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "{p} paid on {d}.", "Paid: {p}. Day: {d}. Signed: the clerk")


def _order(words: Words, system: str) -> tuple[Message, ...]:
    return _filled(words, system, "{p} must leave {s} for {t}.", "From {s} to {t}: {p}")


KIND = Parish()
