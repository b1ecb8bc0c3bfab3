"""``{"instruction", "input", "output"}``: Alpaca, with system and history as LLaMA-Factory has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.formats._base import EMPTY, SYSTEM, TOOLS, Columns, Format, Role, named_columns
from core.formats._cells import Notes, RowError, cell, edit_text, is_text, list_of, needed, share, text_of, tools_of
from core.formats._layouts import Pair
from core.types import Message, Shape

_ROLES = (
    Role("instruction", "Instruction", True, ("instruction",), "What is asked."),
    Role("input", "Input", False, ("input", "context"), "Added to the instruction on a new line, if it is not empty."),
    Role("output", "Output", True, ("output", "response"), "The answer."),
    SYSTEM,
    Role("history", "History", False, ("history",), "Earlier turns: a list of [question, answer]."),
    TOOLS,
)


# Pairs under these names are a chat where a system prompt or earlier turns stand beside them, as ms-swift reads them:
# prompt and completion, joined as they are, could hold neither.
_CHAT = (
    Role("instruction", "Instruction", True, ("query", "question", "prompt"), ""),
    Role("output", "Output", True, ("response", "answer"), ""),
    *_ROLES[3:],
)


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    mapping = named_columns(_ROLES, columns)
    if "instruction" not in mapping or "output" not in mapping:
        mapping = named_columns(_CHAT, columns)
        if not {"instruction", "output"} <= mapping.keys() or not _has_context(columns, mapping):
            return 0.0, {}
    fit = min(share(columns[mapping[role]], is_text) for role in ("instruction", "output"))
    return fit * (1.0 if mapping["output"].casefold() == "output" else 0.9), mapping


def _has_context(columns: Columns, mapping: Mapping[str, str]) -> bool:
    """Whether a system prompt or earlier turns stand in any example."""
    return any(v not in EMPTY for role in ("system", "history") if role in mapping for v in columns[mapping[role]])


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
            notes.add("input is added to the instruction on a new line")
        prompt = "\n".join(part for part in (prompt, text_of(extra, mapping["input"], notes)) if part)
    column, output = needed(value, mapping, "output")
    messages += [Message("user", prompt), Message("assistant", text_of(output, column, notes))]
    return messages, "chat", tools_of(value, mapping)


def _history(value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes) -> list[Message]:
    history = cell(value, mapping, "history")
    if history is None:
        return []
    column, messages = mapping["history"], []
    for i, pair in enumerate(list_of(history, column, notes)):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{column}[{i}]", "is not a pair [question, answer]")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            messages.append(Message(role, text_of(text, f"{column}[{i}]", notes)))
    return messages


def _edit(
    value: dict[str, Any],
    mapping: Mapping[str, str],
    messages: Sequence[Message],
    i: int,
    change: Callable[[str], str],
) -> bool:
    role = {"system": "system", "user": "instruction", "assistant": "output"}[messages[i].role]
    # Turns between the system prompt and the last question are those of the history.
    in_history = role != "system" and i < len(messages) - 2
    return not in_history and edit_text(value, mapping.get(role, ""), change)


def _compose(value: dict[str, Any], mapping: Mapping[str, str], prompt: str, answer: str) -> bool:
    value.pop(mapping.get("tools", ""), None)
    value[mapping["instruction"]], value[mapping["output"]] = prompt, answer
    for role, empty in (("input", ""), ("history", [])):
        if value.get(mapping.get(role, "")):
            value[mapping[role]] = empty
    return True


def _describe(value: Mapping[str, Any], mapping: Mapping[str, str]) -> Pair:
    input, system, history, tools = (mapping.get(role, "") for role in ("input", "system", "history", "tools"))
    return Pair(mapping["instruction"], mapping["output"], True, False, input, system, history, tools)


KIND = Format(
    name="alpaca",
    label="Alpaca (instruction, input, output)",
    help="An instruction with or without input, and the answer; system prompt and history if there are any.",
    own_roles=_ROLES,
    find=_find,
    convert=_convert,
    edit=_edit,
    compose=_compose,
    describe=_describe,
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
