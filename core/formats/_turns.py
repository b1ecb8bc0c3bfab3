"""Lists of turns: ``{role, content}`` as OpenAI writes them, ``{from, value}`` as ShareGPT does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.formats._base import Columns
from core.formats._cells import Notes, RowError, cell, json_text, list_of, share, text_of
from core.formats._gemini import in_parts, result_of, typed
from core.formats._layouts import CALL_ROLES, CANONICAL, LOSS_FLAGS, canonical
from core.intake.json_rows import decode_json, named_type
from core.types import Message

# Columns that hold turns but are no conversation of their own.
_NOT_A_CONVERSATION = (
    "chosen", "rejected", "preferred_output", "non_preferred_output", "prompt", "completion", "history", "tools",
    "systemInstruction", "system_instruction",
)  # fmt: skip
# Names of a turn's reasoning, in the order in which transformers looks for them.
REASONING = ("reasoning_content", "thinking", "reasoning")
_READ = {"role", "from", "content", "value", "name", "tool_calls", "function_call", "tool_call_id"}
_READ |= {*LOSS_FLAGS, *REASONING}

# ---------------------------------------------------------------------------------------------------- detection


def turns_in(value: Any) -> list[dict[str, Any]]:
    """The turns of an example value (a list, its JSON text, or one turn), empty where it holds none."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value, _ = decode_json(value)
        except ValueError:
            return []
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return []
    return value if all("role" in turn or "from" in turn for turn in value) else []


def is_sharegpt(turns: list[dict[str, Any]]) -> bool:
    """Whether turns use ShareGPT's keys, or its role names under OpenAI's keys."""
    return bool(turns) and any(
        "from" in turn or str(turn.get("role")).lower() in ("human", "gpt", "function_call", "observation")
        for turn in turns
    )


def conversation_column(columns: Columns, names: tuple[str, ...], *, sharegpt: bool) -> tuple[float, str]:
    """The column that holds whole conversations in one of the two styles, with a score in [0, 1].

    Beside preference columns the turns often end with the question; those hold no answer and score 0.
    """
    best = (0.0, "")
    preference = "chosen" in columns and "rejected" in columns
    for column, values in columns.items():
        if column in _NOT_A_CONVERSATION:
            continue
        conversations = [turns for turns in map(turns_in, values) if turns]
        fit = share(conversations, lambda turns: is_sharegpt(turns) == sharegpt)
        fit *= len(conversations) / max(1, len(values))
        if preference and share(conversations, _is_answered) < 0.5:
            fit = 0.0
        score = fit * (1.0 if column == names[0] else 0.9 if column in names else 0.7)
        best = max(best, (score, column), key=lambda pair: pair[0])
    return best


def _is_answered(turns: list[dict[str, Any]]) -> bool:
    return canonical(str(turns[-1].get("role") or turns[-1].get("from"))) == "assistant"


# ------------------------------------------------------------------------------------------------------- reading


def messages_of(value: Any, field: str, notes: Notes, *, rename: bool = False) -> list[Message]:
    """The turns of a conversation.

    Args:
        value: a list of turns, its JSON text, or a single turn.
        field: the column, for errors.
        rename: give ShareGPT's role names their canonical ones even under OpenAI's keys.

    Raises:
        RowError: not turns, none at all, or a turn that cannot be read.
    """
    turns = [value] if isinstance(value, dict) else list_of(value, field, notes)
    if not turns:
        raise RowError(field, "is an empty list; at least one turn is needed")
    return [_message(turn, f"{field}[{i}]", notes, rename) for i, turn in enumerate(turns)]


def _message(turn: Any, field: str, notes: Notes, rename: bool) -> Message:
    if not isinstance(turn, dict):
        raise RowError(field, f"is {named_type(turn)}, not a turn with role and content")
    keys = ("role", "content") if "role" in turn else ("from", "value")
    if keys[0] not in turn:
        raise RowError(field, f"has neither role nor from; it has {', '.join(map(repr, turn)) or 'no keys'}")
    written = turn[keys[0]]
    if not isinstance(written, str) or not written:
        raise RowError(f"{field}.{keys[0]}", f"is {named_type(written) if written != '' else 'empty'}, a role is text")
    rename = rename or keys[0] == "from"
    role = _role(written, rename, notes)
    gemini = in_parts(turn)
    for key in sorted(turn.keys() - _READ - ({"parts"} if gemini else set())):
        if turn[key] not in (None, "", [], {}):
            notes.add(f"the field {key!r} of a turn is not read")
    calls = _calls(turn, field, notes)
    content = turn.get(keys[1])
    name = turn.get("name")
    if gemini and (result := result_of(turn)):
        role, (name, content) = "tool", result
    elif gemini:
        content = [typed(part) for part in turn["parts"]]
    elif written.lower() in CALL_ROLES and role == "assistant":
        content, calls = _function_call(content, f"{field}.{keys[1]}", calls, notes)
    text, part_calls, thoughts = _content(content, f"{field}.{keys[1]}", role, bool(calls), notes)
    calls = calls + part_calls
    reasoning = _reasoning(turn, field) or "".join(thoughts)
    if name is not None and not isinstance(name, str):
        raise RowError(f"{field}.name", f"is {named_type(name)}, not text")
    call_id = turn.get("tool_call_id")
    if call_id is not None and not isinstance(call_id, str):
        raise RowError(f"{field}.tool_call_id", f"is {named_type(call_id)}, not text")
    trained = _trained(turn, field, notes)
    calls_text = json_text(calls) if calls else None
    return Message(role, text, calls_text, name or None, trained, call_id or None, reasoning or None)


