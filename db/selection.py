"""A run's verdict table, and a Filter as conditions on it.

Column names in SQL come only from what the run declares; everything else is a bound value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Column as SqlColumn
from sqlalchemy import (
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    Select,
    SmallInteger,
    Table,
    Text,
    and_,
    case,
    false,
    func,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from core.errors import UserError, unknown_name
from core.types import Column, Filter, Run, Term
from db import search
from db.models import grouped, overrides, picked, picks, run_outputs, sample_bodies, tags
from db.text import folded, storable

# Longest searched text. SQLite refuses LIKE patterns above 50,000 bytes; nobody types this much.
LONGEST_SEARCH = 1000
_FIXED = {"ordinal": "number", "sid": "text"}
_TYPES: dict[str, Any] = {"category": Text, "text": Text, "number": Float, "flag": SmallInteger}
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LARGEST = 2**31 - 1
# Numbers that summaries count in bins. With every column whose values are counted they stand in one index, so that
# counting reads that alone: a row of the table itself is wider by far.
_BINNED = ("nll", "n_target")
# PostgreSQL's indexes hold 32 columns, the ordinal among them.
_MOST = 31
# Conditions on tables of their own, by the names that the filter gives them (core/filters.py).
_SETS = ("cluster", "picked", "reviewed", "tag", "judged")
# What a person may say in place of the verdict.
REVIEWED = ("status", "cause")
# The term of a filter under which reviews count in place of verdicts, and its one value.
_JUDGED, _PEOPLE = "judged", "people"
_SET = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def table_name(run_id: int) -> str:
    """Name of the run's verdict table."""
    return f"verdicts_{run_id:d}"


@dataclass(frozen=True, slots=True)
class _Key:
    """What a verdict table follows from. Two hundred columns are compared, not hashed: mostly they are the same."""

    run_id: int
    columns: tuple[Column, ...] = field(hash=False)


def verdicts(run: Run) -> Table:
    """The run's verdict table: ``ordinal`` (primary key), ``sid``, then the run's columns; NULL = not measured."""
    return _table(_Key(run.id, run.columns))


# Tables are kept: statements over the same table are compiled once.
@lru_cache(maxsize=64)
def _table(key: _Key) -> Table:
    run_id, columns = key.run_id, key.columns
    names = [c.name for c in columns]
    for name in names:
        if not _NAME.fullmatch(name) or name in _FIXED or names.count(name) > 1:
            raise ValueError(f"{name!r} cannot be a column: lower-case identifiers of up to 63 letters, each once")
    name = table_name(run_id)
    table = Table(
        name,
        MetaData(),
        SqlColumn("ordinal", Integer, primary_key=True, autoincrement=False),
        SqlColumn("sid", Text, nullable=False),
        *(SqlColumn(c.name, _TYPES[c.kind]) for c in columns),
    )
    # The ordinal at the end makes the order total, so that a page is one walk along the index.
    for place, column in enumerate(["sid", *(c.name for c in columns if c.indexed)]):
        Index(f"ix_{name}_{place}", table.c[column], table.c.ordinal)
    if together := _counted(columns):
        Index(f"ix_{name}_counted", *(table.c[name] for name in together), table.c.ordinal)
    return table


def _counted(columns: tuple[Column, ...]) -> list[str]:
    categories = [c.name for c in columns if c.indexed and c.kind in ("category", "flag")]
    return (categories + [c.name for c in columns if c.indexed and c.name in _BINNED])[:_MOST]


def counted_together(run: Run, names: Iterable[str], chosen: Filter) -> frozenset[str]:
    """What ``condition`` should compare without an index of its own, for a count over the columns ``names``.

    Where everything stands in the one index of counted columns, that is read from end to end. A range would lure the
    planner to its own index, and from there to a row of the table for each hit.
    """
    together = frozenset(_counted(run.columns))
    if by_people(chosen):  # reviews stand in a table of their own
        return frozenset()
    return together if {*names, *(t.column for t in chosen.terms)} <= together else frozenset()


@lru_cache(maxsize=64)
def _kinds(key: _Key) -> Mapping[str, str]:
    return _FIXED | {c.name: c.kind for c in key.columns}


def kind_of(run: Run, name: str) -> str:
    """The column's kind; raises UserError for a column the run does not have."""
    kinds = _kinds(_Key(run.id, run.columns))
    if name not in kinds:
        raise unknown_name("column", name, kinds)
    return kinds[name]


