"""Which format the columns of a dataset speak for, and what to say when none fits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.formats._base import Columns
from core.intake import other_data
from core.intake.records import Record
from core.plugins import kind, kinds
from core.types import Reading

# Values of a column that formats look at; characters of one that a person sees.
EXAMPLES = 50
EXAMPLE_CHARS = 200
# A format below this is offered, never chosen by itself.
SURE = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that fits, with its score in [0, 1], the mapping it would use and why."""

    format: str
    label: str
    score: float
    mapping: Mapping[str, str]
    reason: str


def columns(records: Iterable[Record]) -> dict[str, list[Any]]:
    """Column to its first example values that are not null, in the order the columns appear.

    Of yes and no both are among them wherever both occur: one false in a million rows changes what the data is.
    """
    found: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.value.items():
            values = found.setdefault(name, [])
            if value is not None and (len(values) < EXAMPLES or (isinstance(value, bool) and value not in values)):
                values.append(value)
    return found


def shown(columns: Columns) -> dict[str, str]:
    """Column to its first example value as text that is safe to show: cut, without half surrogate pairs."""
    return {_safe(name): _safe(_text(values[0]))[:EXAMPLE_CHARS] if values else "" for name, values in columns.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _safe(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def candidates(columns: Columns) -> tuple[Candidate, ...]:
    """The formats that fit the columns, best first."""
    found = []
    for format in kinds("formats").values():
        score, mapping = format.detect(columns)
        if score > 0:
            reason = ", ".join(f"{role} from {column!r}" for role, column in mapping.items())
            found.append(Candidate(format.name, format.label, round(score, 3), mapping, reason))
    return tuple(sorted(found, key=lambda candidate: (-candidate.score, candidate.format)))


def settled(container: str, asked: Reading | None, found: Sequence[Candidate], columns: Columns, file: str) -> Reading:
    """The reading: what was asked for by hand, the rest as detected.

    Raises:
        UserError: no format fits, or what was asked for does not exist or does not fit the columns.
    """
    if asked and asked.format:
        format = kind("formats", asked.format)
        mapping = asked.mapping or next((c.mapping for c in found if c.format == format.name), {})
        format.check_mapping(mapping, list(columns))
        return Reading(container, format.name, dict(mapping))
    if found and found[0].score >= SURE:
        if (error := other_data.refusal(columns, found[0].mapping, file)) is not None:
            raise error
        return Reading(container, found[0].format, dict(found[0].mapping))
    if other_data.pair_of(columns):
        raise other_data.preferences(columns, file)
    raise other_data.misfit(columns, file) or _nothing_fits(columns, file)


def _nothing_fits(columns: Columns, file: str) -> UserError:
    known = "; ".join(
        f"{format.name} ({', '.join(role.columns[0] for role in format.own_roles if role.required)})"
        for format in kinds("formats").values()
    )
    ids = "The rows are token ids already; the text they were made from is needed. " if "input_ids" in columns else ""
    return UserError(
        f"No known format fits {file}.",
        f"{ids}Columns found: {', '.join(map(_safe, list(columns)[:40]))}. Formats and the columns they need: {known}.",
        "Choose a format and say which column plays which role.",
    )
