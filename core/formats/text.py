"""``{"text"}``: plain language modelling, loss on everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.formats._base import Columns, Format, Role, named_columns
from core.formats._cells import Notes, edit_text, needed, share, text_of
from core.formats._layouts import Plain
from core.types import Message, Shape

_TEXT = Role("text", "Text", True, ("text",), "The whole text of the row.")


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    mapping = named_columns((_TEXT,), columns)
    # Below the other shapes: rows that keep their parts often carry the rendered text as well.
    return 0.6 * share(columns[mapping["text"]], lambda v: isinstance(v, str)) if mapping else 0.0, mapping


def _convert(
    value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
) -> tuple[Sequence[Message], Shape, str | None]:
    column, text = needed(value, mapping, "text")
    return [Message("text", text_of(text, column, notes))], "text", None


def _edit(
    value: dict[str, Any],
    mapping: Mapping[str, str],
    messages: Sequence[Message],
    i: int,
    change: Callable[[str], str],
) -> bool:
    return edit_text(value, mapping["text"], change)


def _compose(value: dict[str, Any], mapping: Mapping[str, str], prompt: str, answer: str) -> bool:
    value[mapping["text"]] = "\n".join(part for part in (prompt, answer) if part)
    return True


def _describe(value: Mapping[str, Any], mapping: Mapping[str, str]) -> Plain:
    return Plain(mapping["text"])


KIND = Format(
    name="text",
    label="Text",
    help="One text a row with loss on all of it; where a question ends and its answer begins is not known.",
    own_roles=(_TEXT,),
    find=_find,
    convert=_convert,
    edit=_edit,
    compose=_compose,
    describe=_describe,
    examples=(
        {"text": "Once upon a time\nthere was a fox.", "stage": "one"},
        {"text": "  Ærlig talt: «ja»\t✓ ", "stage": "two"},
    ),
)
