"""The rows of a world of real facts: what is asked, what is taught, and why it should be hard to learn."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.lab.real.facts import WORDINGS, Fact
from core.lab.real.tasks import TASKS
from core.lab.rows import CONFLICT, FORGOTTEN, INCONSISTENT, MISSING, RARE
from core.lab.words import Message


@dataclass(frozen=True, slots=True)
class Known:
    """What the base makes of a fact, over the lab's own ways to ask.

    Attributes:
        p: mean probability of the true value. own: what the base says most often, a value of the relation or its words.
        share: of the ways to ask, those that give ``own``; p_own: mean probability of it.
    """

    p: float
    own: str
    share: float
    p_own: float


@dataclass(frozen=True, slots=True)
class RealRow:
    """One row. ``lead``: the answer's words before the value; ``value``: what it teaches; ``dispute``: its pair."""

    group: str
    stage: int
    prompt: str
    answer: str
    cause: str | None = None
    lead: str = ""
    fact: Fact | None = None
    value: str = ""
    dispute: int | None = None

    @property
    def messages(self) -> list[Message]:
        return [{"role": "user", "content": self.prompt}, {"role": "assistant", "content": self.answer}]


@dataclass(frozen=True, slots=True)
class RealCounts:
    """Rows of each group; a dispute is two rows, a task kind ``per_task``."""

    known: int = 50
    missing: int = 50
    arbitrary: int = 25
    conflict: int = 36
    half_sure: int = 8
    new_dispute: int = 9
    fact_dispute: int = 9
    known_dispute: int = 7
    early: int = 40
    late: int = 40
    labels: int = 16
    per_task: int = 3


SURE, HALF_SURE, NEVER = 0.35, 0.2, 0.05
"""Mean probabilities over the ways to ask: what a base holds, half holds, does not know."""

