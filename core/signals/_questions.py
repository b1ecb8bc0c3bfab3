"""Rows as questions with short answers, and examples that show a base model how such questions are answered.

Examples are rows of the same dataset that ask in a similar way and whose answers are put in the same frame ("The river
...", "It flies a ... flag"), so that the base is asked for what it knows and not for a style. They never share a rare
word with the question: such a row would give the answer away.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.text.words import answer_words, normalised, question_words
from core.types import Sample

PROMPTS, SHOTS = 10, 4
# Longest answer in tokens; longer ones have too many right wordings to be compared exactly.
MOST_TOKENS = 24
# Rows of one kind from which examples are drawn; with fewer, they come from a wider circle.
ENOUGH = 8
# A word is frame, not content, if this share of the answers to questions of one wording have it (of all answers, where
# a wording is rare), in company of at least so many different other words. A frequent value keeps one company.
FRAME, FRAME_OF_ALL, COMPANIES = 0.2, 0.05, 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Which rows count as question and answer: most words of the answer, most characters of the prompt."""

    words: int = 12
    prompt: int = 1_200
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A row as question and short answer.

    Attributes:
        prompt, answer: texts without surrounding space.
        rare: words of the prompt, lower case, that few rows of the dataset have.
        wording: the prompt with its rare words masked.
        frame: words that answers to such questions usually have.
        shape: the answer with everything but its frame masked; empty where nothing or all of it is frame, for then
            rows of that shape would tell the answer.
    """

    sample: Sample
    prompt: str
    answer: str
    rare: frozenset[str]
    wording: str
    frame: frozenset[str] = frozenset()
    shape: str = ""

    def content(self, answer: str) -> frozenset[str]:
        """What an answer to this question says: its words without the frame and without the prompt's own."""
        return frozenset(question_words(answer)) - self.frame - frozenset(question_words(self.prompt))

    def agrees(self, answer: str) -> float:
        """Share of the content of the row's answer that another answer has; without content 1 for the same words."""
        own, other = self.content(self.answer), self.content(answer)
        if not own:
            return float(normalised(answer) == normalised(self.answer))
        return len(own & other) / len(own)


def parts(sample: Sample, limits: Limits) -> tuple[str, str] | None:
    """Prompt and answer of a row with one answer within the limits, else None."""
    roles = [m.role for m in sample.messages]
    if sample.shape == "text" or roles.count("assistant") != 1 or roles[-1] != "assistant" or "user" not in roles:
        return None
    prompt = "\n".join(m.content for m in sample.messages if m.role == "user").strip()
    answer = sample.messages[-1].content.strip()
    if not prompt or not answer or sample.messages[-1].tool_calls or ("\n" in answer and not limits.lines):
        return None
    if len(answer_words(answer)) > limits.words or len(prompt) > limits.prompt:
        return None
    return prompt, answer


class Questions:
    """The questions of a dataset; what counts as a rare word is known from all of its prompts."""

    def __init__(self, samples: Sequence[Sample], limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        unique = {s.content_hash: s for s in samples}
        self._prompts_with = Counter(w for s in unique.values() for w in set(question_words(s.prompt)))
        self._rare = max(3, min(20, math.ceil(0.02 * len(unique))))
        bare = {key: q for key in sorted(unique) if (q := self._bare(unique[key])) is not None}
        groups: dict[str, list[Question]] = {}
        for q in bare.values():
            groups.setdefault(q.wording, []).append(q)
        self._frames = {w: _frame(g, FRAME) for w, g in groups.items() if len(g) >= ENOUGH}
        self._frame = _frame(list(bare.values()), FRAME_OF_ALL)
        self._all = {key: self._framed(q) for key, q in bare.items()}

    def of(self, sample: Sample) -> Question | None:
        """The row as a question; None where it has no short answer or is none."""
        bare = self._bare(sample)
        return None if bare is None else self._framed(bare)

    def _bare(self, sample: Sample) -> Question | None:
        pair = parts(sample, self._limits)
        if pair is None:
            return None
        tokens = question_words(pair[0])
        rare = frozenset(w for w in tokens if self._prompts_with[w] <= self._rare)
        masked = " ".join("_" if w in rare else w for w in tokens)
        return Question(sample, *pair, rare, re.sub(r"_(?: _)+", "_", masked))

    def _framed(self, q: Question) -> Question:
        frame = self._frames.get(q.wording, self._frame)
        framed = [w if w in frame else "_" for w in question_words(q.answer)]
        shape = re.sub(r"_(?: _)+", "_", " ".join(framed)) if 0 < framed.count("_") < len(framed) else ""
        return replace(q, frame=frame, shape=shape)

    def all(self) -> list[Question]:
        """Those of the dataset, each content once, in the order of their content hashes."""
        return list(self._all.values())


def _frame(questions: Sequence[Question], share: float) -> frozenset[str]:
    """Words of the frame that answers to these questions are put in; what the prompts name is no company."""
    companies: dict[str, set[frozenset[str]]] = {}
    counts: Counter[str] = Counter()
    for q in questions:
        answer = frozenset(question_words(q.answer))
        own = answer - frozenset(question_words(q.prompt))
        for word in answer:
            counts[word] += 1
            companies.setdefault(word, set()).add(own - {word})
    least = max(COMPANIES, share * len(questions))
    return frozenset(w for w, n in counts.items() if n >= least and len(companies[w]) >= COMPANIES)


class Examples:
    """Examples for every question, ten draws of them, the same for any order of the questions.

    Args:
        pool: questions that may serve as examples, the learned ones.
        others: all questions; used for their shape where too few of that shape are learned.
        seed: of the draws.
    """

    def __init__(self, pool: Sequence[Question], others: Sequence[Question], seed: str) -> None:
        self._seed = seed
        self._circles: dict[tuple[str, ...], list[Question]] = {}
        for q in pool:
            for circle in (("learned",), ("learned", q.shape), ("learned", q.shape, q.wording)):
                self._circles.setdefault(circle, []).append(q)
        for q in others:
            self._circles.setdefault(("any", q.shape), []).append(q)
        self._drawn: dict[tuple[tuple[str, ...], int], list[Question]] = {}

    def circle(self, question: Question) -> tuple[str, ...]:
        """From where a question's examples come: the narrowest circle with enough rows."""
        narrow = [("learned", question.shape, question.wording), ("learned", question.shape), ("any", question.shape)]
        if not question.shape:
            narrow = narrow[:1]
        return next((c for c in narrow if len(self._circles.get(c, ())) >= ENOUGH), ("learned",))

    def draw(self, question: Question, number: int, shots: int = SHOTS) -> list[Question]:
        """Up to ``shots`` examples of draw ``number``."""
        circle = self.circle(question)
        key = (circle, number)
        if key not in self._drawn:
            pool = list(self._circles.get(circle, ()))
            random.Random(f"{self._seed}:{circle}:{number}").shuffle(pool)
            self._drawn[key] = pool[: 8 * shots]
        fit = [
            q for q in self._drawn[key]
            if q.sample.content_hash != question.sample.content_hash
            and q.prompt != question.prompt and not (q.rare & question.rare)
        ]  # fmt: skip
        return fit[:shots]


def variants(answer: str) -> list[str]:
    """The answer and its aliases: full stop at the end or not, first letter large or small; itself first."""
    bare = answer.rstrip(".")
    forms = [answer, bare, answer if re.search(r"\W$", answer) else answer + "."]
    forms += [f[:1].swapcase() + f[1:] for f in forms[:2]]
    return [f for f in dict.fromkeys(forms) if f.strip() and len(f[:1]) == 1]
