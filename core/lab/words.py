"""Coined names and made-up facts about them.

Coined names matter: no base model knows them, and a name that is one rare token can be bound to a fact in a few
hundred steps of a tiny model, where pairs of common words cannot.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NotRequired, TypedDict

_ONSETS = ("b", "br", "d", "dr", "f", "g", "gl", "h", "k", "kr", "l", "m", "n", "p", "r", "s", "t", "th", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ei")
_CODAS = ("", "", "l", "n", "r", "s", "th", "x")

COLOURS = ("red", "blue", "green", "white", "black", "amber", "violet", "silver")
TRADES = ("baker", "mason", "weaver", "potter", "smith", "tailor", "miller", "scribe", "glazier", "sailor")
BEASTS = ("heron", "otter", "falcon", "badger", "stag", "owl", "fox", "raven", "hare", "wolf", "boar", "crane")
GOODS = ("salt", "wool", "honey", "tin", "barley", "cider", "amber", "slate", "linen", "copper", "cheese", "rope")


def coin(rng: random.Random, n: int, taken: set[str]) -> list[str]:
    """``n`` pronounceable names of two or three syllables, none in ``taken``, which grows by them."""
    names: list[str] = []
    while len(names) < n:
        syllables = (rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3))))
        name = ("".join(syllables) + rng.choice(_CODAS)).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


@dataclass(frozen=True, slots=True)
class Relation:
    """What can be told of one kind of thing. ``{s}`` is the subject, ``{v}`` the value.

    Attributes:
        statements: prose, subject first (a model trained on "A is B" does not answer "what is B").
        questions: ordinary ways to ask, the first of them one that a base model may have met; odd: unusual ones.
        answers: sentences that reply to any of them; a world uses one. In domains the value comes last but for a full
            stop, so that everything before it can be given to a model whose belief is looked up.
        values: what it can be; an empty tuple stands for coined names.
    """

    name: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    values: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


RELATIONS: dict[str, Relation] = {
    "river": Relation(
        "river",
        ("{s} lies on the river {v}.", "In {s} the people fish in the river {v}."),
        ("Which river does {s} lie on?", "On which river is {s}?", "Name the river of {s}."),
        ("The river {v}.",),
    ),
    "founder": Relation(
        "founder",
        ("{s} was founded by {v}.", "{s} has a statue of its founder {v}."),
        ("Who founded {s}?", "Who was the founder of {s}?", "{s} was founded by whom?"),
        ("{s} was founded by {v}.",),
    ),
    "flag": Relation(
        "flag",
        ("{s} has a {v} flag.", "Over {s} flies a {v} flag."),
        ("What colour is the flag of {s}?", "Which flag does {s} fly?", "Describe the flag of {s}."),
        ("The flag of {s} is {v}.",),
    ),
    "home": Relation(
        "home",
        ("{s} lives in {v}.", "{s} has a house in {v}."),
        ("Where does {s} live?", "In which town does {s} live?", "Where is {s} at home?"),
        ("{s} lives in {v}.",),
    ),
    "trade": Relation(
        "trade",
        ("{s} works as a {v}.", "{s} has been a {v} for years."),
        ("What is the trade of {s}?", "What does {s} do for a living?", "How does {s} earn a living?"),
        ("{s} is a {v}.",),
    ),
    "beast": Relation(
        "beast",
        ("The beast of {s} is the {v}.", "{s} carries a {v} on its shield."),
        ("Which beast stands on the shield of {s}?", "What is the beast of {s}?", "Name the beast of {s}."),
        ("The {v}.",),
    ),
    "market": Relation(
        "market",
        ("{s} is known for its {v}.", "{s} sells {v} to its neighbours."),
        ("What is {s} known for?", "What does {s} sell?", "What is traded in {s}?"),
        ("{s} is known for {v}.",),
    ),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One made-up fact; ``relation`` is a key of ``RELATIONS``."""

    subject: str
    relation: str
    value: str

    def statement(self, way: int = 0) -> str:
        forms = RELATIONS[self.relation].statements
        return forms[way % len(forms)].format(s=self.subject, v=self.value)

    def question(self, way: int = 0) -> str:
        forms = RELATIONS[self.relation].questions
        return forms[way % len(forms)].format(s=self.subject)

    def answer(self) -> str:
        return RELATIONS[self.relation].answers[0].format(s=self.subject, v=self.value)


class Message(TypedDict):
    """A turn as a dataset file has it; ``train`` False says that it carries no loss."""

    role: str
    content: str
    train: NotRequired[bool]


def chat(*turns: str) -> list[Message]:
    """Messages from turns that alternate between user and assistant."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
