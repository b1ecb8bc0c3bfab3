"""Questions to a base model, with examples of how questions are answered before them.

A base model that was never taught to answer needs to be shown how. Three ways to ask are known; which one a base
answers best is found by trying them on learned rows:

- ``plain``: ``Q: ...`` and ``A: ...`` lines, a line feed ends an answer; needs no chat template.
- ``chat``: the examples are earlier turns of the conversation, through the tokenizer's chat template.
- ``as_trained``: the row as the fine-tune saw it, without examples. A model that never read more than one question at a
  time answers this way only; its ten prompts are then one.

Examples are rows of the same dataset that ask in a similar way and whose answers are put in the same frame ("The river
...", "It flies a ... flag"), so that the base is asked for what it knows and not for a style. Never are they rows that
share a rare word with the question: those would give the answer away.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from core.errors import UserError
from core.rendering.encoding import encode
from core.rendering.render import pieces, prompt_ids
from core.rendering.turns import marks
from core.scorers._base import normalised, words
from core.types import Message, Sample, Supervision

PROMPTS, SHOTS = 10, 4
# Longest answer in tokens; longer ones have too many right wordings to be compared exactly.
MOST_TOKENS = 24
# Rows of one kind from which examples are drawn; with fewer, they come from a wider circle.
ENOUGH = 8
# A word is frame, not content, if this share of the answers to questions of one wording have it (of all answers, where
# a wording is rare), in company of at least so many different other words. A frequent value keeps one company.
FRAME, FRAME_OF_ALL, COMPANIES = 0.2, 0.05, 3
_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


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
        return frozenset(words_of(answer)) - self.frame - frozenset(words_of(self.prompt))

    def agrees(self, answer: str) -> float:
        """Share of the content of the row's answer that another answer has; without content 1 for the same words."""
        mine, theirs = self.content(self.answer), self.content(answer)
        if not mine:
            return float(normalised(answer) == normalised(self.answer))
        return len(mine & theirs) / len(mine)


@dataclass(frozen=True, slots=True)
class Presented:
    """A prompt with an answer: ``ids[start:]`` (t,) is the answer, its last token ends it."""

    ids: np.ndarray
    start: int


def parts(sample: Sample, limits: Limits) -> tuple[str, str] | None:
    """Prompt and answer of a row with one answer within the limits, else None."""
    roles = [m.role for m in sample.messages]
    if sample.shape == "text" or roles.count("assistant") != 1 or roles[-1] != "assistant" or "user" not in roles:
        return None
    prompt = "\n".join(m.content for m in sample.messages if m.role == "user").strip()
    answer = sample.messages[-1].content.strip()
    if not prompt or not answer or sample.messages[-1].tool_calls or ("\n" in answer and not limits.lines):
        return None
    if len(words(answer)) > limits.words or len(prompt) > limits.prompt:
        return None
    return prompt, answer


def words_of(text: str) -> list[str]:
    return [w.lower() for w in _WORD.findall(text)]


