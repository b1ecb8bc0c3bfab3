"""Which format fits the columns of a dataset, and what to say if none does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from core.errors import UserError
from core.formats._base import Columns
from core.intake import other_data
from core.intake.records import Record
from core.plugins import kind, kinds
from core.types import Reading

# How many values of a column formats look at, and how many characters of a value a person sees.
EXAMPLES = 50
EXAMPLE_CHARS = 200
# A format with a lower score is offered, but not chosen by itself.
SURE = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that fits, with its score in [0, 1], its mapping, and the reason."""

    format: str
    label: str
    score: float
    mapping: Mapping[str, str]
    reason: str


def columns(records: Iterable[Record]) -> dict[str, list[Any]]:
    """Each column with its first values that are not null, columns in the order of their appearance.

    Where both true and false occur, both are among the values: one false in a million rows changes what the data is.
    So does any value of a column that says which answers are wanted.
    """
    examples: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.value.items():
            values = examples.get(name)
            if values is None:
                values = examples[name] = []
            if value is None:
                continue
            if len(values) < EXAMPLES or (_is_flag(name, value, values) and value not in values):
                values.append(value)
    return examples


def _is_flag(name: str, value: Any, values: Sequence[Any]) -> bool:
    return isinstance(value, bool) or (
        name in other_data.KTO and isinstance(value, int | float | str) and len(values) < 2 * EXAMPLES
    )


def example_texts(columns: Columns) -> dict[str, str]:
    """Each column with its first value as text that is safe to show: cut, and without half surrogate pairs."""
    return {_safe(name): _safe(_text(values[0]))[:EXAMPLE_CHARS] if values else "" for name, values in columns.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _safe(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def candidates(columns: Columns) -> tuple[Candidate, ...]:
    """The formats that fit the columns, best first."""
    fits = []
    for format in kinds("formats").values():
        score, mapping = format.detect(columns)
        if score > 0:
            reason = ", ".join(f"{role} from {column!r}" for role, column in mapping.items())
            fits.append(Candidate(format.name, format.label, round(score, 3), mapping, reason))
    return tuple(sorted(fits, key=lambda candidate: (-candidate.score, candidate.format)))


def settled(
    container: str,
    choice: Reading | None,
    fits: Sequence[Candidate],
    columns: Columns,
    file: str,
    overrides: Mapping[str, str],
    stated: Mapping[str, str] = MappingProxyType({}),
) -> Reading:
    """The reading: what a person chose, and the rest as detected.

    Args:
        choice: made by hand; empty fields are detected.
        fits: the formats that fit, best first.
        overrides: roles whose column a person named; they go over the mapping, whoever made it.
        stated: the mapping that a trainer's configuration states. It replaces what the format finds for its own roles;
            a column that is not there is left out where its role can do without.

    Raises:
        UserError: no format fits, or the choice does not exist or does not fit the columns.
    """
    if choice and choice.format:
        format = kind("formats", choice.format)
        mapping = choice.mapping or next((c.mapping for c in fits if c.format == format.name), {})
    elif fits and fits[0].score >= SURE:
        if (error := other_data.refusal(columns, fits[0].mapping, file)) is not None:
            raise error
        format, mapping = kind("formats", fits[0].format), fits[0].mapping
    elif other_data.pair_of(columns):
        raise other_data.preferences(columns, file)
    else:
        raise other_data.misfit(columns, file) or _nothing_fits(columns, file)
    if stated:
        needed = {role.name for role in format.own_roles if role.required}
        own = {role.name for role in format.own_roles}
        labels = {role: column for role, column in mapping.items() if role not in own}
        read = {r: c for r, c in stated.items() if r in own and (c in columns or r in needed)}
        mapping = read | {role: column for role, column in labels.items() if column not in read.values()}
    mapping = {**mapping, **overrides}
    format.check_mapping(mapping, list(columns))
    return Reading(container, format.name, mapping)


def _nothing_fits(columns: Columns, file: str) -> UserError:
    names = "; ".join(
        f"{format.name} ({', '.join(role.columns[0] for role in format.own_roles if role.required)})"
        for format in kinds("formats").values()
    )
    return UserError(
        f"No known format fits {file}.",
        f"Columns found: {', '.join(map(_safe, list(columns)[:40]))}. Formats and the columns they need: {names}.",
        "Choose a format and say which column plays which role.",
    )
