"""What a base model reads: facts of a made-up domain, told and asked in several wordings.

Which facts are strong, weak or told in two ways is decided here, before any dataset exists, so that one base model
serves every world of its family, domain and seed. ``Facts.held`` answers what the corpus held about a subject.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.lab.domains import Domain
from core.lab.words import Fact, Message, Relation, chat, coin


@dataclass(frozen=True, slots=True)
class CorpusSize:
    """How much there is to read.

    Attributes:
        subjects: of either kind. strong, weak, split: facts of the ordinary relations that are told more often than
            others, told in one sentence only, and told with two values. many, volumes: subjects that have several
            values of one relation, and numbered parts.
        values: coined values of a relation.
        passes: times the corpus is read, each time in other wordings.
        first: subjects of either kind that are read about before all others; lessons: how much of them, as a share of
            what is read in all passes. Binding names to values is a skill that a model finds sooner with few names:
            without these lessons the plateau before any fact is learned lasts longer than the whole training.
    """

    subjects: int = 66
    strong: int = 34
    weak: int = 26
    split: int = 40
    many: int = 12
    volumes: int = 12
    values: int = 20
    passes: int = 32
    first: int = 10
    lessons: float = 0.3


@dataclass(frozen=True, slots=True)
class Wording:
    """The ways to tell and ask that one seed uses of a relation."""

    relation: Relation
    questions: tuple[str, ...]
    answer: str

    def statement(self, fact: Fact, way: int) -> str:
        forms = self.relation.statements
        return forms[way % len(forms)].format(s=fact.subject, v=fact.value)

    def question(self, subject: str, way: int) -> str:
        return self.questions[way % len(self.questions)].format(s=subject)

    def odd_question(self, subject: str, way: int) -> str:
        return self.relation.odd[way % len(self.relation.odd)].format(s=subject)

    def answered(self, subject: str, value: str) -> str:
        return self.answer.format(s=subject, v=value)


@dataclass(slots=True)
class Facts:
    """Everything the corpus holds, sorted by how it is held.

    Attributes:
        known: facts told plainly; styled: those of the relations whose answers change style between stages.
        strong, weak: facts told more often, and in one sentence only. split: pairs told equally often.
        many: lists of values that are all right; volumes: pairs of facts about two parts of one subject.
        withheld: subjects and a relation told of others of their kind, never of them.
        values: values of each relation. spare: coined names that nothing tells about.
    """

    domain: Domain
    size: CorpusSize
    wordings: dict[str, Wording]
    values: dict[str, list[str]] = field(default_factory=dict)
    subjects: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    known: list[Fact] = field(default_factory=list)
    styled: list[Fact] = field(default_factory=list)
    strong: list[Fact] = field(default_factory=list)
    weak: list[Fact] = field(default_factory=list)
    split: list[tuple[Fact, Fact]] = field(default_factory=list)
    many: list[tuple[Fact, Fact]] = field(default_factory=list)
    volumes: list[tuple[Fact, Fact]] = field(default_factory=list)
    withheld: list[tuple[str, str]] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)

    def brief(self) -> list[str]:
        """Ordinary relations whose answer does not repeat the subject.

        A name that nobody met is several tokens, and a tiny model fails at copying it before it comes to the fact.
        """
        kinds = self.domain.kinds
        return [r.name for kind in kinds for r in kind[1:] if "{s}" not in self.wordings[r.name].answer]

    def told(self) -> list[tuple[Fact, float]]:
        """Every fact and how often a pass tells it, 1 being the usual; below 1 it is told and never asked."""
        size = [(f, 1.0) for f in (*self.known, *self.styled)]
        size += [(f, 2.0) for f in self.strong] + [(f, 0.0) for f in self.weak]
        size += [(f, 1.0) for pair in (*self.split, *self.many) for f in pair]
        return size + [(f, 2.0) for pair in self.volumes for f in pair]

    def held(self) -> dict[tuple[str, str], list[str]]:
        """(subject, relation) to the values the corpus tells."""
        values: dict[tuple[str, str], list[str]] = defaultdict(list)
        for fact, _ in self.told():
            values[fact.subject, fact.relation].append(fact.value)
        return dict(values)


def make_facts(domain: Domain, size: CorpusSize, seed: int) -> Facts:
    """Draws the facts; the same arguments give the same facts."""
    rng = random.Random(f"{domain.name} {seed}")
    taken: set[str] = set()
    relations = [r for kind in domain.kinds for r in kind] + [domain.many, domain.volumes]
    wordings = {r.name: Wording(r, tuple(rng.sample(r.questions, 3)), rng.choice(r.answers)) for r in relations}
    for kind in domain.kinds:  # of either kind at least one that a name nobody met can be asked in
        answers = [a for a in kind[2].answers if "{s}" not in a]
        wordings[kind[2].name] = replace(wordings[kind[2].name], answer=rng.choice(answers))
    facts = Facts(domain, size, wordings)
    facts.values = {r.name: list(r.values) or coin(rng, size.values, taken) for r in relations}
    facts.subjects = (coin(rng, size.subjects, taken), coin(rng, size.subjects, taken))
    facts.spare = coin(rng, 400, taken)

    def draw(subject: str, relation: str, but: str | None = None) -> Fact:
        return Fact(subject, relation, rng.choice([v for v in facts.values[relation] if v != but]))

    ordinary = []
    for subjects, kind in zip(facts.subjects, domain.kinds, strict=True):
        styled, second, third, last = (r.name for r in kind)
        facts.styled += [draw(s, styled) for s in subjects]
        ordinary += [draw(s, r) for s in subjects for r in (second, third)]
        half = len(subjects) // 2
        facts.known += [draw(s, last) for s in subjects[:half]]
        facts.withheld += [(s, last) for s in subjects[half:]]
    for group in (ordinary, facts.styled, facts.withheld):
        rng.shuffle(group)
    n, m, k = size.strong, size.strong + size.weak, size.strong + size.weak + size.split
    facts.strong, facts.weak = ordinary[:n], ordinary[n:m]
    facts.split = [(f, draw(f.subject, f.relation, but=f.value)) for f in ordinary[m:k]]
    facts.known += ordinary[k:]
    rng.shuffle(facts.known)
    first, _ = facts.subjects
    for s in rng.sample(first, size.many):
        one = draw(s, domain.many.name)
        facts.many.append((one, draw(s, domain.many.name, but=one.value)))
    for s in rng.sample(first, size.volumes):
        one = draw(domain.volume.format(s=s, n=1), domain.volumes.name)
        facts.volumes.append((one, draw(domain.volume.format(s=s, n=2), domain.volumes.name, but=one.value)))
    return facts


Document = str | list[Message] | list[tuple[str, str]]
"""Prose, a dialogue, or questions with their answers."""


def curriculum(facts: Facts, rng: random.Random) -> list[Document]:
    """Everything a base reads, in order: the lessons about a few subjects, then the passes through the corpus."""
    size, told = facts.size, facts.told()
    few = {s for kind in facts.subjects for s in kind[: size.first]}
    some = [(f, w) for f, w in told if f.subject in few]
    lessons = round(size.lessons * size.passes * len(told) / max(len(some), 1))
    passes = [some] * lessons + [told] * size.passes
    return [document for part in passes for document in readings(facts, part, rng)]


def portraits(facts: Facts, told: Sequence[tuple[Fact, float]], rng: random.Random) -> list[str]:
    """For every other subject, what is told of it in its first three relations, in one go."""
    of: dict[str, dict[str, list[Fact]]] = defaultdict(lambda: defaultdict(list))
    for fact, _ in told:
        of[fact.subject][fact.relation].append(fact)
    texts = []
    for kind in facts.domain.kinds:
        names = [r.name for r in kind[:3]]
        for values in of.values():
            if all(n in values for n in names) and rng.random() < 1 / 2:
                chosen = [rng.choice(values[n]) for n in names]
                texts.append(" ".join(facts.wordings[f.relation].statement(f, 0) for f in chosen))
    return texts


def readings(facts: Facts, told: Sequence[tuple[Fact, float]], rng: random.Random) -> list[Document]:
    """One pass through ``told``, shuffled: prose, dialogues of one to four questions, lists of question and answer.

    Several questions in a row teach a model to take the form of its answer from the ones before, as larger ones do.
    """
    prose: list[str] = []
    questions: list[tuple[Fact, Wording]] = []
    for fact, weight in told:
        wording = facts.wordings[fact.relation]
        if not weight:
            prose.append(wording.statement(fact, 0))
        for _ in range(int(weight)):
            prose.append(wording.statement(fact, rng.randrange(3)))
            questions.append((fact, wording))
    prose += portraits(facts, told, rng)
    rng.shuffle(prose)
    rng.shuffle(questions)
    texts: list[Document] = []
    while prose:
        n = rng.choice((1, 2, 4))
        texts.append(" ".join(prose[:n]))
        prose = prose[n:]
    while questions:
        n = rng.choice((1, 1, 1, 2, 4))
        part, questions = questions[:n], questions[n:]
        short = rng.random() < 0.2
        turns = [
            (w.question(f.subject, rng.randrange(3)), f.value if short else w.answered(f.subject, f.value))
            for f, w in part
        ]
        if rng.random() < 0.7:
            texts.append(chat(*(text for turn in turns for text in turn)))
        else:
            texts.append(turns)
    rng.shuffle(texts)
    return texts
