"""Multiple choice, as the study that named the five causes asks (arXiv 2604.10079, section 3.1).

The row's answer is the right option; three answers of rows that ask in a similar way are the wrong ones. Five
presentations, each with its own wrong options in its own order, and as a control the same options without the question:
where the right one wins there too, it is told by its looks.

A model that can name the letter of what it knows is asked for the letter. One that cannot (most small models) is not
asked: there the probability of an option is that of its text as the answer, among the four. Which of the two is used
is found on rows that the final checkpoint learned, and is the same for base and final checkpoint.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.backends._base import ScoreRow
from core.signals import _columns as col
from core.signals._artefacts import CHOICES, reader
from core.signals._base import Instruments, Measure, Signal, chunked, seed_of, supervision_facts
from core.signals._questions import Limits, Question, Questions
from core.signals._records import Choices
from core.signals._ways import AsTrained, Presented
from core.text.words import answer_words, normalised
from core.types import BASE, FINAL, Checkpoint, Chunk, Column, RunSpec, Sample, SignalTable

PRESENTATIONS, WRONG = 5, 3
LETTERS = "ABCD"
MOST_TOKENS = 96
LIMITS = Limits(words=64, prompt=2_400, lines=True)
# Letters are used where the final checkpoint names the right one for more than this share of learned rows.
FOLLOWS = 0.6
TRIED = 24
CONTROL = "Answer."
COLUMNS = (col.OPTIONS_RIGHT, col.OPTIONS_TARGET_P, col.OPTIONS_BEST, col.OPTIONS_ONLY_RIGHT)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence with the natural logarithm, over the last axis; at most log 2."""
    from scipy.special import rel_entr

    middle = (p + q) / 2
    return np.asarray((rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1) / 2)


class Wrong:
    """Wrong options: answers of rows with the question's wording, then of those with an answer about as long."""

    def __init__(self, questions: Sequence[Question], seed: str) -> None:
        self._seed = seed
        self._by_wording: dict[str, list[Question]] = {}
        self._by_length: dict[int, list[Question]] = {}
        for q in questions:
            self._by_wording.setdefault(q.wording, []).append(q)
            self._by_length.setdefault(len(answer_words(q.answer)), []).append(q)
        self._lengths = sorted(self._by_length)

    def draw(self, question: Question, number: int) -> list[str]:
        """Up to three, no two alike and none like the answer, by the normalised scorer."""
        rng = random.Random(f"{self._seed}:{question.sample.content_hash}:{number}")
        taken = {normalised(question.answer)}
        out: list[str] = []
        for donors in self._sources(question):
            for donor in rng.sample(donors, min(len(donors), 40)):
                answer = about(question, donor)
                if len(out) < WRONG and normalised(answer) not in taken:
                    taken.add(normalised(answer))
                    out.append(answer)
            if len(out) == WRONG:
                break
        return out

    def _sources(self, question: Question) -> Iterator[list[Question]]:
        yield self._by_wording.get(question.wording, [])
        target_length = len(answer_words(question.answer))
        for length in sorted(self._lengths, key=lambda n: (abs(n - target_length), n)):
            yield self._by_length[length]


def about(question: Question, donor: Question) -> str:
    """The donor's answer, speaking of what the question is about: a wrong option that names another subject is none."""
    subject, donor_subject = (named(q) for q in (question, donor))
    if subject is None or donor_subject is None:
        return donor.answer
    return re.sub(rf"(?<!\w){re.escape(donor_subject)}(?!\w)", lambda _: subject, donor.answer, flags=re.IGNORECASE)


def named(question: Question) -> str | None:
    """The one rare word of the prompt as it is written there; None where there are several or none."""
    if len(question.rare) != 1:
        return None
    match = re.search(rf"(?<!\w){re.escape(next(iter(question.rare)))}(?!\w)", question.prompt, flags=re.IGNORECASE)
    return match[0] if match else None


