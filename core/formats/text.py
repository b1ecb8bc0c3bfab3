"""``{"text"}``: plain language modelling, loss on everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.formats._base import Columns, Format, Notes, Role, named_columns, needed, share, text_of
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


KIND = Format(
    name="text",
    label="Text",
    help="One text a row with loss on all of it; where a question ends and its answer begins is not known.",
    own_roles=(_TEXT,),
    find=_find,
    convert=_convert,
    examples=(
        {"text": "Once upon a time\nthere was a fox.", "stage": "one"},
        {"text": "  Ærlig talt: «ja»\t✓ ", "stage": "two"},
    ),
)