# Names that no template knows as a role of its own, under whatever keys they stand.
_UNMISTAKABLE = ("function", "tool_call", "tool_response", "function_response", "model")


def _role(written: str, rename: bool, notes: Notes) -> str:
    role = canonical(written) if rename or written in _UNMISTAKABLE else written
    if role not in CANONICAL:
        notes.add(f"the role {role[:40]!r} is not system, user, assistant or tool; it is kept as written")
    return role


def _content(value: Any, field: str, role: str, has_calls: bool, notes: Notes) -> tuple[str, list[Any], list[str]]:
    """Text, tool calls and pieces of reasoning of a turn's content."""
    if value is None:
        if has_calls:
            return "", [], []
        raise RowError(field, "is null or missing, and the turn has no tool calls; text is needed")
    if isinstance(value, list) and all(_is_part(part) for part in value):
        return _parts(value, field, notes)
    if role == "tool" and isinstance(value, dict | list):
        notes.add("a tool's result that is not text is kept as its JSON")
        return json_text(value), [], []
    return text_of(value, field, notes), [], []


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and ("type" in part or "text" in part))


def _parts(parts: list[Any], field: str, notes: Notes) -> tuple[str, list[Any], list[str]]:
    texts, calls, thoughts = [], [], []
    for i, part in enumerate(parts):
        here = f"{field}[{i}]"
        kind = "text" if isinstance(part, str) else part.get("type", "text")
        body = part if isinstance(part, str) else part.get("text", part.get("value"))
        if kind in ("text", "input_text", "output_text"):
            texts.append(text_of(body, here, notes))
        elif kind in ("reasoning", "thinking"):
            thoughts.append(text_of(part.get("thinking", body), here, notes))
        elif kind == "tool_call":
            calls += _wrapped(_json(body, here), here)
        elif any(word in str(kind) for word in ("image", "video", "audio", "file")):
            raise RowError(here, f"is of the type {kind!r}; only text can be diagnosed")
        else:
            raise RowError(here, f"is of the unknown type {kind!r}; known are text, reasoning, tool_call")
    notes.add("content given in parts is joined")
    return "".join(texts), calls, thoughts


def _reasoning(turn: Mapping[str, Any], field: str) -> str:
    """What the turn thinks, under the first of its names that is there."""
    key = next((name for name in REASONING if turn.get(name) is not None), None)
    if key is None:
        return ""
    text = turn[key]
    if not isinstance(text, str):
        raise RowError(f"{field}.{key}", f"is {named_type(text)}, not text")
    return text


def with_system(messages: list[Message], value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes) -> None:
    """Puts the system column's text before the turns, where they have no system turn of their own."""
    system = cell(value, mapping, "system")
    if system is None:
        return
    if isinstance(system, dict) and in_parts(system):
        system, _, _ = _parts([typed(part) for part in system["parts"]], mapping["system"], notes)
    elif isinstance(system, list) and all(map(_is_part, system)):
        system, _, _ = _parts(system, mapping["system"], notes)
    text = text_of(system, mapping["system"], notes)
    if messages[0].role != "system":
        messages.insert(0, Message("system", text))
    elif messages[0].content != text:
        notes.add("the conversation's own system turn is used, the system column is not")


# ---------------------------------------------------------------------------------------------------- tool calls


def _calls(turn: Mapping[str, Any], field: str, notes: Notes) -> list[Any]:
    if turn.get("tool_calls"):
        calls = turn["tool_calls"]
        if isinstance(calls, str):
            calls = _json(calls, f"{field}.tool_calls")
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise RowError(f"{field}.tool_calls", f"is {named_type(calls)}, not a list of calls")
        return calls
    if turn.get("function_call"):
        notes.add("function_call is read as a tool call")
        return _wrapped(_json(turn["function_call"], f"{field}.function_call"), f"{field}.function_call")
    return []


def _function_call(content: Any, field: str, calls: list[Any], notes: Notes) -> tuple[Any, list[Any]]:
    """ShareGPT's ``function_call`` turn: its value is the JSON text of a call or of a list of calls."""
    try:
        return None, calls + _wrapped(_json(content, field), field)
    except RowError:
        notes.add("a function_call that is not JSON with a name is kept as the assistant's text")
        return content, calls


def _json(value: Any, field: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return decode_json(value)[0]
    except ValueError as error:
        raise RowError(field, f"cannot be read as JSON ({error})") from error


def _wrapped(call: Any, field: str) -> list[Any]:
    """Calls as ``apply_chat_template`` takes them: ``{"type": "function", "function": {"name", "arguments"}}``."""
    calls = call if isinstance(call, list) else [call]
    if not calls or not all(isinstance(c, dict) and ("name" in c or "function" in c) for c in calls):
        raise RowError(field, "is not a call with name and arguments")
    return [c if "function" in c else {"type": "function", "function": c} for c in calls]


def _trained(turn: Mapping[str, Any], field: str, notes: Notes) -> bool | None:
    """The turn's own word on loss: flags (true, false, 0, 1) before weights (0 is no loss)."""
    for key in LOSS_FLAGS:
        value = turn.get(key)
        if value is None:
            continue
        if isinstance(value, bool):
            return value
        if key == "loss" and value not in (0, 1):
            notes.add("a turn's loss other than true and false is taken for a figure and not read")
            continue
        is_flag = key in ("train", "training", "loss")
        if not isinstance(value, int | float) or value < 0 or (is_flag and value not in (0, 1)):
            raise RowError(f"{field}.{key}", f"is {value!r}, not {'true or false' if is_flag else 'a weight'}")
        if value not in (0, 1):
            notes.add(f"a {key} other than 0 and 1 is read as trained")
        return value != 0
    return None
