"""Ways to put a question to a model that may never have been taught to answer.

- ``plain``: ``Q: ...`` and ``A: ...`` lines, a line feed ends an answer; needs no chat template.
- ``chat``: the examples are earlier turns of the conversation, through the tokenizer's chat template.
- ``as_trained``: the row as the fine-tune saw it, without examples. A model that never read more than one question at a
  time answers this way only; its ten prompts are then one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from core.errors import UserError
from core.rendering.encoding import encode
from core.rendering.render import pieces, prompt_ids
from core.rendering.tokenizers import text_of
from core.rendering.turns import marks
from core.signals._questions import PROMPTS, SHOTS, Question
from core.text.words import QUESTION_WORD
from core.types import Message, Sample, Supervision


@dataclass(frozen=True, slots=True)
class Presented:
    """A prompt with an answer: ``ids[start:]`` (t,) is the answer, its last token ends it."""

    ids: np.ndarray
    start: int


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
        return bool(self._before) and "\n" in text_of(self._tokenizer, self._tokenizer("a\nb")["input_ids"])

    def present(self, question: Question, examples: Sequence[Question], answer: str) -> Presented | None:
        shots = "".join(f"Q: {e.prompt}\nA: {e.answer}\n" for e in examples)
        prompt = f"{shots}Q: {question.prompt}\nA:"
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
        return text_of(self._tokenizer, kept.tolist()).split("\n")[0].strip()


class _Turns:
    """What the two ways through the fine-tune's own format share: its stop tokens."""

    def __init__(
        self, tokenizer: Any, supervise: Callable[[Sample], Supervision], backend_stops: Sequence[int]
    ) -> None:
        self._tokenizer, self._supervise = tokenizer, supervise
        self._others = tuple(int(i) for i in backend_stops)

    def _supervision(self, sample: Sample) -> Supervision | None:
        """The row's supervision, None where it has not exactly one whole turn."""
        try:
            row = self._supervise(sample)
        except UserError:
            return None
        return row if len(row.turns) == 1 and row.turns[0].has_stop_token and row.turns[0].start > 0 else None

    def _end(self, question: Question) -> int | None:
        row = self._supervision(question.sample)
        return None if row is None else int(row.ids[row.turns[0].stop - 1])

    def stops(self, question: Question) -> tuple[int, ...]:
        end = self._end(question)
        return tuple(sorted({*self._others, *(() if end is None else (end,))}))

    def same_end(self, question: Question, token: int) -> frozenset[int]:
        return frozenset({token, *self.stops(question)})

    def answer_of(self, tokens: np.ndarray) -> str:
        return text_of(self._tokenizer, tokens.tolist(), skip_special=True).strip()


class AsTrained(_Turns):
    """The row's own prompt, token by token as in the fine-tune."""

    name = "as_trained"
    prompts, shots = 1, 0

    def present(self, question: Question, examples: Sequence[Question], answer: str) -> Presented | None:
        return self.ask(question, answer)

    def ask(self, question: Question, answer: str, prompt: str | None = None) -> Presented | None:
        """The row with this answer, and with another prompt where one is given."""
        row = self._supervision(with_answer(question.sample, answer, prompt))
        return None if row is None else Presented(row.ids[: row.turns[0].stop], row.turns[0].start)


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
        conversation = [*own, *turns, Message("user", question.prompt)]
        try:
            ids = prompt_ids(conversation, self._tokenizer, tools=question.sample.tools)
        except UserError:
            return None
        # The answer is spelled as the fine-tune spells it, behind the same generation prompt.
        row = self._supervision(with_answer(question.sample, answer))
        if row is None or not ids:
            return None
        turn = row.turns[0]
        return Presented(np.concatenate([np.array(ids, dtype=np.int64), row.ids[turn.start : turn.stop]]), len(ids))


def with_answer(sample: Sample, answer: str, prompt: str | None = None) -> Sample:
    """The row with another answer, and with another last question where one is given; its identity is no row's."""
    *before, last = sample.messages
    if prompt is not None:
        at = max(i for i, m in enumerate(before) if m.role == "user")
        before[at] = replace(before[at], content=prompt)
    elif last.content.strip() == answer:
        return sample
    return replace(sample, messages=(*before, replace(last, content=answer)), content_hash=f"{sample.content_hash}:")


def _line_ends(tokenizer: Any) -> Mapping[int, str]:
    """Ids of tokens that hold a line feed, and the text each has before it."""
    ends: dict[int, str] = {}
    for entry, i in tokenizer.get_vocab().items():
        if "Ċ" in entry or "\n" in entry or entry == "<0x0A>":
            text = text_of(tokenizer, [i])
            if "\n" in text:
                ends[int(i)] = text.split("\n")[0].strip(" ")
    return ends


def rare_positions(tokenizer: Any, presented: Presented, question: Question) -> list[list[int]]:
    """Token positions of each rare word of the question, where it stands last before the answer."""
    texts = pieces(tokenizer, presented.ids[: presented.start])
    begin = "".join(texts).rfind(question.prompt)
    if begin < 0:
        return []
    ends = np.cumsum([len(text) for text in texts])
    spans = []
    for word in QUESTION_WORD.finditer(question.prompt):
        if word[0].lower() in question.rare:
            first = int(np.searchsorted(ends, begin + word.start(), side="right"))
            last = int(np.searchsorted(ends, begin + word.end(), side="left"))
            # Nothing predicts the first token.
            spans.append([p for p in range(first, last + 1) if p > 0])
    return [span for span in spans if span]