class Questions:
    """The questions of a dataset; what counts as a rare word is known from all of its prompts."""

    def __init__(self, samples: Sequence[Sample], limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        unique = {s.content_hash: s for s in samples}
        self._found = Counter(w for s in unique.values() for w in set(words_of(s.prompt)))
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
        found = self._bare(sample)
        return None if found is None else self._framed(found)

    def _bare(self, sample: Sample) -> Question | None:
        found = parts(sample, self._limits)
        if found is None:
            return None
        tokens = words_of(found[0])
        rare = frozenset(w for w in tokens if self._found[w] <= self._rare)
        masked = " ".join("_" if w in rare else w for w in tokens)
        return Question(sample, *found, rare, re.sub(r"_(?: _)+", "_", masked))

    def _framed(self, q: Question) -> Question:
        frame = self._frames.get(q.wording, self._frame)
        framed = [w if w in frame else "_" for w in words_of(q.answer)]
        shape = re.sub(r"_(?: _)+", "_", " ".join(framed)) if 0 < framed.count("_") < len(framed) else ""
        return replace(q, frame=frame, shape=shape)

    def all(self) -> list[Question]:
        """Those of the dataset, each content once, in the order of their content hashes."""
        return list(self._all.values())


def _frame(questions: Sequence[Question], share: float) -> frozenset[str]:
    """Words of the frame that answers to these questions are put in; what the prompts name is no company."""
    company: dict[str, set[frozenset[str]]] = {}
    found: Counter[str] = Counter()
    for q in questions:
        said = frozenset(words_of(q.answer))
        told = said - frozenset(words_of(q.prompt))
        for word in said:
            found[word] += 1
            company.setdefault(word, set()).add(told - {word})
    least = max(COMPANIES, share * len(questions))
    return frozenset(w for w, n in found.items() if n >= least and len(company[w]) >= COMPANIES)


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


def seed_of(*what: Any) -> int:
    """A seed that depends on what is asked and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:8], "big") >> 1


# ------------------------------------------------------------------------------------------------- ways to ask


class Way(Protocol):
    """How a question is put to a base.

    Attributes:
        name: ``plain``, ``chat`` or ``as_trained``.
        prompts: how many different prompts it has.
        shots: examples before a question.
    """

    name: str
    prompts: int
    shots: int

    def present(self, question: Question, examples: Sequence[Question], answer: str) -> Presented | None:
        """None where the template refuses the conversation."""
        ...

    def stops(self, question: Question) -> tuple[int, ...]:
        """Ids that end an answer."""
        ...

    def same_end(self, question: Question, token: int) -> frozenset[int]:
        """Ids that end the answer as ``token`` does."""
        ...

    def answer_of(self, tokens: np.ndarray) -> str:
        """The text of a generated answer without what ends it."""
        ...


class Plain:
    """Lines of ``Q:`` and ``A:``."""

    name = "plain"
    prompts, shots = PROMPTS, SHOTS

    def __init__(self, tokenizer: Any, backend_stops: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._marks = marks(tokenizer, tokenizer.eos_token)
        self._others = tuple(int(i) for i in backend_stops)
        self._before = _line_ends(tokenizer)

    @property
    def works(self) -> bool:
        """Whether the tokenizer keeps line feeds."""
        return bool(self._before) and "\n" in _decode(self._tokenizer, self._tokenizer("a\nb")["input_ids"])

    def present(self, question: Question, examples: Sequence[Question], answer: str) -> Presented | None:
        shown = "".join(f"Q: {e.prompt}\nA: {e.answer}\n" for e in examples)
        prompt = f"{shown}Q: {question.prompt}\nA:"
        whole = f"{prompt} {answer}\n"
        encoded = encode(self._tokenizer, whole, self._marks, add_special_tokens=True)
        place = encoded.tokens(len(prompt), len(whole))
        if place is None or place[0] == 0:
            return None
        return Presented(encoded.ids[: place[1]], place[0])

    def stops(self, question: Question) -> tuple[int, ...]:
        return tuple(sorted({*self._before, *self._others}))

    def same_end(self, question: Question, token: int) -> frozenset[int]:
        if token not in self._before:
            return frozenset({token})
        text = self._before[token]
        same = {i for i, before in self._before.items() if before == text}
        return frozenset(same | set(self._others) if not text else same)

    def answer_of(self, tokens: np.ndarray) -> str:
        kept = tokens[:-1] if len(tokens) and int(tokens[-1]) in self._others else tokens
        return _decode(self._tokenizer, kept.tolist()).split("\n")[0].strip()


class _Turns:
    """What the two ways through the fine-tune's own format share: its stop tokens."""

    def __init__(
        self, tokenizer: Any, supervise: Callable[[Sample], Supervision], backend_stops: Sequence[int]
    ) -> None:
        self._tokenizer, self._supervise = tokenizer, supervise
        self._others = tuple(int(i) for i in backend_stops)

    def _seen(self, sample: Sample) -> Supervision | None:
        """The row's supervision, None where it has not exactly one whole turn."""
        try:
            seen = self._supervise(sample)
        except UserError:
            return None
        return seen if len(seen.turns) == 1 and seen.turns[0].has_stop_token and seen.turns[0].start > 0 else None

    def _end(self, question: Question) -> int | None:
        seen = self._seen(question.sample)
        return None if seen is None else int(seen.ids[seen.turns[0].stop - 1])

    def stops(self, question: Question) -> tuple[int, ...]:
        end = self._end(question)
        return tuple(sorted({*self._others, *(() if end is None else (end,))}))

    def same_end(self, question: Question, token: int) -> frozenset[int]:
        return frozenset({token, *self.stops(question)})

    def answer_of(self, tokens: np.ndarray) -> str:
        return _decode(self._tokenizer, tokens.tolist(), skip=True).strip()


class AsTrained(_Turns):
    """The row's own prompt, token by token as in the fine-tune."""

    name = "as_trained"
    prompts, shots = 1, 0

    def present(self, question: Question, examples: Sequence[Question], answer: str) -> Presented | None:
        return self.ask(question, answer)

    def ask(self, question: Question, answer: str, prompt: str | None = None) -> Presented | None:
        """The row with this answer, and with another prompt where one is given."""
        seen = self._seen(with_answer(question.sample, answer, prompt))
        if seen is None:
            return None
        return Presented(seen.ids[: seen.turns[0].stop], seen.turns[0].start)


class Chat(_Turns):
    """Examples as earlier turns of the conversation."""

    name = "chat"
    prompts, shots = PROMPTS, SHOTS

    def present(self, question: Question, examples: Sequence[Question], answer: str) -> Presented | None:
        end = self._end(question)
        if end is None:
            return None
        before = question.sample.messages[:-1]
        own = [m for m in before if m.role != "user"]
        turns = [m for e in examples for m in (Message("user", e.prompt), Message("assistant", e.answer))]
        asked = [*own, *turns, Message("user", question.prompt)]
        try:
            ids = prompt_ids(asked, self._tokenizer, tools=question.sample.tools)
        except UserError:
            return None
        # The answer is spelled as the fine-tune spells it, behind the same generation prompt.
        seen = self._seen(with_answer(question.sample, answer))
        if seen is None or not ids:
            return None
        turn = seen.turns[0]
        return Presented(np.concatenate([np.array(ids, dtype=np.int64), seen.ids[turn.start : turn.stop]]), len(ids))


def with_answer(sample: Sample, answer: str, prompt: str | None = None) -> Sample:
    """The row with another answer, and with another last question where one is given; its identity is no row's."""
    *before, last = sample.messages
    if prompt is not None:
        at = max(i for i, m in enumerate(before) if m.role == "user")
        before[at] = replace(before[at], content=prompt)
    elif last.content.strip() == answer:
        return sample
    return replace(sample, messages=(*before, replace(last, content=answer)), content_hash=f"{sample.content_hash}:")


def _decode(tokenizer: Any, ids: Sequence[int], skip: bool = False) -> str:
    return tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)


def _line_ends(tokenizer: Any) -> Mapping[int, str]:
    """Ids of tokens that hold a line feed, and the text each has before it."""
    found: dict[int, str] = {}
    for text, i in tokenizer.get_vocab().items():
        if "Ċ" in text or "\n" in text or text == "<0x0A>":
            shown = _decode(tokenizer, [i])
            if "\n" in shown:
                found[int(i)] = shown.split("\n")[0].strip(" ")
    return found


def rare_positions(tokenizer: Any, presented: Presented, question: Question) -> list[list[int]]:
    """Token positions of each rare word of the question, where it stands last before the answer."""
    shown = pieces(tokenizer, presented.ids[: presented.start])
    text = "".join(shown)
    at = text.rfind(question.prompt)
    ends = np.cumsum([len(p) for p in shown])
    out = []
    for found in _WORD.finditer(question.prompt):
        if at < 0 or found[0].lower() not in question.rare:
            continue
        a, b = at + found.start(), at + found.end()
        first, last = int(np.searchsorted(ends, a, side="right")), int(np.searchsorted(ends, b, side="left"))
        out.append([p for p in range(first, last + 1) if p > 0])
    return [positions for positions in out if positions]
