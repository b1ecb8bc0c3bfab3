"""LLaMA-Factory's templates: named lists of slots, not Jinja. Every turn is tokenised by itself.

The named ones lie in ``_llama_factory_templates.json``. Without a name LLaMA-Factory reads slots off the tokenizer's
chat template, and without such a template it takes ``empty``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from core.errors import UserError
from core.presets._llama_factory_tools import announced, calls_text
from core.rendering.encoding import encode
from core.rendering.templates import Chat, Failure, render_chats
from core.rendering.tokenizers import text_of
from core.rendering.turns import marks
from core.types import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# A text with ``{{content}}``, or a token: {"token": its text} or {"special": "bos" or "eos"}.
Slot = str | Mapping[str, str]
CONTENT = "{{content}}"
_EOS: Slot = {"special": "eos"}


@dataclass(frozen=True)
class SlotTemplate:
    """A template of LLaMA-Factory.

    Attributes:
        system, user, assistant, function, observation, prefix: the slots of each part.
        default_system: used where a row has no system prompt.
        stop: texts that end an answer; each is made a token of its own.
        tools, calls: the formats that announce tools and write calls.
        tools_slot: what encloses the tools instead, as they are.
        thought, tool_call: what encloses reasoning and calls.
        kind: ``plain``; ``system_in_user``: the system prompt is part of the first question; ``reasoning``: answers
            without reasoning get an empty block of it; ``reasoning_glm47``: the same, only the closing word.
        efficient_eos: answers have no stop token of their own; one ends the row.
        replace_eos: the first of ``stop`` becomes the end-of-sequence token.
    """

    user: Sequence[Slot] = (CONTENT,)
    assistant: Sequence[Slot] = (CONTENT, _EOS)
    function: Sequence[Slot] = ()
    system: Sequence[Slot] = (CONTENT,)
    observation: Sequence[Slot] = ()
    prefix: Sequence[Slot] = ()
    default_system: str = ""
    stop: Sequence[str] = ()
    tools: str = "default"
    calls: str = ""
    tools_slot: Sequence[Slot] = ()
    thought: tuple[str, str] = ("<think>\n", "\n</think>\n\n")
    tool_call: tuple[str, str] = ("<tool_call>", "</tool_call>")
    kind: str = "plain"
    efficient_eos: bool = False
    replace_eos: bool = False

    @property
    def reasons(self) -> bool:
        return self.kind in ("reasoning", "reasoning_glm47")


@dataclass(frozen=True, slots=True)
class Part:
    """A turn as tokens; ``turn`` is the answer in it with its stop token, None for other turns."""

    ids: list[int]
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What LLaMA-Factory makes of the columns of a row: roles are ``user``, ``assistant``, ``observation``,
    ``function``."""

    turns: Sequence[tuple[str, str]]
    system: str = ""
    tools: str = ""


@cache
def _data() -> Mapping[str, Any]:
    path = Path(__file__).with_name("_llama_factory_templates.json")
    data: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def template_names() -> tuple[str, ...]:
    return tuple(_data()["templates"])


def tool_prompts() -> Mapping[str, str]:
    """The texts that announce tools, by format."""
    prompts: Mapping[str, str] = _data()["tool_prompts"]
    return prompts


@cache
def named_template(name: str) -> SlotTemplate:
    fields = dict(_data()["templates"][name])
    if fields.get("efficient_eos"):
        fields.setdefault("assistant", [CONTENT])
    for words in ("thought", "tool_call"):
        if words in fields:
            fields[words] = tuple(fields[words])
    template = SlotTemplate(**fields)
    return replace(
        template,
        function=template.function or template.assistant,
        observation=template.observation or template.user,
        calls=template.calls or ("default" if template.tools_slot else template.tools),
    )


# ------------------------------------------------------------------------------------ from the tokenizer's template

_QUESTION, _SYSTEM, _ANSWER = ({"role": role, "content": CONTENT} for role in ("user", "system", "assistant"))


def parsed_template(tokenizer: PreTrainedTokenizerFast, day: str) -> SlotTemplate:
    """The slots that LLaMA-Factory reads off the tokenizer's chat template; ``empty`` where it has none.

    Raises:
        UserError: the template does not render what LLaMA-Factory asks of it.
    """
    own = tokenizer.chat_template
    return _parsed(tokenizer, own, day) if isinstance(own, str) else named_template("empty")


