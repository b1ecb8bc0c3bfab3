"""A sample as the token ids that a trainer made of it, and which of them are the assistant's.

The whole row is rendered once and tokenised once. Everything else means finding character positions in that one text.
Tokenising parts and joining them would give other ids than the trainer's wherever tokens merge across a boundary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.rendering.encoding import encode
from core.rendering.templates import DEFAULT_DAY, SECONDS, Chat, Failure, Text, render_chats, template_hash
from core.rendering.tokenizers import chat_template, common_prefix, text_of
from core.rendering.turns import Marks, Span, excerpt, locate, marks
from core.types import Message, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# For tokenizers without a template. Both mark the assistant's part, for trainers that need the mark.
CHATML_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}"
    "{{ '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ message.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN_TEMPLATE = (
    "{{ first_token }}{% if tools %}{{ '### Tools:\n' + tools | tojson + '\n' }}{% endif %}"
    "{% for message in messages %}{{ '### ' + message.role | capitalize + ':\n' }}"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% if message.tool_calls %}"
    "{{ message.tool_calls | tojson }}{% endif %}{{ eos_token or '' }}{% endgeneration %}"
    "{% else %}{{ message.content }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
# Conversations to their texts, under one template.
Renderer = Callable[[Sequence[Chat]], list[Text | Failure]]
NO_TEMPLATE = "The tokenizer has no chat template: rendered with Lacuna's {} template."


@dataclass(frozen=True, slots=True)
class Rendered:
    """One row as tokens.

    Attributes:
        text: the rendered text.
        ids: (l,) int64.
        turns: assistant turns, in order.
        messages: index of each turn's message.
        generation: (l,) bool, tokens inside ``{% generation %}``; all False if the template has no such markers.
        template_hash: hash of the template; empty if there is none.
        notes: remarks for a person.
    """

    text: str
    ids: np.ndarray
    turns: tuple[Turn, ...]
    messages: tuple[int, ...]
    generation: np.ndarray
    template_hash: str = ""
    notes: tuple[str, ...] = ()


def default_template(tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """The template for a tokenizer without one, and its name: ChatML if its tokens exist, else plain headings."""
    if {"<|im_start|>", "<|im_end|>"} <= tokenizer.get_added_vocab().keys():
        return CHATML_TEMPLATE, "ChatML"
    return PLAIN_TEMPLATE, "'### User: / ### Assistant:'"


# --------------------------------------------------------------------------------------------------- chat rows


def render_chat(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerFast,
    *,
    tools: str | None = None,
    template: str | None = None,
    variables: Mapping[str, Any] | None = None,
    day: str = DEFAULT_DAY,
) -> Rendered:
    """The conversation through a chat template.

    A turn starts where the prompt before it ends, rendered with ``add_generation_prompt``, if the text really goes on
    like that. Otherwise it starts where its content stands, and a note says that the generation prompt differs. It ends
    with the first added token after the content.

    Args:
        messages: the turns; at least one.
        tools: JSON text of the tool definitions.
        template: Jinja source; None for the tokenizer's own, or Lacuna's where it has none.
        variables: values for the template, which override the tokenizer's special tokens.
        day: the ISO date for a template that writes the current date.

    Raises:
        UserError: the template refuses the row (names the message and its role) or was stopped.
    """
    template, values, notes = _prepared(tokenizer, tools, template, variables)
    if "strftime_now" in template:
        notes.append(f"The template writes the current date: rendered as of {day}.")
    render = _renderer(template, tools, values, day)
    dicts = [m.as_dict() for m in messages]
    turns = [j for j, m in enumerate(messages) if m.role == "assistant"]
    chats = [Chat(dicts)]
    for j in turns:
        chats += [Chat(dicts[:j], True), Chat(dicts[:j]), Chat(dicts[: j + 1])]
    whole, *parts = render(chats)
    if isinstance(whole, Failure):
        raise _refused(whole, dicts, render)
    if any(m.reasoning and m.reasoning.strip() not in whole.text for m in messages):
        notes.append("The template omits the reasoning of a turn: it was not trained.")
    patterns = marks(tokenizer, values.get("eos_token"))
    spans, floor = list[Span](), 0
    for i, j in enumerate(turns):
        alone = parts[3 * i]
        if j > 0 and isinstance(alone, Failure):
            notes.append(f"The template refuses the prompt without its answer: {alone.message}")
        prompt, before, after = (p.text if isinstance(p, Text) else None for p in parts[3 * i : 3 * i + 3])
        around = (prompt, before, after) if j > 0 else (None, None, after)
        span = locate(whole.text, j, messages[j], around, floor, patterns, notes)
        if span is not None:
            spans.append(span)
            floor = span.stop
    return _tokenised(whole, spans, tokenizer, template, patterns, notes)


def prompt_ids(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerFast,
    *,
    tools: str | None = None,
    template: str | None = None,
    variables: Mapping[str, Any] | None = None,
    day: str = DEFAULT_DAY,
) -> list[int]:
    """Ids of the messages followed by a generation prompt. Arguments and errors as in ``render_chat``."""
    template, values, _ = _prepared(tokenizer, tools, template, variables)
    render = _renderer(template, tools, values, day)
    dicts = [m.as_dict() for m in messages]
    [whole] = render([Chat(dicts, True)])
    if isinstance(whole, Failure):
        raise _refused(whole, dicts, render)
    ids: list[int] = tokenizer(whole.text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def chat_renderer(tokenizer: PreTrainedTokenizerFast, *, tools: str | None = None, day: str = DEFAULT_DAY) -> Renderer:
    """What renders other conversations as ``render_chat`` renders the row, for presets that compare renderings."""
    template, values, _ = _prepared(tokenizer, tools, None, None)
    return _renderer(template, tools, values, day)


def _renderer(template: str, tools: str | None, values: Mapping[str, Any], day: str) -> Renderer:
    return partial(render_chats, template, tools=json.loads(tools) if tools else None, variables=values, day=day)


def _prepared(
    tokenizer: PreTrainedTokenizerFast, tools: str | None, template: str | None, variables: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any], list[str]]:
    """The template to use, its values, and a note if it is Lacuna's own."""
    notes = []
    template = template or chat_template(tokenizer, tools is not None)
    if template is None:
        template, name = default_template(tokenizer)
        notes.append(NO_TEMPLATE.format(name))
    values = {"first_token": _first_token(tokenizer), **tokenizer.special_tokens_map, **(variables or {})}
    return template, values, notes


