"""What the ids of a tokenised row say: its turns, where the chat template that wrote them can be told from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UserError
from core.rendering.render import chat_renderer, render_chat
from core.rendering.templates import Chat, Text
from core.rendering.tokenizers import chat_template, text_of
from core.types import Message, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Words that no template writes, in the place of what is said.
_SYSTEM, _QUESTION, _ANSWER = "\u2060SYSTEMPROBE4z\u2060", "\u2060USERPROBE7q\u2060", "\u2060ANSWERPROBE9k\u2060"
# Tokens that a template writes behind a last answer that was stored without its end: a stop token and a line feed.
_MISSING_END = 4


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a template writes around turns: before the first, and between one and the next; ``end`` behind the last."""

    system: str
    after_system: str
    first: str
    question_to_answer: str
    answer_to_question: str
    end: str

    def turns(self, text: str) -> list[Message]:
        """The turns of a text in this frame, empty where it does not fit."""
        turns: list[Message] = []
        if text.startswith(self.first):  # first, since a template may write a system prompt of its own
            text = text[len(self.first) :]
        elif self.after_system and text.startswith(self.system):
            said, found, text = text[len(self.system) :].partition(self.after_system)
            if not found or self.question_to_answer in said:
                return []
            turns.append(Message("system", said))
        else:
            return []
        role, between = "user", self.question_to_answer
        while True:
            said, found, text = text.partition(between)
            if not found:
                return [*turns, Message(role, said.removesuffix(self.end) if role == "assistant" else said)]
            turns.append(Message(role, said))
            asked = role == "user"
            role, between = ("assistant", self.answer_to_question) if asked else ("user", self.question_to_answer)


class Decoder:
    """Texts of tokenised rows under one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._frame = _frame(tokenizer) if chat_template(tokenizer) else None

    def messages(self, tokens: Tokens) -> tuple[Message, ...]:
        """The turns, if rendering them gives the same ids again; else the runs with and without loss, as text.

        Special tokens are left out of runs, since they are no words of anyone.
        """
        turns = self._frame.turns(text_of(self._tokenizer, tokens.ids)) if self._frame else []
        if turns and self._gives(turns, tokens):
            return tuple(turns)
        texts = [
            (role, text_of(self._tokenizer, tokens.ids[a:b], skip_special=True).strip())
            for role, a, b in tokens.segments()
        ]
        return tuple(Message(role, text) for role, text in texts if text or role != "user")

    def _gives(self, turns: list[Message], tokens: Tokens) -> bool:
        try:
            ids = render_chat(turns, self._tokenizer).ids.tolist()
        except UserError:
            return False
        n = len(tokens.ids)
        return ids[:n] == list(tokens.ids) and len(ids) - n <= _MISSING_END


def _frame(tokenizer: PreTrainedTokenizerFast) -> _Frame | None:
    """What the tokenizer's template writes around turns; None where it cannot be told."""
    system, user, answer = (
        {"role": role, "content": word}
        for role, word in (("system", _SYSTEM), ("user", _QUESTION), ("assistant", _ANSWER))
    )
    render = chat_renderer(tokenizer)
    with_system, without = render([Chat([system, user]), Chat([user, answer, user, answer])])
    if not isinstance(without, Text):
        return None
    first, behind, *more = without.text.split(_QUESTION)
    if len(more) != 1 or _ANSWER not in behind:
        return None
    question_to_answer, answer_to_question = behind.split(_ANSWER, 1)
    if not question_to_answer or not answer_to_question:
        return None
    before = after = ""
    if isinstance(with_system, Text) and _SYSTEM in with_system.text and _QUESTION in with_system.text:
        before, rest = with_system.text.split(_SYSTEM, 1)
        after = rest.split(_QUESTION, 1)[0]
    return _Frame(before, after, first, question_to_answer, answer_to_question, more[0].rpartition(_ANSWER)[2])
