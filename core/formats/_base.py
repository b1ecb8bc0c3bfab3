"""What a format declares, and what all formats share: roles, columns, id, stage and source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.errors import UserError, unknown_name
from core.formats._cells import Notes, RowError, cell, check_characters, json_text
from core.formats._layouts import Layout
from core.types import Message, Shape, Tokens

_IMAGES = ("image", "images", "image_path", "image_paths", "image_url", "image_urls", "image_file", "pixel_values")
# Columns of other trainers' multimodal data, and what they hold.
MEDIA: Mapping[str, str] = {
    **dict.fromkeys(_IMAGES, "an image"),
    **dict.fromkeys(("video", "videos", "video_path", "video_url", "video_file"), "a video"),
    **dict.fromkeys(("audio", "audios", "audio_path", "audio_url", "audio_file", "input_features"), "sound"),
}
# Where trainers of other models put them in the text.
_MARKER = re.compile(
    r"<(?:image|video|audio)>|<\|(?:image|video|audio)(?:_pad|_\d+)?\|>|<image_soft_token>|<start_of_image>|\[IMG\]"
)
# Presets pass these on to the chat template.
READ_ELSEWHERE = ("chat_template_kwargs",)
# Templates know them; trainers hand them over from ``chat_template_kwargs`` only.
UNTRAINED: Mapping[str, str] = {
    "documents": "trainers do not hand it to the template either, so it was not trained",
}
EMPTY: tuple[Any, ...] = (None, "", [], {})

# Column -> example values that are not null, as ``detect`` sees them.
Columns = Mapping[str, Sequence[Any]]


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
    tokens: Tokens | None = None


ID, STAGE, SOURCE = (
    Role("id", "Id", False, ("id",), "The row's own name; used where it is unique in the dataset."),
    Role("stage", "Training stage", False, ("stage",), "Which stage of training the row belongs to."),
    Role("source", "Source", False, ("source",), "Where the row comes from."),
)
SHARED_ROLES = (ID, STAGE, SOURCE)
TOOLS = Role("tools", "Tools", False, ("tools", "functions"), "Tool definitions, as a list or its JSON text.")
SYSTEM = Role(
    "system",
    "System prompt",
    False,
    ("system", "system_prompt", "systemInstruction", "system_instruction"),
    "Goes before the first turn.",
)


class Find(Protocol):
    def __call__(self, columns: Columns) -> tuple[float, dict[str, str]]:
        """How well the columns fit, in [0, 1], and which of them plays which own role; 0: they are of another shape.

        1 is a sure fit. Below 0.5 the format is offered and never chosen by itself.
        """
        ...


class Convert(Protocol):
    def __call__(
        self, value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
    ) -> tuple[Sequence[Message], Shape, str | None]:
        """The row's messages, how a trainer renders it, and the JSON text of its tools; ``_cells`` reads the cells.

        Raises:
            RowError: the row cannot be read; nothing else may be raised, whatever the JSON.
        """
        ...


class Edit(Protocol):
    def __call__(
        self,
        value: dict[str, Any],
        mapping: Mapping[str, str],
        messages: Sequence[Message],
        i: int,
        change: Callable[[str], str],
    ) -> bool:
        """Puts ``change(text)`` in the place of the text of ``messages[i]``, in ``value`` itself, and nothing else.

        Returns:
            Whether it could; False where this row keeps the text in a form that cannot be changed.
        """
        ...


class Compose(Protocol):
    def __call__(self, value: dict[str, Any], mapping: Mapping[str, str], prompt: str, answer: str) -> bool:
        """Makes ``value`` a row of one question and one answer, in place. Its system prompt and other columns stay.

        Returns:
            Whether it could.
        """
        ...


class Describe(Protocol):
    def __call__(self, value: Mapping[str, Any], mapping: Mapping[str, str]) -> Layout | None:
        """How rows like ``value`` are laid out, for the trainers' configurations; None: as no layout says."""
        ...