def column(run: Run, name: str) -> SqlColumn[Any]:
    """The SQL column; raises UserError for a column the run does not have."""
    kind_of(run, name)
    return verdicts(run).c[name]


def by_people(chosen: Filter) -> bool:
    """Whether reviews count in place of verdicts under the filter."""
    return any(t.column == _JUDGED and t.op == "in" and t.values == (_PEOPLE,) for t in chosen.terms)


def shown(run: Run, name: str, chosen: Filter) -> ColumnElement[Any]:
    """The column as the filter wants it read: status and cause as a person reviewed them, where it says so.

    Raises:
        UserError: a column the run does not have.
    """
    own = column(run, name)
    if name not in REVIEWED or not by_people(chosen):
        return own
    opinion = overrides.c[name]
    mine = and_(overrides.c.run_id == run.id, opinion.is_not(None))
    reviewed = own.table.c.ordinal.in_(select(overrides.c.ordinal).where(mine))
    value = select(opinion).where(mine, overrides.c.ordinal == own.table.c.ordinal).scalar_subquery()
    return case((reviewed, value), else_=own)


def _compared(run: Run, name: str, chosen: Filter) -> ColumnElement[Any]:
    """The column as it is compared with values: whole-number columns with floats, so that 0.5 is not rounded."""
    whole = name == "ordinal" or kind_of(run, name) == "flag"
    return type_coerce(column(run, name), Float) if whole else shown(run, name, chosen)


def number_column(run: Run, name: str) -> SqlColumn[Any]:
    """The SQL column of a number or flag; raises UserError for any other."""
    if kind_of(run, name) not in ("number", "flag"):
        numbers = ["ordinal"] + [c.name for c in run.columns if c.kind in ("number", "flag")]
        raise UserError(f"Column {name!r} is not a number.", f"Numbers are: {', '.join(numbers)}.")
    return column(run, name)


def condition(
    run: Run, chosen: Filter, plain: frozenset[str] = frozenset(), walked: bool = False
) -> ColumnElement[bool]:
    """True for the rows that the filter keeps; the sort is left to the caller.

    Args:
        plain: number columns whose ranges are compared row by row, not found through an index.
        walked: the caller stops after a few rows of many, so that a text is looked for row by row; otherwise all rows
            that hold it are found first, by an index where there is one.

    Raises:
        UserError: an unknown column or a value the column cannot have.
    """
    parts = [_term(run, t, chosen, t.column in plain) for t in chosen.terms]
    if chosen.text:
        parts.append(_holds_text(run, chosen.text, walked))
    return and_(verdicts(run).c.ordinal.is_not(None), *parts)


def _elsewhere(run: Run, term: Term) -> ColumnElement[bool]:
    """Rows in sets that are kept beside the verdicts: groups of the latest grouping, rows picked by hand."""
    parts: list[ColumnElement[bool]] = []
    if term.column == _JUDGED:
        if term.op != "in" or term.values != (_PEOPLE,):
            raise unknown_name("judge", ", ".join(map(str, term.values)), (_PEOPLE,))
        return true()
    if term.column == "tag":
        return _tagged(run, term)
    for value in term.values if term.column != "reviewed" else ():
        numbers = _SET.fullmatch(str(value))
        if numbers is None:
            raise UserError(f"{term.column}={value!r} is not a set of rows.", "Sets have numbers, parts a dot: 3, 3.1.")
        first, second = int(numbers[1]), numbers[2]
        if term.column == "picked":
            ordinals = select(picked.c.ordinal).join(picks, picks.c.id == picked.c.pick_id)
            ordinals = ordinals.where(picks.c.run_id == run.id, picks.c.id == first)
        else:
            ordinals = select(grouped.c.ordinal).where(grouped.c.run_id == run.id, grouped.c.group == first)
            if second is not None:
                ordinals = ordinals.where(grouped.c.part == int(second))
        parts.append(verdicts(run).c.ordinal.in_(ordinals))
    if term.column == "reviewed":
        parts = [verdicts(run).c.ordinal.in_(_reviewed(run, str(value))) for value in term.values]
    inside = or_(false(), *parts)
    return inside if term.op == "in" else not_(inside)


def _tagged(run: Run, term: Term) -> ColumnElement[bool]:
    """Rows with one of the tags; None stands for rows without any."""
    ordinal, mine = verdicts(run).c.ordinal, select(tags.c.ordinal).where(tags.c.run_id == run.id)
    named = [storable(str(value)) for value in term.values if value is not None]
    parts = [ordinal.in_(mine.where(tags.c.tag.in_(named)))] if named else []
    parts += [ordinal.not_in(mine)] if None in term.values else []
    inside = or_(false(), *parts)
    return inside if term.op == "in" else not_(inside)


