"""Rows changed in their own shape: another text in a turn, or a new row made after the model of an old one.

The format changes the row as JSON; it is read again, and given back only where reading yields exactly what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.formats._cells import RowError
from core.intake.datasets import read_json_row
from core.intake.json_rows import decode_object
from core.plugins import kind
from core.types import Message, Reading, Sample


def edited(sample: Sample, reading: Reading, i: int, change: Callable[[str], str]) -> bytes | None:
    """The row with message ``i`` changed and nothing else; None where its format or shape does not allow that."""
    edit = kind("formats", reading.format).edit
    value, _ = decode_object(sample.raw)
    if edit is None or not edit(value, reading.mapping, sample.messages, i, change):
        return None
    messages = list(sample.messages)
    messages[i] = replace(messages[i], content=change(messages[i].content))
    return _checked(value, reading, messages)


def composed(sample: Sample, reading: Reading, prompt: str, answer: str) -> bytes | None:
    """A new row of one question and one answer in the shape of the sample's; its other columns stay, its id goes.

    A row of plain text becomes question and answer, a line each. None where its format or shape does not allow that.
    """
    compose = kind("formats", reading.format).compose
    value, _ = decode_object(sample.raw)
    if compose is None or not compose(value, reading.mapping, prompt, answer):
        return None
    value.pop(reading.mapping.get("id", ""), None)
    if sample.shape == "text":
        return _checked(value, reading, [Message("text", "\n".join(part for part in (prompt, answer) if part))])
    system = [message for message in sample.messages[:1] if message.role == "system"]
    return _checked(value, reading, [*system, Message("user", prompt), Message("assistant", answer)])


def limits(reading: Reading, *, edits: bool = False, composes: bool = False) -> list[str]:
    """Notes on what a recipe needs and the dataset's format cannot do: changing rows, or making new ones."""
    format = kind("formats", reading.format)
    notes = []
    if edits and format.edit is None:
        notes.append(f"Rows of the format “{format.label}” cannot be changed: they come as they are.")
    if composes and format.compose is None:
        notes.append(f"New rows of the format “{format.label}” cannot be made: the samples' own rows stand for them.")
    return notes


def _checked(value: Mapping[str, Any], reading: Reading, messages: Sequence[Message]) -> bytes | None:
    """The row as bytes where it reads as these messages; space around a text does not count."""
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        parsed = read_json_row(raw, reading).messages
    except (RowError, ValueError):
        return None
    return raw if _texts(parsed) == _texts(messages) else None


def _texts(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content.strip()) for message in messages]


# ---------------------------------------------------------------------------------------------------- differences


def differences(before: bytes, after: bytes) -> list[dict[str, Any]]:
    """What changed between two rows, field by field: ``{field, before, after}``; a missing side is left out."""
    return list(_differ("", json.loads(before), json.loads(after)))


def _differ(path: str, before: Any, after: Any) -> list[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        out: list[dict[str, Any]] = []
        for key in [*before, *(k for k in after if k not in before)]:
            field = f"{path}.{key}" if path else key
            if key not in after:
                out.append({"field": field, "before": before[key]})
            elif key not in before:
                out.append({"field": field, "after": after[key]})
            else:
                out += _differ(field, before[key], after[key])
        return out
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [d for i, (b, a) in enumerate(zip(before, after, strict=True)) for d in _differ(f"{path}[{i}]", b, a)]
    same = type(before) is type(after) and before == after
    return [] if same else [{"field": path, "before": before, "after": after}]