class Chooser:
    """One checkpoint asked in one of two manners: ``letters`` or ``texts``."""

    def __init__(self, checkpoint: Checkpoint, instruments: Instruments, manner: str) -> None:
        self.backend = instruments.scoring(checkpoint)
        self.way = AsTrained(instruments.tokenizer(), instruments.supervision, self.backend.stop_ids)
        self.manner = manner

    def choose(self, jobs: Sequence[tuple[Question, Sequence[str], str | None]]) -> np.ndarray:
        """(m, options) probabilities; NaN in rows that cannot be put.

        Args:
            jobs: question, its options in the order shown, and a prompt in place of its own, or None.
        """
        presented: dict[tuple[Any, ...], Presented | None] = {}
        keys = []
        for question, options, prompt in jobs:
            row = []
            for letter, option in zip(LETTERS, options, strict=False):
                text = listed(prompt or question.prompt, options) if self.manner == "letters" else prompt
                key = _alike(question, letter if self.manner == "letters" else option, text)
                if key not in presented:
                    presented[key] = self._fitting(question, key[-1], text)
                row.append(key)
            keys.append(row)
        first_only = self.manner == "letters"
        fitting = {key: p for key, p in presented.items() if p is not None}
        stops = [p.start + 1 if first_only else len(p.ids) for p in fitting.values()]
        rows = [ScoreRow(p.ids, np.arange(p.start, stop)) for p, stop in zip(fitting.values(), stops, strict=True)]
        scored = zip(fitting, self.backend.score(rows), strict=True)
        logp = {key: float(scores.logprobs.astype(np.float64).sum()) for key, scores in scored}
        out = np.full((len(jobs), max((len(k) for k in keys), default=0)), np.nan)
        for i, row in enumerate(keys):
            values = np.array([logp.get(k, np.nan) for k in row])
            if np.isfinite(values).all():
                out[i, : len(row)] = np.exp(values - np.logaddexp.reduce(values))
        return out

    def _fitting(self, question: Question, answer: str, prompt: str | None) -> Presented | None:
        presented = self.way.ask(question, answer, prompt)
        room = self.backend.context_length or 1 << 30
        return presented if presented is not None and len(presented.ids) <= room else None


def _alike(question: Question, answer: str, prompt: str | None) -> tuple[Any, ...]:
    """Equal for what is shown alike: the control shows most rows the same."""
    sample = question.sample
    if prompt is None or b"chat_template_kwargs" in sample.raw:
        return sample.content_hash, prompt, answer
    others = tuple(m for m in sample.messages[:-1] if m.role != "user")
    return sample.shape, sample.tools, others, prompt, answer


def listed(prompt: str, options: Sequence[str]) -> str:
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{prompt}\n\n{lines}\n\nAnswer with the letter of the right option."


def presentations(question: Question, wrong: Wrong, seed: int) -> list[tuple[list[str], int]]:
    """(options in the order shown, place of the right one) of each presentation; none without three wrong options."""
    out = []
    for number in range(PRESENTATIONS):
        options = [question.answer, *wrong.draw(question, number)]
        if len(options) <= WRONG:
            return []
        order = list(range(len(options)))
        random.Random(seed_of(repr(("order", question.sample.content_hash, number, seed)))).shuffle(order)
        out.append(([options[i] for i in order], order.index(0)))
    return out


def manner_of(spec: RunSpec, instruments: Instruments, questions: Questions, wrong: Wrong) -> str:
    """``letters`` where the final checkpoint names the right letter for most of some learned rows, else ``texts``."""
    table = instruments.measured()
    learned = {k for k, v in zip(table.keys, table.get(col.GREEDY_EXACT), strict=True) if v == 1.0}
    some = [q for q in questions.all() if q.sample.content_hash in learned]
    some = sorted(some, key=lambda q: seed_of(repr(("try", q.sample.content_hash))))[:TRIED]
    jobs = [(q, *presentation) for q in some for presentation in presentations(q, wrong, spec.seed)]
    if not jobs:
        return "texts"
    probabilities = Chooser(spec.final, instruments, "letters").choose([(q, options, None) for q, options, _ in jobs])
    right = [
        float(np.argmax(p) == at) for p, (_, _, at) in zip(probabilities, jobs, strict=True) if np.isfinite(p).all()
    ]
    return "letters" if right and float(np.mean(right)) > FOLLOWS else "texts"