def _reviewed(run: Run, how: str) -> Select[Any]:
    """Ordinals of the samples of which a person says anything, the verdict's own or something else."""
    rows = verdicts(run).alias()
    ordinals = select(overrides.c.ordinal).join(rows, rows.c.ordinal == overrides.c.ordinal)
    ordinals = ordinals.where(overrides.c.run_id == run.id)
    # Where a person left a part to the verdict, they agree with it. Not measured is unlike anything said.
    same = and_(
        *(or_(overrides.c[f].is_(None), func.coalesce(rows.c[f], "") == overrides.c[f]) for f in ("status", "cause"))
    )
    conditions = {"yes": [], "agrees": [same], "differs": [not_(same)]}
    if how not in conditions:
        raise unknown_name("kind of review", how, conditions)
    return ordinals.where(*conditions[how])


def _term(run: Run, term: Term, chosen: Filter, plain: bool) -> ColumnElement[bool]:
    if term.column in _SETS:
        return _elsewhere(run, term)
    if term.op == "range":
        return _range(run, term, plain)
    kind, col = kind_of(run, term.column), _compared(run, term.column, chosen)
    values = [_value(term.column, kind, v) for v in term.values if v is not None]
    unknown = None in term.values
    if term.op == "in":
        return or_(false(), *([col.in_(values)] if values else []), *([col.is_(None)] if unknown else []))
    if term.op == "not_in":  # the complement of "in": rows where the column is not measured stay unless named
        listed = col.not_in(values)
        if unknown:
            return and_(col.is_not(None), listed)
        return or_(col.is_(None), listed)
    raise UserError(f"There is no condition {term.op!r}.", "There are: in, not_in, range.")


def _range(run: Run, term: Term, plain: bool) -> ColumnElement[bool]:
    col: ColumnElement[Any] = number_column(run, term.column)
    if term.column == "ordinal" or kind_of(run, term.column) == "flag":
        col = type_coerce(col, Float)
    if plain:
        col = UnaryExpression(col, operator=custom_op("+"), type_=Float())
    if len(term.values) != 2:
        raise UserError(f"The range of {term.column!r} has {len(term.values)} ends.", "It has two, each may be open.")
    low, high = (None if v is None else _value(term.column, "number", v) for v in term.values)
    bounds = ([] if low is None else [col >= low]) + ([] if high is None else [col <= high])
    return and_(col.is_not(None), *bounds)


def _value(name: str, kind: str, value: Any) -> Any:
    """The value as the column's type; a wrong type is an error here, not one deep in the database."""
    if kind in ("category", "text"):
        return storable(str(value))
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise UserError(f"{name}={value!r} is not a number.", f"Column {name!r} holds numbers.")
    return number


def cursor_value(run: Run, name: str, cursor: tuple[Any, Any]) -> tuple[Any, int]:
    """A cursor that came back from outside, checked: (sort value or None, ordinal)."""
    try:
        value, ordinal = cursor
        ordinal = int(ordinal)
    except (TypeError, ValueError, OverflowError):
        ordinal = _LARGEST + 1
    if abs(ordinal) > _LARGEST:
        raise UserError("This address points to no page of the table.", "", "Go back to the first page.")
    return (None if value is None else _value(name, kind_of(run, name), value)), ordinal


def _holds_text(run: Run, text: str, walked: bool) -> ColumnElement[bool]:
    """The sample's id, whole text or output holds ``text`` as it stands, letter case aside."""
    if len(text) > LONGEST_SEARCH:
        raise UserError(
            f"The searched text has {len(text)} characters.",
            f"At most {LONGEST_SEARCH} are searched for.",
            "Search for a part of it.",
        )
    rows, wanted = verdicts(run), folded(text)
    if walked:
        own = select(sample_bodies.c.ordinal).where(
            sample_bodies.c.dataset_id == run.spec.dataset_id,
            sample_bodies.c.ordinal == rows.c.ordinal,
            sample_bodies.c.search.contains(wanted, autoescape=True),
        )
        return or_(own.correlate(rows).exists(), search.holding(rows.c.ordinal, {run_outputs: run.id}, wanted))
    return search.holding(rows.c.ordinal, {sample_bodies: run.spec.dataset_id, run_outputs: run.id}, wanted)
