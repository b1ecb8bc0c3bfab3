"""``{"messages": [{"role", "content"}, ...]}``: OpenAI chat, TRL's conversational shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.formats._base import SYSTEM, TOOLS, Columns, Format, Role, named_columns
from core.formats._cells import Notes, needed, tools_of
from core.formats._gemini import in_parts
from core.formats._layouts import CANONICAL, Conversation
from core.formats._turn_rows import composes, conversation, edits
from core.formats._turns import conversation_column, messages_of, turns_in, with_system
from core.types import Message, Shape

_TURNS = Role(
    "messages",
    "Messages",
    True,
    ("messages", "conversations", "conversation", "chat", "dialogue", "contents"),
    "A list of turns, each with role and content.",
)


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    score, column = conversation_column(columns, _TURNS.columns, sharegpt=False)
    return (score, {"messages": column} | named_columns((SYSTEM, TOOLS), columns)) if score else (0.0, {})


def _convert(
    value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
) -> tuple[Sequence[Message], Shape, str | None]:
    column, turns = needed(value, mapping, "messages")
    messages = messages_of(turns, column, notes)
    with_system(messages, value, mapping, notes)
    return messages, "chat", tools_of(value, mapping)


def _describe(value: Mapping[str, Any], mapping: Mapping[str, str]) -> Conversation | None:
    if any(map(in_parts, turns_in(value.get(mapping["messages"])))):
        return None  # no trainer's configuration names parts as the text of a turn
    layout = conversation(value, mapping["messages"], {name: name for name in CANONICAL}, sharegpt=False)
    return replace(layout, system=mapping.get("system", ""), tools=mapping.get("tools", ""))


KIND = Format(
    name="messages",
    label="Messages (OpenAI chat)",
    help="One conversation a row: a list of turns with role and content, tool calls and tools if there are any.",
    own_roles=(_TURNS, SYSTEM, TOOLS),
    find=_find,
    convert=_convert,
    edit=edits("messages"),
    compose=composes("messages"),
    describe=_describe,
    examples=(
        {
            "id": 9007199254740993,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Name a primary colour."},
                {"role": "assistant", "content": "Red."},
            ],
        },
        {
            "id": 2,
            "messages": [
                {"role": "user", "content": "How warm is it in Oslo?"},
                {
                    "role": "assistant",
                    "content": "Let me look.",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
                    ],
                },
                {"role": "tool", "content": "4", "name": "weather"},
                {"role": "assistant", "content": "It is 4 °C in Oslo."},
            ],
        },
    ),
)