def _parsed(tokenizer: PreTrainedTokenizerFast, own: str, day: str) -> SlotTemplate:
    chats = [
        Chat([_SYSTEM]),
        Chat([{"role": "system", "content": ""}, _QUESTION], True),
        Chat([_QUESTION], True),
        Chat([_QUESTION, _ANSWER]),
    ]
    texts = []
    for rendered in render_chats(own, chats, tools=None, variables=dict(tokenizer.special_tokens_map), day=day):
        if isinstance(rendered, Failure):
            raise _unparsable(f"It says: {rendered.message}")
        texts.append(rendered.text)
    prefix = text_of(tokenizer, tokenizer("", verbose=False)["input_ids"])
    system, user_without, user, assistant = (text[len(prefix) :] for text in texts)
    assistant = texts[3][len(prefix) + len(user) :]
    reasons = "<think>" in assistant
    assistant = assistant.replace("<think>", "").replace("</think>", "").lstrip("\n")
    default_system = ""
    if len(user) > len(user_without):
        default_system = _inserted(user_without, user)
        user = user[len(system.replace(CONTENT, default_system, 1)) :]
    if not all(CONTENT in slot for slot in (user, assistant, system)):
        raise _unparsable("A turn alone does not hold its content.")
    return SlotTemplate(
        user=(user,),
        assistant=(assistant,),
        function=(assistant,),
        system=(system,),
        observation=(user,),
        prefix=(prefix,) if prefix else (),
        default_system=default_system,
        calls="default",
        kind="reasoning" if reasons else "plain",
    )


def _inserted(short: str, long: str) -> str:
    """The characters of ``long`` passed over while ``short`` is followed through it, until one of them ends."""
    i, out = 0, []
    for character in long:
        if i == len(short):
            break
        if character == short[i]:
            i += 1
        else:
            out.append(character)
    return "".join(out)


def _unparsable(why: str) -> UserError:
    return UserError(
        "LLaMA-Factory cannot read its slots off this chat template and stops.",
        f"Without a template name it renders a system prompt, a question and an answer apart. {why}",
        f"Set template to the name of the training's configuration: {', '.join(template_names())}.",
    )


# ----------------------------------------------------------------------------------------------------- the tokenizer

_FIXED: WeakKeyDictionary[Any, dict[tuple[str, ...], PreTrainedTokenizerFast]] = WeakKeyDictionary()


def fixed_tokenizer(tokenizer: PreTrainedTokenizerFast, template: SlotTemplate, name: str) -> PreTrainedTokenizerFast:
    """The tokenizer as LLaMA-Factory sets it up: stop words are tokens, the first may be the end-of-sequence token.

    Raises:
        UserError: one of them is not in the vocabulary. LLaMA-Factory would add it, and save the tokenizer with it.
    """
    stop = tuple(template.stop)
    eos = stop[0] if template.replace_eos else tokenizer.eos_token or "<|endoftext|>"
    wanted = (eos, *stop)
    if eos == tokenizer.eos_token and all(token in tokenizer.get_added_vocab() for token in stop):
        return tokenizer
    vocabulary = tokenizer.get_vocab()
    for token in wanted:
        if token not in vocabulary:
            raise _no_token(token, name)
    by_tokens = _FIXED.setdefault(tokenizer, {})
    if wanted not in by_tokens:
        fixed = deepcopy(tokenizer)
        fixed.add_tokens(list(dict.fromkeys(wanted)), special_tokens=True)
        fixed.eos_token = eos
        by_tokens[wanted] = fixed
    return by_tokens[wanted]


def _no_token(token: str, name: str) -> UserError:
    return UserError(
        f"The template {name or 'of the tokenizer'} needs the token {token!r}, which this tokenizer lacks.",
        "LLaMA-Factory adds it and saves the tokenizer with it: this is not the tokenizer of such a training.",
        "Give the folder that the training saved, or the template of its configuration.",
    )


