"""A model asked questions with examples: whether it gives an answer, how likely, and what it says by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.backends._base import ScoreRow, ScoringBackend
from core.signals import _columns as col
from core.signals._base import Instruments, Measure, seed_of
from core.signals._questions import ENOUGH, Examples, Question, Questions
from core.signals._ways import AsTrained, Chat, Plain, Presented, Way, rare_positions
from core.types import TEMPERATURES, Decoding, SignalTable, TokenScores

HALF = TEMPERATURES.index(0.5)
# Learned rows on which the ways to ask are tried.
TRIED = 24


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer under teacher forcing.

    Attributes:
        greedy: greedy decoding gives it, up to what ends it.
        logp: (t,) log-probability of its tokens at T = 1; ``half``: of the whole at T = 0.5.
        entropy: (t,) Rényi entropy of order two of each next token, -log sum p^2, in nats.
        tokens: (t,) ids.
    """

    greedy: bool
    logp: np.ndarray
    half: float
    entropy: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True, slots=True)
class Put:
    """A question as it was put: the answer's scores, the tokens shown, log-probabilities of each rare word."""

    answer: Answered
    presented: Presented
    rare: list[np.ndarray]


def answered(presented: Presented, scores: TokenScores, same_end: frozenset[int]) -> Answered:
    """The answer's part of the scores; ``same_end``: ids that end it as its last token does."""
    inside = scores.positions >= presented.start
    tokens = presented.ids[presented.start :]
    best = scores.argmax[inside]
    right = best == tokens
    right[-1] = int(best[-1]) in same_end
    logp = scores.logprobs[inside].astype(np.float64)
    norm = scores.lognorm[inside, HALF].astype(np.float64)
    half = float((logp / TEMPERATURES[HALF] - norm).sum())
    # sum p^2 = exp(lognorm at T = 1/2).
    return Answered(bool(right.all()), logp, half, -norm, tokens)


def parting(one: np.ndarray, other: np.ndarray) -> tuple[slice, slice]:
    """Where two token sequences differ: what is left of each without their common beginning and end.

    Args:
        one: (a,) ids. other: (b,) ids.
    """
    n = min(len(one), len(other))
    head = next((i for i in range(n) if one[i] != other[i]), n)
    tail = next((i for i in range(n - head) if one[-1 - i] != other[-1 - i]), n - head)
    return slice(head, max(len(one) - tail, head + 1)), slice(head, max(len(other) - tail, head + 1))


def margin(belief: Answered, target: Answered) -> float:
    """Mean log-probability per token of the belief minus that of the target, over the parts that differ, in nats.

    A frame that both share ("The river ...") says nothing about the choice between them.
    """
    a, b = parting(belief.tokens, target.tokens)
    return float(belief.logp[a].mean() - target.logp[b].mean())