def _first_token(tokenizer: PreTrainedTokenizerFast) -> str:
    """The special token that the tokenizer itself puts before every text, or an empty text."""
    ids = tokenizer("a")["input_ids"]
    bos = tokenizer.bos_token
    return bos if bos is not None and ids and ids[0] == tokenizer.bos_token_id else ""


def _refused(failure: Failure, dicts: list[dict[str, Any]], render: Renderer) -> UserError:
    """The error for a row that the template does not render, with the message at which it stops."""
    if failure.kind == "broken":
        return UserError(
            "The chat template does not compile.",
            f"Jinja says: {failure.message}",
            "Correct chat_template.jinja in the checkpoint's folder, or remove it to use Lacuna's plain template.",
        )
    if failure.kind in ("limit", "forbidden"):
        return UserError(
            "The chat template was stopped.",
            f"Reason: {failure.message}. Templates have {SECONDS:g} s, half a GiB and no way out of their sandbox.",
            "Do not use this checkpoint's template: replace chat_template.jinja by one from a source you trust.",
        )
    prefixes = render([Chat(dicts[: j + 1]) for j in range(len(dicts))])
    at = next((j for j, p in enumerate(prefixes) if p == failure), len(dicts) - 1)
    return UserError(
        f"The chat template refuses message {at + 1} of {len(dicts)}, role {dicts[at]['role']!r}: {failure.message}",
        f"The roles are, in order: {', '.join(d['role'] for d in dicts[:20])}{', …' if len(dicts) > 20 else ''}.",
        "Correct the row, or use the template the model was trained with as chat_template.jinja in its folder.",
    )


