"""Where the assistant's turns stand in a rendered conversation.

Positions here are characters of the rendered text. ``render.py`` turns them into tokens.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from core.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Span:
    """An assistant turn in the text: characters ``start`` to ``stop``, with its stop token if it has one."""

    message: int
    start: int
    stop: int
    has_stop_token: bool
    prompt: str | None


@dataclass(frozen=True, slots=True)
class Marks:
    """What can end a turn.

    Attributes:
        added: matches any added token.
        added_next: matches blanks and then an added token.
        special: special tokens and the end-of-sequence token, longest first.
        ids: ids of all of them.
    """

    added: re.Pattern[str]
    added_next: re.Pattern[str]
    special: tuple[str, ...]
    ids: frozenset[int]


_MARKS: WeakKeyDictionary[Any, dict[str | None, Marks]] = WeakKeyDictionary()


def marks(tokenizer: PreTrainedTokenizerFast, eos: str | None) -> Marks:
    """What can end a turn for this tokenizer and this end-of-sequence token."""
    by_eos = _MARKS.setdefault(tokenizer, {})
    if eos not in by_eos:
        tokens = list(tokenizer.added_tokens_decoder.values())
        own = {eos} if eos else set()
        added = sorted({t.content for t in tokens} | own, key=len, reverse=True)
        special = sorted({t.content for t in tokens if t.special} | own, key=len, reverse=True)
        either = "|".join(map(re.escape, added)) or r"(?!)"
        ids = [*tokenizer.added_tokens_decoder, *(tokenizer.convert_tokens_to_ids(token) for token in own)]
        end_ids = frozenset(i for i in ids if isinstance(i, int))
        by_eos[eos] = Marks(re.compile(either), re.compile(rf"\s*(?:{either})"), tuple(special), end_ids)
    return by_eos[eos]


def locate(
    text: str,
    j: int,
    message: Message,
    around: tuple[str | None, str | None, str | None],
    floor: int,
    patterns: Marks,
    notes: list[str],
) -> Span | None:
    """Where turn ``j`` stands in ``text``; None and a note if that cannot be said.

    Args:
        around: three rendered texts: the messages before the turn with generation prompt, the same without it, and
            the messages up to the end of the turn.
        floor: the end of the previous turn.
    """
    prompt, before, after = around
    end = len(after) if after is not None and text.startswith(after) else len(text)
    bounded = after is not None and text.startswith(after)
    start = len(prompt) if prompt is not None and text.startswith(prompt) and floor <= len(prompt) <= end else None
    low = start if start is not None else max(floor, len(before) if before and text.startswith(before) else 0)
    place = _find(text, message.content, low, end, start is not None, bounded, patterns.added_next)
    if place is not None and start is not None and prompt == before and text[start : place[0]].strip():
        start = None  # the template knows no generation prompt: what stands in between is the turn's heading
    if place is not None and not text.startswith(message.content, place[0]):
        notes.append("The template changes the answer (blanks at its ends, or reasoning before '</think>', dropped).")
    if start is None:
        if place is None:
            notes.append(f"Message {j + 1} (assistant) does not stand in the rendered text, so it is not judged.")
            return None
        start = place[0]
    elif place is not None and (added := text[start : place[0]]).strip() and not message.tool_calls:
        notes.append(f"The template puts {excerpt(added)} before the answer. It is judged as part of the answer.")
    stop, has_stop = _end(text, message, start, place, end, bounded, patterns)
    if place is None and message.content.strip() and not message.tool_calls:
        notes.append("The template rewrites the answer. It is read from the generation prompt to the next added token.")
    if not has_stop:
        notes.append("The template ends an answer with no stop token.")
    return Span(j, start, stop, has_stop, prompt)


def _find(
    text: str, content: str, low: int, end: int, exact: bool, bounded: bool, mark: re.Pattern[str]
) -> tuple[int, int] | None:
    """Character range of the content in ``text[low:end]``, as it is written or as templates shorten it.

    Args:
        exact: whether the turn surely starts at ``low``.
        bounded: whether the turn surely stops at ``end``.
    """
    answer = content.rsplit("</think>", 1)[-1]
    for form in dict.fromkeys((content, content.strip("\n"), content.strip(), answer.lstrip("\n"), answer.strip())):
        if not form:
            continue
        at = text.find(form, low, end)
        while at >= 0:
            stop = at + len(form)
            # A short answer may also occur inside a heading. The real one is followed by its end.
            if mark.match(text, stop, end) or not text[stop:end].strip():
                return at, stop
            at = text.find(form, at + 1, end)
        at = text.rfind(form, low, end) if bounded else text.find(form, low, end)
        if at >= 0 and (at == low or bounded or not exact):
            return at, at + len(form)
    return None


def _end(
    text: str, message: Message, start: int, place: tuple[int, int] | None, end: int, bounded: bool, patterns: Marks
) -> tuple[int, bool]:
    """Where the turn stops, and whether a stop token ends it."""
    at = place[1] if place is not None else start
    if message.tool_calls:
        past = end if bounded else _past_calls(text, message.tool_calls, at, patterns)
        return _end_of_calls(text, at, past, patterns)
    stop = patterns.added_next.match(text, at, end)
    if stop is None and place is None and message.content.strip():
        stop = patterns.added.search(text, at, end)
        at = at + len(text[at:end].rstrip())
    return (stop.end(), True) if stop else (at, False)


def _past_calls(text: str, calls: str, at: int, patterns: Marks) -> int:
    """The position after the first special token behind the names of the called functions, or the end of the text."""
    for name in re.findall(r'"name":\s*("(?:[^"\\]|\\.)*")', calls):
        at = max(at, text.find(json.loads(name), at))
    ends = [(place, -len(t)) for t in patterns.special if (place := text.find(t, at)) >= 0]
    return min(ends)[0] - min(ends)[1] if ends else len(text)


def _end_of_calls(text: str, at: int, end: int, patterns: Marks) -> tuple[int, bool]:
    """The end of the first of the special tokens that close ``text[at:end]``. Blanks may stand between them.

    Tool calls contain added tokens of their own, so the first added token need not end the turn.
    """
    first, rest = None, end
    while True:
        rest = at + len(text[at:rest].rstrip())
        token = next((t for t in patterns.special if text.endswith(t, at, rest)), None)
        if token is None:
            return (first, True) if first is not None else (rest, False)
        first, rest = rest, rest - len(token)


def excerpt(text: str, width: int = 60) -> str:
    return repr(text if len(text) <= width else f"{text[: width // 2]}…{text[-width // 2 :]}") if text else "nothing"