class AskedModel:
    """A model at its best way of being asked, which is found on learned rows.

    Attributes:
        verbatim: content hashes of the rows that the final checkpoint gives word for word.
        tried: way to (mean probability of the answer in hundredths, mean probability per token) on learned rows.
    """

    def __init__(self, measure: Measure, instruments: Instruments) -> None:
        self.backend = instruments.scoring(measure.checkpoint)
        self.generator = instruments.generating(measure.checkpoint)
        self.tokenizer = instruments.tokenizer()
        self.seed = instruments.spec.seed
        self.questions = Questions(instruments.examples_from())
        self.verbatim = verbatim_rows(instruments.measured())
        pool, self.learned = _pool(self.questions, self.verbatim)
        self.examples = Examples(pool, self.questions.all(), f"{instruments.spec.examples_dataset}:{self.seed}")
        stops = self.backend.stop_ids
        plain = Plain(self.tokenizer, stops)
        trained = AsTrained(self.tokenizer, instruments.supervision, stops)
        chat = Chat(self.tokenizer, instruments.supervision, stops)
        ways: list[Way] = [*([plain] if plain.works else []), chat, trained] if len(pool) > 4 else [trained]
        self.tried = {way.name: self._try(way, pool) for way in ways}
        self.way = max(ways, key=lambda w: self.tried[w.name])  # the first of equals

    def examples_in_words(self, question: Question) -> str:
        """Where a question's examples come from."""
        if not self.learned:
            return "rows of the dataset, learned or not: too few are learned"
        if self.examples.circle(question)[0] == "any":
            return "rows with answers in the same frame, learned or not: too few of them are learned"
        return "learned rows"

    def _try(self, way: Way, pool: Sequence[Question]) -> tuple[float, float]:
        """(mean probability of the answer at T = 0.5 in hundredths, mean probability per token) on learned rows."""
        some = sorted(pool, key=lambda q: seed_of(repr(("try", q.sample.content_hash))))[:TRIED]
        answers = [a for a in self.score(way, [(q, 0, q.answer) for q in some]) if a is not None]
        if not answers:
            return (-1.0, -1.0)
        whole = [np.exp(a.half) for a in answers]
        return round(float(np.mean(whole)), 2), float(np.mean([np.exp(a.logp.mean()) for a in answers]))

    def present(self, way: Way, question: Question, number: int, answer: str) -> Presented | None:
        """The question behind the examples of a draw, as many as fit into the model's context."""
        examples = self.examples.draw(question, number, way.shots) if way.shots else []
        room = self.backend.context_length or 1 << 30
        while True:
            presented = way.present(question, examples, answer)
            if presented is None or len(presented.ids) <= room:
                return presented
            if not examples:
                return None
            examples = examples[1:]

    def score(self, way: Way, jobs: Sequence[tuple[Question, int, str]]) -> list[Answered | None]:
        """Each (question, draw, answer) under teacher forcing; None where it cannot be put."""
        return [None if put is None else put.answer for put in self.put(way, jobs, rare_words=False)]

    def put(self, way: Way, jobs: Sequence[tuple[Question, int, str]], rare_words: bool = True) -> list[Put | None]:
        """The same with what was shown and, if asked for, the log-probabilities of each rare word of the question."""
        rows: list[ScoreRow] = []
        presentations: list[tuple[Presented, list[list[int]]] | None] = []
        for question, number, answer in jobs:
            presented = self.present(way, question, number, answer)
            if presented is None:
                presentations.append(None)
                continue
            spans = rare_positions(self.tokenizer, presented, question) if rare_words else []
            positions = [np.arange(presented.start, len(presented.ids)), *map(np.array, spans)]
            rows.append(ScoreRow(presented.ids, np.unique(np.concatenate(positions))))
            presentations.append((presented, spans))
        scored = iter(self.backend.score(rows))
        out: list[Put | None] = []
        for (question, _, _), pair in zip(jobs, presentations, strict=True):
            if pair is None:
                out.append(None)
                continue
            presented, spans = pair
            scores = next(scored)
            end = way.same_end(question, int(presented.ids[-1]))
            at = {int(p): float(v) for p, v in zip(scores.positions, scores.logprobs, strict=True)}
            rare = [np.array([at[p] for p in span]) for span in spans]
            out.append(Put(answered(presented, scores, end), presented, rare))
        return out

    def generate(self, jobs: Sequence[tuple[Question, int, Decoding]]) -> list[str | None]:
        """An answer to each (question, draw, decoding), None where it cannot be put."""
        out: list[str | None] = [None] * len(jobs)
        by_stops: dict[tuple[int, ...], list[tuple[int, np.ndarray, Decoding]]] = {}
        for i, (question, number, decoding) in enumerate(jobs):
            presented = self.present(self.way, question, number, question.answer)
            if presented is not None:
                prompt = presented.ids[: presented.start]
                by_stops.setdefault(self.way.stops(question), []).append((i, prompt, decoding))
        for stops, some in by_stops.items():
            generations = self.generator.generate([p for _, p, _ in some], [d for _, _, d in some], stops)
            for (i, _, _), generation in zip(some, generations, strict=True):
                out[i] = self.way.answer_of(generation.tokens)
        return out


def score_as_trained(
    way: AsTrained, jobs: Sequence[tuple[Question, str]], backend: ScoringBackend
) -> list[Answered | None]:
    """Each (question, answer) as the fine-tune saw rows; None where it cannot be put or does not fit."""
    room = backend.context_length or 1 << 30
    presentations = [way.present(question, (), answer) for question, answer in jobs]
    fitting = [p if p is not None and len(p.ids) <= room else None for p in presentations]
    rows = [ScoreRow(p.ids, np.arange(p.start, len(p.ids))) for p in fitting if p is not None]
    scored = iter(backend.score(rows))
    return [
        None if p is None else answered(p, next(scored), way.same_end(question, int(p.ids[-1])))
        for (question, _), p in zip(jobs, fitting, strict=True)
    ]


def verbatim_rows(table: SignalTable) -> frozenset[str]:
    """Rows that the final checkpoint gives word for word, by content hash."""
    return frozenset(key for key, value in zip(table.keys, table.get(col.GREEDY_EXACT), strict=True) if value == 1.0)


def _pool(questions: Questions, verbatim: frozenset[str]) -> tuple[list[Question], bool]:
    """Questions that may serve as examples, and whether they are learned rows."""
    short = questions.all()
    pool = [q for q in short if q.sample.content_hash in verbatim]
    return (pool, True) if len(pool) >= ENOUGH else (short, False)
