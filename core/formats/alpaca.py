"""``{"instruction", "input", "output"}``: Alpaca, with system and history as LLaMA-Factory has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.formats._base import (
    SYSTEM,
    TOOLS,
    Columns,
    Format,
    Notes,
    Role,
    RowError,
    cell,
    is_text,
    list_of,
    named_columns,
    needed,
    share,
    text_of,
    tools_of,
)
from core.types import Message, Shape

_ROLES = (
    Role("instruction", "Instruction", True, ("instruction",), "What is asked."),
    Role("input", "Input", False, ("input", "context"), "Joined to the instruction by a line feed where not empty."),
    Role("output", "Output", True, ("output", "response"), "The answer."),
    SYSTEM,
    Role("history", "History", False, ("history",), "Earlier turns: a list of [question, answer]."),
    TOOLS,
)


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    mapping = named_columns(_ROLES, columns)
    if "instruction" not in mapping or "output" not in mapping:
        return 0.0, {}
    fit = min(share(columns[mapping[role]], is_text) for role in ("instruction", "output"))
    return fit * (1.0 if mapping["output"].casefold() == "output" else 0.9), mapping


def _convert(
    value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
) -> tuple[Sequence[Message], Shape, str | None]:
    messages = []
    system = cell(value, mapping, "system")
    if system is not None:
        messages.append(Message("system", text_of(system, mapping["system"], notes)))
    messages += _history(value, mapping, notes)
    column, instruction = needed(value, mapping, "instruction")
    prompt = text_of(instruction, column, notes)
    extra = cell(value, mapping, "input")
    if extra is not None:
        if prompt:
            notes.add("input is joined to the instruction by a line feed")
        prompt = "\n".join(part for part in (prompt, text_of(extra, mapping["input"], notes)) if part)
    column, output = needed(value, mapping, "output")
    messages += [Message("user", prompt), Message("assistant", text_of(output, column, notes))]
    return messages, "chat", tools_of(value, mapping)


def _history(value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes) -> list[Message]:
    found = cell(value, mapping, "history")
    if found is None:
        return []
    column, messages = mapping["history"], []
    for i, pair in enumerate(list_of(found, column, notes)):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{column}[{i}]", "is not a pair [question, answer]")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            messages.append(Message(role, text_of(text, f"{column}[{i}]", notes)))
    return messages


KIND = Format(
    name="alpaca",
    label="Alpaca (instruction, input, output)",
    help="An instruction with or without input, and the answer; system prompt and history if there are any.",
    own_roles=_ROLES,
    find=_find,
    convert=_convert,
    examples=(
        {"instruction": "Correct the spelling.", "input": "freind", "output": "friend", "system": "", "history": []},
        {
            "instruction": "And in French?",
            "input": "",
            "output": "Rouge.",
            "system": "Be brief.",
            "history": [["Name a primary colour.", "Red."]],
        },
    ),
)
