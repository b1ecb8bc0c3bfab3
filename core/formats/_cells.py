"""Reading the cells of a row: texts, lists and JSON, each with the error or the note that it deserves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from core.formats._gemini import declared
from core.intake.json_rows import decode_json, named_type


class RowError(Exception):
    """One row cannot be read; it becomes a ``Problem`` and harms no other.

    Args:
        field: the key at fault, as in ``messages[2].content``.
        text: what is wrong with it and what would be right.
    """

    def __init__(self, field: str, text: str) -> None:
        self.field, self.text = field, text
        super().__init__(f"{field}: {text}")


class Notes:
    """Remarks on one row, each kept once, in order."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        self._texts[text] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def share(values: Sequence[Any], fits: Callable[[Any], bool]) -> float:
    """The share of example values that fit, 0 where there are none."""
    return sum(map(fits, values)) / len(values) if values else 0.0


def is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def cell(value: Mapping[str, Any], mapping: Mapping[str, str], role: str) -> Any:
    """The value of an optional role; None where there is none, and for empty text (CSV has no other nothing)."""
    content = value.get(mapping[role]) if role in mapping else None
    return None if content == "" else content


def needed(value: Mapping[str, Any], mapping: Mapping[str, str], role: str) -> tuple[str, Any]:
    """Column and value of a required role.

    Raises:
        RowError: the row does not have the column.
    """
    column = mapping[role]
    if column not in value:
        raise RowError(column, f"is missing; the row has {', '.join(map(repr, list(value)[:20])) or 'no keys'}")
    return column, value[column]


def text_of(value: Any, field: str, notes: Notes) -> str:
    """The value as text; numbers as JSON writes them, with a note.

    Raises:
        RowError: null, true/false, a list or an object.
    """
    if isinstance(value, str):
        return value
    if is_text(value):
        notes.add("a number is read as text")
        return json.dumps(value)
    raise RowError(field, "is null, text is needed" if value is None else f"is {named_type(value)}, not text")


def list_of(value: Any, field: str, notes: Notes) -> list[Any]:
    """The value as a list; JSON text of a list is read, with a note.

    Raises:
        RowError: anything else.
    """
    if isinstance(value, str):
        try:
            value, _ = decode_json(value)
        except ValueError as error:
            raise RowError(field, f"is text that cannot be read as a JSON list ({error})") from error
        notes.add("a list is read from its JSON text")
    if not isinstance(value, list):
        raise RowError(field, f"is {named_type(value)}, not a list")
    return value


def json_text(value: Any) -> str:
    """JSON text with keys in the order given."""
    return json.dumps(value, ensure_ascii=False)


def tools_of(value: Mapping[str, Any], mapping: Mapping[str, str]) -> str | None:
    """JSON text of the row's tool definitions, None where it has none.

    Raises:
        RowError: text that is not JSON.
    """
    tools = cell(value, mapping, "tools")
    if isinstance(tools, str):
        try:
            tools, _ = decode_json(tools)
        except ValueError as error:
            raise RowError(mapping["tools"], f"is text that cannot be read as JSON ({error})") from error
    if isinstance(tools, dict):
        tools = [tools]
    if tools is not None and not isinstance(tools, list):
        raise RowError(mapping["tools"], f"is {named_type(tools)}, not a list of tools")
    tools = [definition for tool in tools or [] for definition in declared(tool)]
    # OpenAI's older column ``functions`` holds the definitions themselves.
    if tools and mapping["tools"] == "functions":
        tools = [{"type": "function", "function": tool} if _is_bare(tool) else tool for tool in tools]
    return json_text(tools) if tools else None


def _is_bare(tool: Any) -> bool:
    """Whether a definition lacks the wrapper that templates take: ``{"type": "function", "function": ...}``."""
    return isinstance(tool, dict) and "name" in tool and "function" not in tool and "type" not in tool


def check_characters(field: str, text: str | None) -> None:
    if text is None or text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            field, f"holds half of a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character"
        ) from error


def edit_text(value: dict[str, Any], column: str, change: Callable[[str], str]) -> bool:
    """Changes the text of a column in place; whether it could."""
    if not isinstance(value.get(column), str):
        return False
    value[column] = change(value[column])
    return True