class Tokenised(Protocol):
    def __call__(self, value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes) -> Tokens:
        """The row's ids, and which of them carried loss, where it was tokenised before training.

        Raises:
            RowError: the row cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """One shape of rows. Its file is ``core/formats/<name>.py`` and ends with ``KIND = Format(...)``.

    ``tokenised`` is for rows of token ids only.

    Whoever leaves ``edit``, ``compose`` or ``describe`` out says that it cannot be done: recipes then use rows as they
    came, exports leave their configuration out, and both say so.

    Attributes:
        name, label, help: the file's name, what a person reads, one or two sentences.
        own_roles: the roles this shape has besides id, stage and source; each with the columns it is found under.
        find, convert, edit, compose, describe, tokenised: see the protocols above.
        examples: at least two rows under the default column names; tests read, vary and edit them.
        follows: columns that only repeat what the roles' columns say, so that nothing is lost by not reading them.
    """

    name: str
    label: str
    help: str
    own_roles: tuple[Role, ...]
    find: Find
    convert: Convert
    examples: tuple[Mapping[str, Any], ...]
    edit: Edit | None = None
    compose: Compose | None = None
    describe: Describe | None = None
    tokenised: Tokenised | None = None
    follows: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[Role, ...]:
        return self.own_roles + SHARED_ROLES

    def trained_columns(self, mapping: Mapping[str, str]) -> tuple[str, ...]:
        """The columns that training reads: those of the own roles."""
        return tuple(mapping[role.name] for role in self.own_roles if role.name in mapping)

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
        self._refuse_media(value, mapping)
        messages, shape, tools = self.convert(value, mapping, notes)
        messages = tuple(messages)
        for i, message in enumerate(messages):
            for text in (message.role, message.content, message.tool_calls, message.name, message.reasoning):
                if text is not None and not text.isascii():
                    check_characters(f"turn {i + 1}", text)
            if marker := _MARKER.search(message.content):
                notes.add(f"the text holds the marker {marker[0]}; what a trainer put in its place is not read")
            if not message.content and message.tool_calls is None and message.role in ("assistant", "text"):
                notes.add("an empty answer is kept")
        check_characters("tools", tools)
        if shape not in ("text", "tokens") and all(message.role != "assistant" for message in messages):
            notes.add("no turn of the assistant")
        tokens = None if self.tokenised is None else self.tokenised(value, mapping, notes)
        if tokens is not None and not any(tokens.trained):
            notes.add("no token carried loss")
        return Parsed(messages, shape, tools, tuple(notes), tokens)

    def _refuse_media(self, value: Mapping[str, Any], mapping: Mapping[str, str]) -> None:
        """Raises RowError where a column beside the mapped ones holds an image, a video or sound."""
        for column in value:
            if column.casefold() in MEDIA and column not in mapping.values() and value[column] not in EMPTY:
                raise RowError(column, f"holds {MEDIA[column.casefold()]}; only text can be diagnosed")

    def unread(self, value: Mapping[str, Any], mapping: Mapping[str, str]) -> list[str]:
        """Columns of a row that hold something and that neither a role nor a preset reads."""
        read = {*mapping.values(), *READ_ELSEWHERE, *self.follows}
        return [c for c, cell in value.items() if c not in read and cell not in EMPTY]

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


def named_columns(roles: Sequence[Role], columns: Columns) -> dict[str, str]:
    """Role -> column for the roles whose default names occur, by preference; letter case is ignored if need be."""
    mapping: dict[str, str] = {}
    by_fold = {name.casefold(): name for name in reversed(list(columns))}
    for role in roles:
        for name in role.columns:
            if column := (name if name in columns else by_fold.get(name)):
                mapping[role.name] = column
                break
    return mapping


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
    labels: dict[str, str | None] = {ID.name: None, STAGE.name: None, SOURCE.name: None}
    for role in SHARED_ROLES:
        label = cell(value, mapping, role.name)
        if label is None:
            continue
        if not isinstance(label, str):
            if isinstance(label, int) and not isinstance(label, bool):
                label = str(label)
            elif role is ID:
                notes.add("the row's id is neither text nor a whole number; one was made from the content")
                label = None
            else:
                label = json_text(label)
        check_characters(mapping.get(role.name, role.name), label)
        labels[role.name] = label
    return Labels(labels["id"], labels["stage"], labels["source"], tuple(notes))
