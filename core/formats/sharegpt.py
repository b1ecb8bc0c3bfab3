"""``{"conversations": [{"from", "value"}, ...]}``: ShareGPT as LLaMA-Factory, Axolotl and others read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.formats._base import SYSTEM, TOOLS, Columns, Format, Role, named_columns
from core.formats._cells import Notes, needed, tools_of
from core.formats._layouts import Conversation
from core.formats._turn_rows import composes, conversation, edits
from core.formats._turns import conversation_column, messages_of, with_system
from core.types import Message, Shape

_TURNS = Role(
    "conversations",
    "Conversations",
    True,
    ("conversations", "conversation", "messages", "items"),
    "A list of turns, each with from and value.",
)
# What ShareGPT calls the canonical roles.
_NAMES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    score, column = conversation_column(columns, _TURNS.columns, sharegpt=True)
    return (score, {"conversations": column} | named_columns((SYSTEM, TOOLS), columns)) if score else (0.0, {})


def _convert(
    value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
) -> tuple[Sequence[Message], Shape, str | None]:
    column, turns = needed(value, mapping, "conversations")
    messages = messages_of(turns, column, notes, rename=True)
    with_system(messages, value, mapping, notes)
    return messages, "chat", tools_of(value, mapping)


def _describe(value: Mapping[str, Any], mapping: Mapping[str, str]) -> Conversation:
    layout = conversation(value, mapping["conversations"], _NAMES, sharegpt=True)
    return replace(layout, system=mapping.get("system", ""), tools=mapping.get("tools", ""))


KIND = Format(
    name="sharegpt",
    label="ShareGPT",
    help="One conversation a row: a list of turns with from (human, gpt, function_call, observation) and value.",
    own_roles=(_TURNS, SYSTEM, TOOLS),
    find=_find,
    convert=_convert,
    edit=edits("conversations"),
    compose=composes("conversations"),
    describe=_describe,
    examples=(
        {
            "id": "colours",
            "conversations": [
                {"from": "human", "value": "Name a primary colour."},
                {"from": "gpt", "value": "Red."},
            ],
            "system": "Be brief.",
            "tools": "",
        },
        {
            "id": "weather",
            "conversations": [
                {"from": "human", "value": "How warm is it in Oslo?"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
                {"from": "observation", "value": '{"celsius": 4}'},
                {"from": "gpt", "value": "It is 4 °C in Oslo."},
            ],
            "system": "",
            "tools": '[{"name": "weather", "parameters": {"city": {"type": "string"}}}]',
        },
    ),
)