# ---------------------------------------------------------------------------------------------------------- encoding


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns of a row to tokens.

    Attributes:
        tokenizer: as ``fixed_tokenizer`` gives it.
        name: of the template, for errors.
        day: the ISO date of training.
    """

    template: SlotTemplate
    tokenizer: PreTrainedTokenizerFast
    name: str
    day: str

    def parts(self, row: Row) -> list[Part]:
        """One part a turn; the first begins with prefix, system prompt and tools.

        Raises:
            UserError: LLaMA-Factory stops at the row's tools or calls, or a token is missing.
        """
        t = self.template
        head, system = self._head(row)
        parts = []
        for i, (role, content) in enumerate(row.turns):
            before = [*head, *system] if i == 0 else []
            if role in ("assistant", "function"):
                slots = t.function if role == "function" else t.assistant
                text = self._calls(content) if role == "function" else content
                parts.append(self._answer(before, slots, text))
                continue
            slots = t.observation if role == "observation" else t.user
            if i == 0 and t.kind == "system_in_user":
                lead = system[0] if system and isinstance(system[0], str) else ""
                elements = [*head, *_filled(slots, lead + content if role == "user" else content)]
            else:
                elements = [
                    *before,
                    *_filled(slots, content, i // 2 if role == "user" and t.kind != "system_in_user" else None),
                ]
            parts.append(Part(self.ids(elements)))
        return parts

    def ids(self, elements: Sequence[Slot]) -> list[int]:
        out: list[int] = []
        for element in elements:
            out += self._element(element)
        return out

    def thought(self) -> list[int]:
        """The empty block of reasoning."""
        opening, closing = self.template.thought
        return self._element(closing if self.template.kind == "reasoning_glm47" else opening + closing)

    def _head(self, row: Row) -> tuple[list[Slot], list[Slot]]:
        """Prefix, and the system prompt with the tools; the second empty where there is neither."""
        t = self.template
        text = row.system or t.default_system
        if not text and not row.tools:
            return list(t.prefix), []
        if row.tools and t.tools_slot:
            text += str(_filled(t.tools_slot, row.tools)[0])
        elif row.tools:
            text += announced(row.tools, t.tools, tool_prompts(), self.day)
        return list(t.prefix), _filled(t.system, text)

    def _calls(self, content: str) -> str:
        t = self.template
        if t.kind == "system_in_user":
            return calls_text(content, t.calls)
        return calls_text(content, t.calls, t.thought, t.tool_call)

    def _element(self, element: Slot) -> list[int]:
        if isinstance(element, str):
            ids: list[int] = self.tokenizer(element, add_special_tokens=False, verbose=False)["input_ids"]
            return ids if element else []
        if (special := element.get("special")) is not None:
            one = self.tokenizer.bos_token_id if special == "bos" else self.tokenizer.eos_token_id
            return [] if one is None else [int(one)]
        found = self.tokenizer.convert_tokens_to_ids(element["token"])
        is_unknown = element["token"] == self.tokenizer.unk_token
        if not isinstance(found, int) or (found == self.tokenizer.unk_token_id and not is_unknown):
            raise _no_token(element["token"], self.name)
        return [found]

    def _answer(self, before: Sequence[Slot], slots: Sequence[Slot], content: str) -> Part:
        """An answer's tokens, and which of them are its content and stop token."""
        patterns = marks(self.tokenizer, self.tokenizer.eos_token)
        ids = self.ids(before)
        start = stop = len(ids)
        sought, has_stop = "content", False
        for slot in slots:
            here = len(ids)
            if sought == "nothing" or not isinstance(slot, str) or (sought == "content" and CONTENT not in slot):
                ids += self._element(slot)
                if sought == "stop" and len(ids) > here:
                    stop, has_stop, sought = len(ids), True, "nothing"
                continue
            low = slot.find(CONTENT) if sought == "content" else 0
            high = low + len(content) if sought == "content" else 0
            text = slot.replace(CONTENT, content, 1) if sought == "content" else slot
            end = patterns.added_next.match(text, high)
            encoded = encode(self.tokenizer, text, patterns, add_special_tokens=False)
            place = encoded.tokens(low, end.end() if end else high)
            ids += encoded.ids.tolist()
            if low == 0 and (high or end):  # where offsets are trimmed, a leading blank covers no character
                place = (0, place[1] if place else len(encoded.ids))
            if place is not None:
                start, stop = (here + place[0] if sought == "content" else start), here + place[1]
            elif sought == "content":
                start = stop = here
            has_stop = end is not None and stop > start and ids[stop - 1] in patterns.ids
            sought = "stop" if end is None and not text[high:].strip() else "nothing"
        return Part(ids, Turn(start, stop, has_stop))


def _filled(slots: Sequence[Slot], content: str, index: int | None = None) -> list[Slot]:
    out: list[Slot] = []
    for slot in slots:
        if isinstance(slot, str):
            slot = slot.replace(CONTENT, content, 1)
            slot = slot if index is None else slot.replace("{{idx}}", str(index), 1)
        out.append(slot)
    return out
