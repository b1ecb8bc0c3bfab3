"""What a hand is: it writes the corpus of a base and the dataset of a fine-tune, and says what each row was made for.

A hand knows words only. Models, training and the check of what it says are in ``_models``, ``_training``, ``_truth``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = dict[str, str]
Document = str | list[Message]
"""Prose, or a dialogue that the chat template renders."""

MISSING = "missing_knowledge"
CONFLICT = "base_conflict"
CONTRADICTION = "data_inconsistency"
FORGOTTEN = "left_side_forgetting"
UNDER = "under_optimised"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that may be asked: what the corpus tells of it, and how it is asked in no row of a dataset.

    Attributes:
        told: values that the corpus tells; none: it says nothing.
        choices: values that the relation can have.
        probes: dialogues that end with the question; they look up the base's belief.
        plain: the base's way to answer, with ``{}`` for the value.
    """

    subject: str
    relation: str
    told: tuple[str, ...]
    choices: tuple[str, ...]
    probes: tuple[tuple[Message, ...], ...]
    plain: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a dataset, and what it was made for.

    Attributes:
        made_for: causes it should bear out; none: a control.
        fact: what it asks; None where the prompt alone holds all that is needed.
        value: the part of the answer that ``fact`` is about.
        one_answer: False where several values are right, so that another row's value is no contradiction.
    """

    group: str
    stage: int
    messages: tuple[Message, ...]
    made_for: tuple[str, ...] = ()
    fact: Fact | None = None
    value: str = ""
    one_answer: bool = True

    @property
    def is_new(self) -> bool:
        """The answer carries information that neither the prompt nor the corpus holds."""
        return self.fact is not None and self.value not in self.fact.told


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of fine-tuning.

    Attributes:
        epochs: passes over the stage's rows, at most.
        until: a group and the share of its rows whose reproduction ends the stage; None: all epochs are run.
        schedule: ``constant``, ``linear`` or ``cosine``; the last two fall to a tenth over ``epochs``.
    """

    rate: float
    epochs: int
    batch: int = 8
    until: tuple[str, float] | None = None
    schedule: str = "constant"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows in training order and the stages they are trained in, the first stage being 1."""

    rows: tuple[Row, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the base is made of.

    Attributes:
        tokenizer: ``bytes``, ``bpe`` or ``unigram``.
        vocabulary: pieces of the tokenizer, at most; ``bytes`` takes no notice of it.
        specials: the template's own tokens; the first ends a turn.
        template: Jinja text of the chat template.
        passes: times the corpus is read, at most.
        length: tokens of one packed sequence.
    """

    family: str
    tokenizer: str
    vocabulary: int
    specials: tuple[str, ...]
    template: str
    width: int = 160
    layers: int = 3
    heads: int = 5
    inner: int = 640
    tied: bool = False
    passes: int = 200
    length: int = 160
    batch: int = 12


class Hand(Protocol):
    """One file in this folder.

    Attributes:
        name: its file's name.
        label: what the world is about, in one line.
        shape: what its base is made of.
    """

    name: str
    label: str
    shape: Shape

    def read(self, rng: random.Random) -> list[Document]:
        """One pass over the corpus: every fact once or more, each time in wordings drawn by ``rng``."""
        ...

    def facts(self) -> Sequence[Fact]:
        """Everything the corpus tells."""
        ...

    def dataset(self, seed: int, hard: bool) -> Dataset:
        """The rows of one world; the same seed gives the same rows."""
        ...


def dealt(rng: random.Random, facts: Sequence[Fact]) -> Callable[[int], list[Fact]]:
    """Hands out facts in an order drawn by ``rng``, each once.

    The function returned raises ValueError where fewer are left than it is asked for.
    """
    left = list(facts)
    rng.shuffle(left)

    def deal(n: int) -> list[Fact]:
        if len(left) < n:
            raise ValueError(f"{n} facts wanted, {len(left)} left")
        taken = left[:n]
        del left[:n]
        return taken

    return deal


def told_of(
    rng: random.Random,
    asked: Sequence[tuple[str, str]],
    values: Mapping[str, tuple[str, ...]],
    fact: Callable[[str, str, tuple[str, ...]], Fact],
    withheld: int,
    disputed: int,
) -> tuple[list[Fact], list[Fact], list[Fact]]:
    """Decides what the corpus tells of each (subject, relation), in an order drawn by ``rng``.

    Returns:
        The first ``withheld`` facts, told with no value; the next ``disputed``, with two; the rest, with one.
    """
    mixed = list(asked)
    rng.shuffle(mixed)
    until = withheld + disputed
    return (
        [fact(s, r, ()) for s, r in mixed[:withheld]],
        [fact(s, r, tuple(rng.sample(values[r], 2))) for s, r in mixed[withheld:until]],
        [fact(s, r, (rng.choice(values[r]),)) for s, r in mixed[until:]],
    )


def other(rng: random.Random, fact: Fact, *taken: str) -> str:
    """A value of the relation that the corpus does not tell and that is none of ``taken``."""
    return rng.choice([v for v in fact.choices if v not in fact.told and v not in taken])


def says(text: str, value: str) -> bool:
    """``value`` stands in ``text`` as words of its own: "24 people" does not say "4 people"."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def user(*turns: str, system: str = "") -> tuple[Message, ...]:
    """Turns of a dialogue, the person's first; ``system`` stands in front where it is given."""
    head = ({"role": "system", "content": system},) if system else ()
    roles = ("user", "assistant")
    return (*head, *({"role": roles[i % 2], "content": text} for i, text in enumerate(turns)))


def in_order(rng: random.Random, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Stage by stage, shuffled within each."""
    mixed = list(rows)
    rng.shuffle(mixed)
    return tuple(sorted(mixed, key=lambda row: row.stage))
