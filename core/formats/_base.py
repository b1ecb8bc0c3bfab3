"""What a format declares, and the parts all formats share: roles, columns, texts, id, stage and source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import UserError, unknown_name
from core.intake.json_rows import decode_json, named_type
from core.types import Message, Shape

# Column -> example values that are not null, as ``detect`` sees them.
Columns = Mapping[str, Sequence[Any]]


class RowError(Exception):
    """One row cannot be read; it becomes a ``Problem`` and harms no other.

    Args:
        field: the key at fault, as in ``messages[2].content``.
        text: what is wrong with it and what would be right.
    """

    def __init__(self, field: str, text: str) -> None:
        self.field, self.text = field, text
        super().__init__(f"{field}: {text}")


@dataclass(frozen=True, slots=True)
class Role:
    """A part a column can play. ``columns``: names it is found under, in order of preference."""

    name: str
    label: str
    required: bool
    columns: tuple[str, ...]
    help: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a format reads from a row; fields as in ``core.types.Sample``."""

    messages: tuple[Message, ...]
    shape: Shape
    tools: str | None = None
    notes: tuple[str, ...] = ()


class Notes:
    """Remarks on one row, each kept once, in order."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        self._texts[text] = None

    def __iter__(self):
        return iter(self._texts)


ID, STAGE, SOURCE = (
    Role("id", "Id", False, ("id",), "The row's own name; used where it is unique in the dataset."),
    Role("stage", "Training stage", False, ("stage",), "Which stage of training the row belongs to."),
    Role("source", "Source", False, ("source",), "Where the row comes from."),
)
SHARED_ROLES = (ID, STAGE, SOURCE)
TOOLS = Role("tools", "Tools", False, ("tools",), "Tool definitions, as a list or its JSON text.")
SYSTEM = Role("system", "System prompt", False, ("system", "system_prompt"), "Goes before the first turn.")


@dataclass(frozen=True, slots=True)
class Format:
    """One shape of rows.

    Attributes:
        name, label, help: the file's name, what a person reads, one or two sentences.
        own_roles: the roles this shape has besides id, stage and source.
        find: columns -> (score in [0, 1], mapping of own roles); 0 = these columns are not of this shape.
        convert: (row, mapping, notes) -> messages, shape, tools; raises ``RowError``.
        examples: rows under the default column names.
    """

    name: str
    label: str
    help: str
    own_roles: tuple[Role, ...]
    find: Callable[[Columns], tuple[float, dict[str, str]]]
    convert: Callable[[Mapping[str, Any], Mapping[str, str], Notes], tuple[Sequence[Message], Shape, str | None]]
    examples: tuple[Mapping[str, Any], ...]

    @property
    def roles(self) -> tuple[Role, ...]:
        return self.own_roles + SHARED_ROLES

    def detect(self, columns: Columns) -> tuple[float, dict[str, str]]:
        """How well the columns fit, in [0, 1], and which column plays which role; (0, {}) where they do not."""
        score, mapping = self.find(columns)
        if not score:
            return 0.0, {}
        taken = set(mapping.values())
        free = {name: values for name, values in columns.items() if name not in taken and _is_label(values)}
        return score, mapping | named_columns(SHARED_ROLES, free)

    def parse(self, value: Mapping[str, Any], mapping: Mapping[str, str]) -> Parsed:
        """One row read under a mapping of roles to columns.

        Raises:
            RowError: the row cannot be read; names the field.
        """
        notes = Notes()
        messages, shape, tools = self.convert(value, mapping, notes)
        messages = tuple(messages)
        for i, message in enumerate(messages):
            for text in (message.role, message.content, message.tool_calls, message.name):
                _check_characters(f"turn {i + 1}", text)
            if not message.content and message.tool_calls is None and message.role in ("assistant", "text"):
                notes.add("an empty answer is kept")
        _check_characters("tools", tools)
        if shape != "text" and all(message.role != "assistant" for message in messages):
            notes.add("no turn of the assistant")
        return Parsed(messages, shape, tools, tuple(notes))

    def check_mapping(self, mapping: Mapping[str, str], columns: Sequence[str]) -> None:
        """Raises UserError where a role does not exist, a required one is missing, or a column is not there."""
        roles = {role.name: role for role in self.roles}
        for name in mapping:
            if name not in roles:
                raise unknown_name(f"role of the format {self.name!r}", name, roles)
        missing = [role.name for role in self.own_roles if role.required and role.name not in mapping]
        absent = sorted(set(mapping.values()) - set(columns))
        what = ""
        if missing:
            what = f"The format {self.name!r} needs a column for {' and '.join(missing)}."
        elif absent:
            what = f"There is no column named {absent[0]!r}."
        if what:
            raise UserError(what, f"Columns found: {', '.join(columns)}.", "Choose the column for each role.")


def _is_label(values: Sequence[Any]) -> bool:
    """Whether values could be ids, stages or sources: short plain text or whole numbers, not a text to translate."""
    return all(
        (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, str) and len(v) <= 200 and "\n" not in v)
        for v in values
    )


def _check_characters(field: str, text: str | None) -> None:
    if text is None or text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            field, f"holds half of a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character"
        ) from error


# ------------------------------------------------------------------------------------------------------ columns


def named_columns(roles: Sequence[Role], columns: Columns) -> dict[str, str]:
    """Role -> column for the roles whose default names occur, by preference; letter case is ignored if need be."""
    found: dict[str, str] = {}
    by_fold = {name.casefold(): name for name in reversed(columns)}
    for role in roles:
        for name in role.columns:
            if column := (name if name in columns else by_fold.get(name)):
                found[role.name] = column
                break
    return found


def share(values: Sequence[Any], fits: Callable[[Any], bool]) -> float:
    """The share of example values that fit, 0 where there are none."""
    return sum(map(fits, values)) / len(values) if values else 0.0


def is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def cell(value: Mapping[str, Any], mapping: Mapping[str, str], role: str) -> Any:
    """The value of an optional role; None where there is none, and for empty text (CSV has no other nothing)."""
    found = value.get(mapping[role]) if role in mapping else None
    return None if found == "" else found


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
    found = cell(value, mapping, "tools")
    if isinstance(found, str):
        try:
            found, _ = decode_json(found)
        except ValueError as error:
            raise RowError(mapping["tools"], f"is text that cannot be read as JSON ({error})") from error
    if isinstance(found, dict):
        found = [found]
    if found is not None and not isinstance(found, list):
        raise RowError(mapping["tools"], f"is {named_type(found)}, not a list of tools")
    return json_text(found) if found else None


@dataclass(frozen=True, slots=True)
class Labels:
    """A row's own id, stage and source; None where it has none."""

    id: str | None
    stage: str | None
    source: str | None
    notes: tuple[str, ...] = ()


def labels_of(value: Mapping[str, Any], mapping: Mapping[str, str]) -> Labels:
    """Id, stage and source; a whole number as its decimal text, exact. An id of another type is not used, with a note.

    Raises:
        RowError: text with half a surrogate pair.
    """
    notes = Notes()
    found: dict[str, str | None] = {}
    for role in SHARED_ROLES:
        label = cell(value, mapping, role.name)
        if label is not None and not isinstance(label, str):
            if isinstance(label, int) and not isinstance(label, bool):
                label = str(label)
            elif role is ID:
                notes.add("the row's id is neither text nor a whole number; one was made from the content")
                label = None
            else:
                label = json_text(label)
        _check_characters(mapping.get(role.name, role.name), label)
        found[role.name] = label
    return Labels(found["id"], found["stage"], found["source"], tuple(notes))
