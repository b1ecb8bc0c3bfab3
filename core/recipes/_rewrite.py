"""Rows changed in their own shape: another text in a turn, or a new row made after the model of an old one.

The row is changed as JSON and read again; it is given back only where reading finds exactly what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from core.formats._base import RowError
from core.formats._turns import SHAREGPT_ROLES
from core.intake.datasets import read_json_row
from core.intake.json_rows import decode_object
from core.types import Message, Reading, Sample

Value = dict[str, Any]


def edited(sample: Sample, reading: Reading, index: int, edit: Callable[[str], str]) -> bytes | None:
    """The row with message ``index`` edited and nothing else; None where its shape does not allow that."""
    value, _ = decode_object(sample.raw)
    old = sample.messages[index].content
    if not _edit(value, sample, reading, index, edit):
        return None
    wanted = list(sample.messages)
    wanted[index] = replace(wanted[index], content=edit(old))
    return _checked(value, reading, tuple(wanted))


def composed(sample: Sample, reading: Reading, prompt: str, answer: str) -> bytes | None:
    """A new row of one question and one answer in the shape of the sample's; its other columns stay, its id goes."""
    value, _ = decode_object(sample.raw)
    if "id" in reading.mapping:
        value.pop(reading.mapping["id"], None)
    system = [m for m in sample.messages[:1] if m.role == "system"]
    if sample.shape == "text":
        value[reading.mapping["text"]] = f"{prompt}\n{answer}"
        return _checked(value, reading, (Message("text", f"{prompt}\n{answer}"),))
    if not _compose(value, reading, prompt, answer):
        return None
    return _checked(value, reading, (*system, Message("user", prompt), Message("assistant", answer)))


def _checked(value: Value, reading: Reading, wanted: tuple[Message, ...]) -> bytes | None:
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        found = read_json_row(raw, reading).messages
    except (RowError, ValueError):
        return None
    said = [(m.role, m.content.strip()) for m in found]
    return raw if said == [(m.role, m.content.strip()) for m in wanted] else None


# ------------------------------------------------------------------------------------------------------- editing


def _edit(value: Value, sample: Sample, reading: Reading, index: int, edit: Callable[[str], str]) -> bool:
    """Changes ``value`` in place; whether it could."""
    names = reading.mapping
    role, last = sample.messages[index].role, index == len(sample.messages) - 1
    if reading.format in ("messages", "sharegpt"):
        column = names["messages" if reading.format == "messages" else "conversations"]
        turns = value.get(column)
        if not isinstance(turns, list):
            return False
        # A system prompt from a column of its own is a message, but no turn.
        at = index - (len(sample.messages) - len(turns))
        return 0 <= at < len(turns) and _edit_turn(turns[at], edit)
    if reading.format == "text":
        return _edit_text(value, names["text"], edit)
    if reading.format == "alpaca":
        own = {"system": "system", "user": "instruction", "assistant": "output"}[role]
        first_turn = index == 0 and role == "system"
        return (first_turn or index >= len(sample.messages) - 2) and _edit_text(value, names.get(own, ""), edit)
    side = names["completion" if last else "prompt"]
    if isinstance(value.get(side), list):
        inside = len(value[side])
        at = inside - (len(sample.messages) - index) if last else index
        return 0 <= at < inside and _edit_turn(value[side][at], edit)
    return len(sample.messages) == 2 and _edit_text(value, side, edit)


def _edit_turn(turn: Any, edit: Callable[[str], str]) -> bool:
    key = next((k for k in ("content", "value") if isinstance(turn, dict) and isinstance(turn.get(k), str)), None)
    if key is None:
        return False
    turn[key] = edit(turn[key])
    return True


def _edit_text(value: Value, column: str, edit: Callable[[str], str]) -> bool:
    if not isinstance(value.get(column), str):
        return False
    value[column] = edit(value[column])
    return True


# ----------------------------------------------------------------------------------------------------- composing


def _compose(value: Value, reading: Reading, prompt: str, answer: str) -> bool:
    names = reading.mapping
    if "tools" in names:
        value.pop(names["tools"], None)
    if reading.format in ("messages", "sharegpt"):
        column = names["messages" if reading.format == "messages" else "conversations"]
        if not isinstance(value.get(column), list):
            return False
        value[column] = _two_turns(value[column], prompt, answer)
        return True
    if reading.format == "alpaca":
        value[names["instruction"]], value[names["output"]] = prompt, answer
        for role, nothing in (("input", ""), ("history", [])):
            if value.get(names.get(role, "")):
                value[names[role]] = nothing
        return True
    before, after = value.get(names["prompt"]), value.get(names["completion"])
    if isinstance(before, list) and isinstance(after, list):
        both = _two_turns([*before, *after], prompt, answer)
        value[names["prompt"]], value[names["completion"]] = both[:-1], both[-1:]
        return True
    if not (isinstance(before, str) and isinstance(after, str)):
        return False
    # What joined the two before joins them still: a space or line feed at the seam.
    value[names["prompt"]] = prompt + before[len(before.rstrip()) :]
    value[names["completion"]] = after[: len(after) - len(after.lstrip())] + answer
    return True


def _two_turns(turns: list[Any], prompt: str, answer: str) -> list[dict[str, Any]]:
    """The system turn if there is one, a question and an answer, under the keys and role names the row itself uses."""
    kept = [t for t in turns[:1] if _role(t) == "system"]
    said: Mapping[str, str] = {"user": prompt, "assistant": answer}
    made = []
    for role, text in said.items():
        model = next((t for t in turns if _role(t) == role and not t.get("tool_calls")), {"role": role, "content": ""})
        who = "from" if "from" in model else "role"
        what = "value" if "value" in model else "content"
        made.append({who: model[who], what: text})
    return [*kept, *made]


def _role(turn: Any) -> str:
    name = str(turn.get("role") or turn.get("from")).lower() if isinstance(turn, dict) else ""
    return SHAREGPT_ROLES.get(name, name)


# ---------------------------------------------------------------------------------------------------- differences


def differences(before: bytes, after: bytes) -> list[dict[str, Any]]:
    """What changed between two rows, field by field: ``{field, before, after}``; a missing side is left out."""
    return list(_differ("", json.loads(before), json.loads(after)))


def _differ(path: str, before: Any, after: Any) -> list[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        out = []
        for key in [*before, *(k for k in after if k not in before)]:
            here = f"{path}.{key}" if path else key
            if key not in after:
                out.append({"field": here, "before": before[key]})
            elif key not in before:
                out.append({"field": here, "after": after[key]})
            else:
                out += _differ(here, before[key], after[key])
        return out
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [d for i, (b, a) in enumerate(zip(before, after, strict=True)) for d in _differ(f"{path}[{i}]", b, a)]
    same = type(before) is type(after) and before == after
    return [] if same else [{"field": path, "before": before, "after": after}]