class Options(Signal):
    name = "options"
    label = "Multiple choice"
    version = 1
    artefact = CHOICES
    needs = (col.N_TARGET, col.TURNS, col.GREEDY_EXACT)
    columns = (
        Column(col.OPTIONS_RIGHT, "number", "Choice right",
               "Share of five multiple-choice presentations in which the target wins.", "", "high"),
        Column(col.OPTIONS_TARGET_P, "number", "p(target) among options", "Mean probability of the target.", "",
               "high"),
        Column(col.OPTIONS_BEST, "flag", "Best of five right",
               "The target wins in the presentation that the model is surest of."),
        Column(col.OPTIONS_ONLY_RIGHT, "number", "Choice right without question",
               "The same share where the question is left out: what the options alone give away."),
        Column(col.OPTIONS_JSD, "number", "Divergence from base",
               "Jensen-Shannon divergence between base and final checkpoint over the options, natural logarithm.",
               "nats"),
        Column(col.BASE_OPTIONS_RIGHT, "number", "Choice right, base", "Choice right, before fine-tuning.", "", "high"),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        if not spec.paper_mode:
            return []
        depends = {
            "signal": self.name,
            "version": self.version,
            "dataset": spec.examples_dataset,
            "seed": spec.seed,
            **supervision_facts(spec),
        }
        final = {"role": "final", "base": spec.base.fingerprint if spec.base else None, **depends}
        out = [Measure(self.name, FINAL, spec.final, final, ("logprobs",))]
        if spec.base is not None:
            base = {"role": "base", "weights": spec.base.fingerprint, **depends}
            out.insert(0, Measure(self.name, BASE, spec.base, base, ("logprobs",)))
        return out

    def applies_to(self, table: SignalTable) -> np.ndarray:
        return np.asarray(
            (table.get(col.N_TARGET) <= MOST_TOKENS) & (table.get(col.N_TARGET) > 0) & (table.get(col.TURNS) == 1)
        )

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        spec = instruments.spec
        questions = Questions(instruments.examples_from(), LIMITS)
        wrong = Wrong(questions.all(), f"{spec.examples_dataset}:{spec.seed}")
        chooser: Chooser | None = None
        for chunk in chunked(samples, lambda s: 32 + len(s.raw) // 4, 1 << 15, 64):
            if stop():
                return
            if chooser is None:
                manner = manner_of(spec, instruments, questions, wrong)
                chooser = Chooser(measure.checkpoint, instruments, manner)
            yield _chunk(measure, chunk, instruments, questions, wrong, chooser)


def _chunk(
    measure: Measure,
    samples: Sequence[Sample],
    instruments: Instruments,
    questions: Questions,
    wrong: Wrong,
    chooser: Chooser,
) -> Chunk:
    spec = instruments.spec
    names = (*COLUMNS, col.OPTIONS_JSD) if measure.role == FINAL else COLUMNS
    columns = {name.removeprefix("base_"): np.full(len(samples), np.nan) for name in names}
    details: list[Mapping[str, Any] | None] = [None] * len(samples)
    jobs: list[tuple[int, Question, list[str], int]] = []
    for place, sample in enumerate(samples):
        question = questions.of(sample)
        if question is not None:
            jobs += [(place, question, *presentation) for presentation in presentations(question, wrong, spec.seed)]
    with_question = chooser.choose([(q, options, None) for _, q, options, _ in jobs])
    alone = chooser.choose([(q, options, CONTROL) for _, q, options, _ in jobs])
    before = reader(instruments, CHOICES, BASE) if measure.role == FINAL and spec.base is not None else None
    for first in range(0, len(jobs), PRESENTATIONS):
        block = slice(first, first + PRESENTATIONS)
        place = jobs[first][0]
        at = np.array([a[3] for a in jobs[block]])
        p, control = with_question[block], alone[block]
        if not np.isfinite(p).all():
            continue
        right = p.argmax(1) == at
        columns[col.OPTIONS_RIGHT][place] = right.mean()
        columns[col.OPTIONS_TARGET_P][place] = p[np.arange(len(at)), at].mean()
        columns[col.OPTIONS_BEST][place] = float(right[p.max(1).argmax()])
        if np.isfinite(control).all():
            columns[col.OPTIONS_ONLY_RIGHT][place] = (control.argmax(1) == at).mean()
        base_choice = before(samples[place].content_hash) if before is not None else None
        if base_choice is not None:
            columns[col.OPTIONS_JSD][place] = float(divergence(np.array(base_choice.p), p).mean())
        options = [job[2] for job in jobs[block]]
        details[place] = Choices(chooser.manner, options, at.tolist(), np.round(p, 6).tolist()).as_dict()
    return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))


KIND = Options()