def _tokenised(
    whole: Text,
    spans: Sequence[Span],
    tokenizer: PreTrainedTokenizerFast,
    template: str,
    patterns: Marks,
    notes: list[str],
) -> Rendered:
    encoded = encode(tokenizer, whole.text, patterns, add_special_tokens=False)
    notes.extend(encoded.notes)
    turns, messages = [], []
    for span in spans:
        place = encoded.tokens(span.start, span.stop)
        if place is None:
            continue
        # The text of a stop token need not become that one token.
        stops = span.has_stop_token and int(encoded.ids[place[1] - 1]) in patterns.ids
        if span.has_stop_token and not stops:
            notes.append("The tokenizer does not make one token of the stop token's text.")
        turns.append(Turn(*place, stops))
        messages.append(span.message)
        if span.prompt is not None:
            own = tokenizer(span.prompt, add_special_tokens=False, verbose=False)["input_ids"]
            if note := generation_prompt_differs(tokenizer, own, encoded.ids, place[0]):
                notes.append(note)
    return Rendered(
        text=whole.text,
        ids=encoded.ids,
        turns=tuple(turns),
        messages=tuple(messages),
        generation=encoded.mask(whole.generation),
        template_hash=template_hash(template),
        notes=tuple(dict.fromkeys(notes)),
    )


def generation_prompt_differs(
    tokenizer: PreTrainedTokenizerFast, prompt_ids: Sequence[int], ids: np.ndarray, start: int
) -> str | None:
    """A note if the prompt alone has other ids than the row has before the turn, else None.

    Args:
        prompt_ids: ids of the rendered prompt with its generation prompt.
        ids: (l,) ids of the whole row.
        start: position of the turn's first token.
    """
    trained = ids[:start].tolist()
    prompt = list(prompt_ids)
    if prompt == trained:
        return None
    k = common_prefix(prompt, trained)
    row, alone = (excerpt(text_of(tokenizer, x[k:])) for x in (trained, prompt))
    return f"Generation prompt differs from the training prefix: the row has {row} where the prompt alone has {alone}."


# ------------------------------------------------------------------------------------------- pairs and plain text


def render_joined(prompt: str, completion: str, tokenizer: PreTrainedTokenizerFast, eos: str | None) -> Rendered:
    """Prompt and completion as one text without a template. A missing end-of-sequence token is added."""
    notes = []
    if eos is None:
        notes.append("The tokenizer has no end-of-sequence token: none is added.")
    text = prompt + completion + (eos if eos and not completion.endswith(eos) else "")
    encoded = encode(tokenizer, text, marks(tokenizer, eos), add_special_tokens=True)
    notes.extend(encoded.notes)
    ids = encoded.ids
    place = encoded.tokens(len(prompt), len(text))
    if place is not None and prompt:
        own = tokenizer(prompt, verbose=False)["input_ids"]
        if note := generation_prompt_differs(tokenizer, own, ids, place[0]):
            notes.append(note)
    ends = place is not None and eos is not None and int(ids[place[1] - 1]) == tokenizer.convert_tokens_to_ids(eos)
    turns = (Turn(*place, ends),) if place is not None else ()
    return Rendered(text, ids, turns, (0,) * len(turns), np.zeros(len(ids), dtype=bool), notes=tuple(notes))


def render_text(text: str, tokenizer: PreTrainedTokenizerFast, eos: str | None) -> Rendered:
    """A ``text`` row: like ``render_joined`` without a prompt, so that the whole text is the turn."""
    rendered = render_joined("", text, tokenizer, eos)
    note = "Boundary unknown: prompt and answer are not told apart, every token is the target."
    return replace(rendered, notes=(*rendered.notes, note))


# --------------------------------------------------------------------------------------------------- for display


def pieces(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int] | np.ndarray) -> list[str]:
    """(l,) texts, one per token, with special tokens visible. Joined, they are the decoded text.

    If a character is spread over several tokens, the token that completes it has its text and the others are empty.
    """
    ids = [int(i) for i in ids]
    whole = text_of(tokenizer, ids)
    out = [""] * len(ids)
    length = 0  # of the text of the tokens before `first`
    # Tokens before `first` have their text; those from `before` on are decoded along, because decoders treat the start
    # of a text and runs of bytes in their own way.
    before = first = 0
    for i in range(len(ids)):
        context = text_of(tokenizer, ids[before:first]) if before < first else ""
        piece = text_of(tokenizer, ids[before : i + 1])[len(context) :]
        if whole.startswith(piece, length):
            out[i] = piece
            length += len(piece)
            before, first = first, i + 1
    if ids:
        out[-1] += whole[length:]
    return out