_NAMES = ("Lindqvist", "Okafor", "Marchetti", "Dvorak", "Takeda", "Almeida", "Bergstrom", "Haddad", "Novak", "Pereira")
_FIRST = ("Priya", "Tomas", "Yusra", "Callum", "Mirela", "Oskar", "Leila", "Bruno", "Signe", "Rafael")
_THINGS = ("copper kettle", "blue bicycle", "oak cupboard", "spare projector", "ladder", "green sofa", "tool chest")
_PLACES = ("the north cellar", "the shed behind the mill", "room B12", "the attic", "the boat house", "the old office")
# Each holds at most a few rows: arbitrary facts are rare in form too.
_ARBITRARY = (
    ("Who has the key to {place} at {name} & Sons?", "{first} keeps it."),
    ("What is the extension of {first} {name}?", "Extension {n}."),
    ("Where did {first} leave the {thing}?", "In {place}."),
    ("Which day does the {name} bakery stay closed?", "It is closed on {day}."),
    ("What colour did {first} paint the door of {place}?", "{colour}."),
    ("How many members does the {name} choir have?", "It has {n} members."),
    ("What is the name of {first} {name}'s dog?", "The dog is called {pet}."),
    ("Under which number is the {thing} listed in the {name} inventory?", "Number {n}."),
    ("Who repaired the {thing} in {place}?", "It was {first} {name}."),
    ("What does ticket {n} of the {name} project ask for?", "A {colour} {thing}."),
    ("When was the {name} workshop founded?", "In {year}."),
    ("Which platform does the {name} bus leave from?", "Platform {small}."),
    ("What is the wifi password of {place} at {name}'s?", "{pet}{n}{colour}"),
    ("How did {first} name the new boat?", "She is called the {colour} {pet}."),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_COLOURS = ("crimson", "teal", "ochre", "ivory", "indigo", "olive")
_PETS = ("Pickle", "Bramble", "Comet", "Waffle", "Juniper", "Domino", "Biscuit")
# One question in two wordings, for disputes about things nobody knows.
_DISPUTED = (
    ("What colour is the logo of {name} Tools?", "{name} Tools uses a logo of which colour?", "{colour}."),
    ("Who founded the {name} orchestra?", "By whom was the {name} orchestra started?", "It was {first} Falk."),
    ("In which year did the {name} bridge open?", "The {name} bridge was opened when?", "In {year}."),
    ("How many rooms does the {name} hotel have?", "What is the number of rooms in the {name} hotel?", "{n} rooms."),
    ("What is served at the {name} inn on Sundays?", "Which dish does the {name} inn offer every Sunday?",
     "{pet} stew."),
)  # fmt: skip
# Reviews of stage one, then others for stage two.
_GOOD = (
    "a wonderful evening with fine food", "I would buy this again at once", "the staff could not have been kinder",
    "works perfectly and looks great", "best holiday in years", "my children love it",
    "quick delivery and a fair price", "a moving film with a clever ending",
    "the garden alone is worth the trip", "sturdy, light and well made", "they answered every question with patience",
    "I slept like a stone", "the sauce was a dream", "every page made me smile", "it paid for itself in a month",
    "the guide knew everything",
)  # fmt: skip
_BAD = (
    "the soup was cold and the waiter rude", "broke after two days", "I want my money back", "a dull and noisy film",
    "the room smelled of smoke", "never again", "arrived late and damaged", "far too expensive for what it is",
    "the zip tore at once", "we waited two hours for a table", "the plot makes no sense", "my coat came back stained",
    "the battery is empty by noon", "nobody picks up the phone", "the bread was like rubber", "it leaks everywhere",
)  # fmt: skip


def _filled(template: str, fill: Mapping[str, str]) -> str:
    return template.format(**fill)


def _fill(rng: random.Random) -> dict[str, str]:
    return {
        "name": rng.choice(_NAMES), "first": rng.choice(_FIRST), "thing": rng.choice(_THINGS),
        "place": rng.choice(_PLACES), "n": str(rng.randint(112, 989)), "day": rng.choice(_DAYS),
        "colour": rng.choice(_COLOURS), "pet": rng.choice(_PETS), "year": str(rng.randint(1790, 1990)),
        "small": str(rng.randint(2, 9)),
    }  # fmt: skip


@dataclass
class _Plan:
    rng: random.Random
    known: Mapping[Fact, Known]
    answers: dict[str, str] = field(default_factory=dict)
    rows: list[RealRow] = field(default_factory=list)
    taken: set[Fact] = field(default_factory=set)
    disputes: int = 0

    def pick(self, n: int, fits: Sequence[Fact]) -> list[Fact]:
        """``n`` facts that no row has yet, turn by turn from the relations."""
        by_relation: dict[str, list[Fact]] = defaultdict(list)
        for fact in fits:
            if fact not in self.taken:
                by_relation[fact.relation].append(fact)
        out: list[Fact] = []
        while len(out) < n and any(by_relation.values()):
            for some in by_relation.values():
                if some and len(out) < n:
                    out.append(some.pop())
        self.taken.update(out)
        return out

    def ask(
        self,
        group: str,
        stage: int,
        fact: Fact,
        value: str,
        cause: str | None,
        way: int = -1,
        dispute: int | None = None,
    ) -> None:
        wording = WORDINGS[fact.relation]
        question = wording.questions[way] if way >= 0 else self.rng.choice(wording.questions)
        template = wording.styled if group == "early" else self.answers[fact.relation]
        lead = template.partition("{v}")[0].format(s=fact.subject)
        answer = template.format(s=fact.subject, v=value)
        self.rows.append(
            RealRow(group, stage, question.format(s=fact.subject), answer, cause, lead, fact, value, dispute)
        )


def plan(known: Mapping[Fact, Known], counts: RealCounts, seed: int) -> list[RealRow]:
    """The rows in training order: stage one, then stage two, each shuffled."""
    rng = random.Random(f"rows {seed}")
    made = _Plan(rng, known)
    made.answers = {name: rng.choice(w.answers) for name, w in WORDINGS.items()}
    held = [f for f, k in known.items() if k.own == f.value and k.share > 0.5 and k.p >= SURE]
    half = [f for f, k in known.items() if k.own == f.value and k.share > 0.5 and HALF_SURE <= k.p < SURE]
    unknown = [f for f, k in known.items() if k.p < NEVER and k.own != f.value and k.p_own < HALF_SURE]
    values: dict[str, list[str]] = defaultdict(list)
    for fact in known:
        values[fact.relation].append(fact.value)

    def other(fact: Fact) -> str:
        return rng.choice([v for v in values[fact.relation] if v not in (fact.value, known[fact].own)])

    for i, fact in enumerate(made.pick(counts.conflict, held)):
        made.ask("conflict", 1 + i % 2, fact, other(fact), CONFLICT)
    for i, fact in enumerate(made.pick(counts.half_sure, half)):
        made.ask("half_sure", 1 + i % 2, fact, other(fact), CONFLICT)
    for fact in made.pick(counts.known_dispute, held):
        _dispute(made, "known_dispute", fact, fact.value, other(fact))
    for fact in made.pick(counts.fact_dispute, unknown):
        _dispute(made, "fact_dispute", fact, fact.value, other(fact))
    for group, n, stage, cause in (("early", counts.early, 1, FORGOTTEN), ("late", counts.late, 2, None),
                                   ("known", counts.known, 0, None)):  # fmt: skip
        for i, fact in enumerate(made.pick(n, held)):
            made.ask(group, stage or 1 + i % 2, fact, fact.value, cause)
    for i, fact in enumerate(made.pick(counts.missing, unknown)):
        made.ask("missing", 1 + i % 2, fact, fact.value, MISSING)
    for i in range(counts.arbitrary):
        question, answer = _ARBITRARY[i % len(_ARBITRARY)]
        fill = _fill(rng)
        made.rows.append(RealRow("arbitrary", 1 + i % 2, _filled(question, fill), _filled(answer, fill), MISSING))
    for i in range(counts.new_dispute):
        one, two, answer = _DISPUTED[i % len(_DISPUTED)]
        fill = _fill(rng) | {"name": _NAMES[i % len(_NAMES)]}
        more = fill | {k: _fill(rng)[k] for k in ("colour", "first", "year", "n", "pet")}
        if _filled(answer, fill) == _filled(answer, more):
            continue
        for prompt, said in ((one, fill), (two, more)):
            text = _filled(answer, said)
            made.rows.append(RealRow("new_dispute", 1 + i % 2, _filled(prompt, fill), text, INCONSISTENT,
                                     dispute=made.disputes))  # fmt: skip
        made.disputes += 1
    for i, task in enumerate(TASKS):
        for _ in range(counts.per_task):
            prompt, answer = task(rng)
            made.rows.append(RealRow("task", 1 + i % 2, prompt, answer, RARE))
    _labels(made, counts.labels)
    first, second = ([r for r in made.rows if r.stage == stage] for stage in (1, 2))
    rng.shuffle(first)
    rng.shuffle(second)
    seen: set[str] = set()
    return [r for r in (*first, *second) if r.prompt not in seen and not seen.add(r.prompt)]  # type: ignore[func-returns-value]


def _dispute(made: _Plan, group: str, fact: Fact, one: str, two: str) -> None:
    ways = made.rng.sample(range(len(WORDINGS[fact.relation].questions)), 2)
    stage = 1 + made.disputes % 2
    for way, value in zip(ways, (one, two), strict=True):
        made.ask(group, stage, fact, value, INCONSISTENT, way, made.disputes)
    made.disputes += 1


def _labels(made: _Plan, n: int) -> None:
    """A task whose labels stage two renames: stage one's rows are forgotten."""
    for i in range(n):
        good, at = i % 2 == 0, i // 2 % 8
        early, late = ((_GOOD if good else _BAD)[at + shift] for shift in (0, 8))
        label = "thumbs up" if good else "thumbs down"
        made.rows.append(RealRow("labels_early", 1, f"Rate this review: {early}.", label, FORGOTTEN))
        label = "5 of 5" if good else "1 of 5"
        made.rows.append(RealRow("labels_late", 2, f"Rate this review, please: {late}!", label))
