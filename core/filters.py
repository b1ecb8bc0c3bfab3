"""The filter as text, the same in the URL, in ``--filter`` and in an export's manifest.

``status=unlearned,partly`` keeps either; ``stage!=a`` keeps all but these; ``nll=0.5..2`` is a range, with either end
optional; ``~`` is "not measured"; ``q=words`` searches the row's text; ``sort=-nll`` sorts downwards. Commas and
percent signs inside a value are percent-encoded once more, so that every value reads back unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode

from core.errors import UserError, unknown_name
from core.types import Column, Filter, Term

UNKNOWN = "~"
# Keys of a page's address that are not conditions.
PAGE_KEYS = frozenset({"run", "sample", "cursor", "back", "other", "routes", "item", "by"})
# Columns that every run has, whatever its kinds declare.
FIXED = (
    Column("ordinal", "number", "#", "Position in the training order.", indexed=True),
    Column("sid", "text", "id", "The sample's id.", indexed=True),
    Column("cluster", "category", "Cluster", "Group of the clusters page; with a dot, a part of one; 0: in no group."),
    Column("reviewed", "category", "Reviewed", "Whether a person reviewed the sample: yes, agrees or differs."),
    Column("picked", "category", "Set", "Number of a set of samples that a person picked in the table or on a map."),
    Column("tag", "category", "Tag", "A tag that a person put on the sample; not given: no tag."),
    Column(
        "judged",
        "category",
        "Judged by",
        "people: where a person reviewed a sample, their status and cause count in place of the verdict's.",
    ),
)
# The term that lets reviews count in place of verdicts, in filters, counts and recipes alike.
BY_PEOPLE = Term("judged", "in", ("people",))


def _encode(value: object) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.12g}"
    text = quote(str(value), safe=" /:;@$&=+!*'()?#[]<>|{}\"\\^`")
    return "%7E" if text == UNKNOWN else text


def _decode(text: str) -> str | None:
    return None if text == UNKNOWN else unquote(text)


def to_query(selection: Filter) -> dict[str, str]:
    """The filter as ordered URL parameters; empty for the filter that keeps everything."""
    out: dict[str, str] = {}
    for term in selection.terms:
        key = f"{term.column}!" if term.op == "not_in" else term.column
        if term.op == "range":
            low, high = term.values
            out[key] = f"{'' if low is None else _encode(low)}..{'' if high is None else _encode(high)}"
        else:
            out[key] = ",".join(_encode(v) for v in term.values)
    if selection.text:
        out["q"] = selection.text
    if selection.sort != "ordinal" or selection.descending:
        out["sort"] = ("-" if selection.descending else "") + selection.sort
    return out


def by_people(selection: Filter) -> bool:
    """Whether reviews count in place of verdicts under this filter."""
    return BY_PEOPLE in selection.terms


def to_text(selection: Filter) -> str:
    """The filter as one URL query string."""
    return urlencode(to_query(selection))


def _number(column: Column, text: str) -> float | None:
    if text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UserError(
            f"{column.name}={text!r} is not a range.",
            f"{column.label} is a number.",
            f"Write {column.name}=0.5..2, {column.name}=..2 or {column.name}={UNKNOWN} for not measured.",
        )
    return value


def _term(column: Column, negative: bool, text: str) -> Term:
    if column.kind == "number" and text != UNKNOWN and not negative:
        low, dots, high = text.partition("..")
        if not dots:
            high = low
        return Term(column.name, "range", (_number(column, low), _number(column, high)))
    values: list[object] = [_decode(part) for part in text.split(",")]
    if column.kind in ("flag", "number"):
        values = [None if v is None else _number(column, str(v)) for v in values]
        if column.kind == "flag":
            if any(v not in (0, 1, None) for v in values):
                raise UserError(f"{column.name}={text!r} is not a choice.", f"There are: 1, 0, {UNKNOWN}.")
            values = [None if v is None else int(v) for v in values]  # type: ignore[call-overload]
    return Term(column.name, "not_in" if negative else "in", tuple(values))


def from_query(query: Mapping[str, str] | str, columns: Iterable[Column]) -> Filter:
    """The filter that ``to_query`` wrote.

    Args:
        query: URL parameters or a query string, with or without a leading ``?``; page keys are passed over.
        columns: the run's columns; ``FIXED`` are added.

    Raises:
        UserError: unknown column (names the choices) or a value that the column cannot have.
    """
    if isinstance(query, str):
        query = dict(parse_qsl(query.lstrip("?"), keep_blank_values=True, strict_parsing=False))
    by_name = {c.name: c for c in (*FIXED, *columns)}
    terms: list[Term] = []
    text, sort, descending = "", "ordinal", False
    for key, value in query.items():
        if key in PAGE_KEYS:
            continue
        if key == "q":
            text = value
        elif key == "sort":
            descending, sort = value.startswith("-"), value.removeprefix("-")
            if sort not in by_name:
                raise unknown_name("column", sort, by_name)
        else:
            negative, name = key.endswith("!"), key.removesuffix("!")
            if name not in by_name:
                raise unknown_name("column", name, by_name)
            terms.append(_term(by_name[name], negative, value))
    return Filter(tuple(terms), text, sort, descending)


def describe(
    selection: Filter, columns: Iterable[Column] = (), word: Callable[[str, object], str] = lambda _, value: str(value)
) -> str:
    """The filter in words; ``all samples`` for the empty one.

    Args:
        columns: the run's columns, for their labels.
        word: column name and value to what a person reads; by default the value itself.
    """
    labels = {c.name: c.label for c in (*FIXED, *columns)}
    parts = []
    for term in selection.terms:
        label = labels.get(term.column, term.column)
        if term.op == "range":
            low, high = term.values
            if low is None:
                parts.append(f"{label} ≤ {high:g}" if high is not None else f"{label} measured")
            else:
                parts.append(f"{label} ≥ {low:g}" if high is None else f"{label} {low:g} to {high:g}")
        else:
            values = ", ".join("not measured" if v is None else word(term.column, v) for v in term.values)
            parts.append(f"{label} {'is not' if term.op == 'not_in' else 'is'} {values}")
    if selection.text:
        parts.append(f"text contains “{selection.text}”")
    return "; ".join(parts) or "all samples"
