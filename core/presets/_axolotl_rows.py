"""The turns that Axolotl's type chat_template makes of a row, with what they say on their own loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import UserError
from core.presets._source_rows import source_row, source_turns, written_role
from core.types import Message, Sample

# Names of roles in rows to names of roles for the template; others stay as they are.
_ROLES = {
    "human": "user",
    "user": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
    "tool": "tool",
}
_TAGS = (("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")

Detail = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """A turn for the template, and what the row says on its loss.

    Attributes:
        message: as the template gets it.
        reasoning: its ``reasoning_content``, None for none.
        training: the row's word on the whole turn; ``detail``, ``reasoning_detail``: on ranges of characters.
    """

    message: Mapping[str, Any]
    reasoning: str | None = None
    training: Any = None
    detail: Detail | None = None
    reasoning_detail: Detail | None = None

    def with_placeholder(self, part: str, text: str) -> dict[str, Any]:
        """The turn with ``text`` in place of its content, or of its reasoning."""
        role, own = self.message["role"], {}
        if part == "reasoning":
            return {"role": role, "content": self.message["content"], "reasoning_content": text}
        if self.reasoning is not None and (self.detail or self.reasoning_detail):
            own = {"reasoning_content": self.reasoning}
        return {"role": role, "content": text, **own}


@dataclass(frozen=True)
class Conversation:
    """``turns`` as they go to the template, ``messages`` the same as values of the house."""

    turns: Sequence[Told]
    messages: Sequence[Message]
    roles: Mapping[str, str] = field(default_factory=lambda: _ROLES)


def conversation(
    sample: Sample, *, training: str, detail: str, split_thinking: bool, drop_system: bool
) -> Conversation:
    """The turns of the row.

    Args:
        training: field of a turn that says whether it is trained, empty for none.
        detail: field of a turn that lists trained ranges, empty for none.
        split_thinking: whether reasoning between tags becomes a field of its own.
        drop_system: whether a system prompt at the start is left out.

    Raises:
        UserError: Axolotl stops at the row's tools.
    """
    row = source_row(sample)
    if isinstance(row.get("tools"), str) and not sample.tools:
        _check_tools(row["tools"])
    turns, messages = list[Told](), list[Message]()
    for message, written in zip(sample.messages, source_turns(sample, row), strict=True):
        told, message = _told(message, written, training, detail, split_thinking)
        turns.append(told)
        messages.append(message)
    if messages and messages[0].role != "system" and row.get("system") == "":
        turns.insert(0, Told({"role": "system", "content": ""}))
        messages.insert(0, Message("system", ""))
    if drop_system and messages and messages[0].role == "system":
        turns, messages = turns[1:], messages[1:]
    return Conversation(turns, messages)


def _check_tools(text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise UserError(
            "Axolotl stops at this row: its tools are text that is no JSON.",
            f"The text is {text[:80]!r}; for no tools the column must be missing, null or [].",
            "Correct the row. If the training went through, its data was another.",
        ) from error


def _told(
    message: Message, written: Mapping[str, Any], training: str, detail: str, split_thinking: bool
) -> tuple[Told, Message]:
    name = written_role(written) or message.role
    role = _ROLES.get(name, name)
    content, reasoning, ranges = message.content, message.reasoning, None
    if name not in _ROLES and message.tool_calls and isinstance(written.get("value"), str):
        message, content = replace(message, tool_calls=None), written["value"]
    reasoning_ranges = None
    parts = written.get("content", written.get("value"))
    if isinstance(parts, list):
        content, ranges = joined(parts)
    if isinstance(written.get("reasoning_content"), list):
        reasoning, reasoning_ranges = joined(written["reasoning_content"])
    if split_thinking and role == "assistant":
        thought, content = _split(content)
        reasoning = reasoning if thought is None else thought
    message = replace(message, role=role, content=content, reasoning=reasoning)
    told = message.as_dict()
    told.pop("thinking", None)
    if reasoning and isinstance(written.get("thinking"), str) and "reasoning_content" not in written:
        told["thinking"] = told.pop("reasoning_content")
        reasoning = None
    for call in told.get("tool_calls", ()):
        _parse_arguments(call)
    if told.get("tool_calls"):
        message = replace(message, tool_calls=json.dumps(told["tool_calls"], ensure_ascii=False))
    own = written.get(detail) if detail else None
    return (
        Told(
            message=told,
            reasoning=reasoning,
            training=written.get(training) if training else None,
            detail=ranges if ranges is not None else own if isinstance(own, list) else None,
            reasoning_detail=reasoning_ranges,
        ),
        message,
    )


def _parse_arguments(call: dict[str, Any]) -> None:
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError:  # Axolotl stops here; the template writes the text
            return


def joined(parts: Sequence[Any]) -> tuple[str, Detail | None]:
    """Content in parts as one text; and the ranges that are trained, where a part says so (``train``, ``weight``)."""
    text, ranges, says = "", list[dict[str, Any]](), False
    for part in parts:
        if not isinstance(part, dict):
            continue
        piece = part.get("text") or part.get("content") or part.get("value") or ""
        flag, weight = part.get("train"), part.get("weight")
        says |= flag is not None or weight is not None
        train = flag if flag is not None else weight is None or weight != 0
        if piece:
            ranges.append({"begin_offset": len(text), "end_offset": len(text) + len(piece) - 1, "train": train})
        text += piece
    return text, ranges if says else None


def _split(content: str) -> tuple[str | None, str]:
    """Reasoning between the first pair of tags that is there, and the answer behind it."""
    for opening, closing in _TAGS:
        if opening not in content or closing not in content:
            continue
        start, end = content.find(opening), content.find(closing)
        rest = content[end + len(closing) :].lstrip()
        if _SOLUTION[0] in rest and _SOLUTION[1] in rest:
            a, b = rest.find(_SOLUTION[0]) + len(_SOLUTION[0]), rest.find(_SOLUTION[1])
            rest = rest[a:b].strip()
        return content[start + len(opening) : end].strip(), rest
    return None, content
