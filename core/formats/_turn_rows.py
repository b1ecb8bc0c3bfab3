"""Rows that hold lists of turns: changing a turn, making a conversation after the model of another, describing one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.formats._base import Compose, Edit
from core.formats._layouts import CALL_ROLES, CANONICAL, Conversation, canonical
from core.formats._turns import turns_in
from core.types import Message


def edit_turn(turns: Any, at: int, change: Callable[[str], str]) -> bool:
    """Changes the text of a turn in place; whether it could."""
    if not isinstance(turns, list) or not 0 <= at < len(turns):
        return False
    turn = turns[at]
    key = next((key for key in ("content", "value") if isinstance(turn, dict) and isinstance(turn.get(key), str)), None)
    if key is None:
        return False
    turn[key] = change(turn[key])
    return True


def edits(role: str) -> Edit:
    """``Format.edit`` where the column of that role holds the turns."""

    def edit(
        value: dict[str, Any],
        mapping: Mapping[str, str],
        messages: Sequence[Message],
        i: int,
        change: Callable[[str], str],
    ) -> bool:
        turns = value.get(mapping[role])
        # Counted from the end: a system prompt from a column of its own is a message, but no turn.
        return isinstance(turns, list) and edit_turn(turns, i - (len(messages) - len(turns)), change)

    return edit


def composes(role: str) -> Compose:
    """``Format.compose`` where the column of that role holds the turns."""

    def compose(value: dict[str, Any], mapping: Mapping[str, str], prompt: str, answer: str) -> bool:
        turns = value.get(mapping[role])
        if not isinstance(turns, list):
            return False
        value.pop(mapping.get("tools", ""), None)
        value[mapping[role]] = composed_turns(turns, prompt, answer)
        return True

    return compose


def composed_turns(turns: Sequence[Any], prompt: str, answer: str) -> list[dict[str, Any]]:
    """The system turn if there is one, a question and an answer, under the keys and role names the row itself uses."""
    composed = [turn for turn in turns[:1] if _role(turn) == "system"]
    for role, text in (("user", prompt), ("assistant", answer)):
        models = (turn for turn in turns if _role(turn) == role and not _is_call(turn))
        model = next(models, {"role": role, "content": ""})
        role_key = "from" if "from" in model else "role"
        composed.append({role_key: model[role_key], ("value" if "value" in model else "content"): text})
    return composed


def _is_call(turn: Mapping[str, Any]) -> bool:
    return bool(turn.get("tool_calls")) or str(turn.get("role") or turn.get("from")).lower() in CALL_ROLES


def _role(turn: Any) -> str:
    return canonical(str(turn.get("role") or turn.get("from"))) if isinstance(turn, dict) else ""


def conversation(value: Mapping[str, Any], column: str, names: Mapping[str, str], *, sharegpt: bool) -> Conversation:
    """The layout of a row of turns: keys and role names as the row writes them, what it does not show as usual.

    Args:
        names: usual names of the canonical roles.
        sharegpt: which keys are usual.
    """
    turns = turns_in(value.get(column))
    openai = all("role" in turn for turn in turns) if turns else not sharegpt
    role, text = ("role", "content") if openai else ("from", "value")
    written = dict.fromkeys(CANONICAL, "")
    for turn in turns:
        name = str(turn.get(role))
        if written.get(canonical(name)) == "" and name.lower() not in CALL_ROLES:
            written[canonical(name)] = name
    return Conversation(column, role, text, {name: written[name] or names[name] for name in CANONICAL})
