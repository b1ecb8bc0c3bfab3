"""A run's verdict table: written whole, read in pages, counts and columns under one filter."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.schema import CreateTable

from core.errors import UserError
from core.types import Column, Filter, Run, Term
from db.models import runs, samples
from db.selection import (
    REVIEWED,
    column,
    condition,
    counted_together,
    cursor_value,
    kind_of,
    number_column,
    shown,
    verdicts,
)
from db.statements import count_rows
from db.text import storable

Cursor = tuple[Any, int]
# Rows handed to the database in one call.
_BATCH = 10_000
# Columns of the sample that a page shows beside the verdict's own, unless the run declares one of that name.
_SAMPLE_COLUMNS = tuple(c for c in samples.c if c.name not in ("dataset_id", "ordinal", "sid"))

# ------------------------------------------------------------------------------------------------------ writing


def write_verdicts(
    conn: Connection, run: Run, columns: Mapping[str, Sequence[Any]], ordinals: Sequence[int], sids: Sequence[str]
) -> None:
    """Replaces the run's verdict table, and the run's columns with those of ``run``.

    Args:
        columns: (n,) values for each of ``run.columns``, no more and no less; None and NaN = not measured.
        ordinals, sids: (n,) of the samples.
    """
    declared = {c.name for c in run.columns}
    if declared != set(columns):
        raise ValueError(f"columns declared and given differ: {sorted(declared ^ set(columns))}")
    table = verdicts(run)
    table.drop(conn, checkfirst=True)
    conn.execute(CreateTable(table))
    names = [c.name for c in table.c]
    for at in range(0, len(ordinals), _BATCH):  # a million rows of a hundred columns are more objects than fit
        part = slice(at, at + _BATCH)
        cells = (_cells(c, columns[c.name][part]) for c in run.columns)
        rows = zip(ordinals[part], map(storable, sids[part]), *cells, strict=True)
        conn.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
    # Indexes on a full table take a fraction of the time that keeping them up during the inserts takes.
    for index in table.indexes:
        index.create(conn)
    # Without statistics a frequent status is thought rare, and pages get sorted anew instead of read off an index.
    conn.execute(text(f"ANALYZE {table.name}"))
    conn.execute(update(runs).where(runs.c.id == run.id).values(columns=[asdict(c) for c in run.columns]))


def _cells(declared: Column, values: Sequence[Any]) -> list[Any]:
    """(n,) what the database stores; None where nothing was measured."""
    if declared.kind in ("category", "text"):
        return [None if v is None or v != v else storable(str(v)) for v in values]
    numbers = np.asarray(values, dtype=np.float64)
    cells = numbers.astype(object)
    if declared.kind == "flag":
        measured = ~np.isnan(numbers)
        cells[measured] = numbers[measured].astype(np.int64).astype(object)
    cells[np.isnan(numbers)] = None
    values_or_none: list[Any] = cells.tolist()
    return values_or_none


def add_columns(conn: Connection, run: Run, extra: Sequence[Column]) -> Run:
    """The run with these columns at the end of its verdict table, not measured; those it has are left alone."""
    new = tuple(c for c in extra if c.name not in {d.name for d in run.columns})
    if not new:
        return run
    wider = replace(run, columns=(*run.columns, *new))
    table = verdicts(wider)
    for declared in new:
        kind = table.c[declared.name].type.compile(conn.dialect)
        conn.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {declared.name} {kind}"))
    standing = {index.name for index in verdicts(run).indexes}
    for index in table.indexes:
        if index.name not in standing:
            index.create(conn)
    conn.execute(update(runs).where(runs.c.id == run.id).values(columns=[asdict(c) for c in wider.columns]))
    return wider


def of_sids(conn: Connection, run: Run, sids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Id to the named columns and the ordinal, for those samples that the run has."""
    table = verdicts(run)
    query = select(table.c.sid, table.c.ordinal, *(column(run, n) for n in names))
    rows: dict[str, dict[str, Any]] = {}
    for at in range(0, len(sids), 500):
        part = query.where(table.c.sid.in_(sids[at : at + 500]))
        rows |= {r["sid"]: dict(r) for r in conn.execute(part).mappings()}
    return rows


def fill_column(conn: Connection, run: Run, name: str, values: Mapping[int, Any]) -> None:
    """Sets a column from ``values`` by ordinal, and to NULL in every other row."""
    table = verdicts(run)
    conn.execute(update(table).values({name: None}))
    if values:
        query = update(table).where(table.c.ordinal == bindparam("at")).values({name: bindparam("value")})
        conn.execute(query, [{"at": at, "value": value} for at, value in values.items()])


# ------------------------------------------------------------------------------------------------------- paging


def page(
    conn: Connection,
    run: Run,
    chosen: Filter,
    cursor: Cursor | None = None,
    limit: int = 50,
    backwards: bool = False,
    many: bool = False,
    names: Collection[str] = (),
) -> tuple[list[dict[str, Any]], Cursor | None, Cursor | None]:
    """One page in the filter's order: the sort column, not measured last whatever the direction, then the ordinal.

    Paging goes by the values of a row, not by counting rows, so that the last page costs what the first one does.

    Args:
        cursor: one that an earlier page gave; None begins at the first row, or with ``backwards`` at the last.
        limit: most rows on a page.
        backwards: the rows before the cursor instead of those behind it.
        many: the filter is known to keep a good part of the run. Then the order's index is walked until the page is
            full; otherwise the database may find the kept rows first and sort them.
        names: columns of the verdict table to read; none for all of them and the sample's own.

    Returns:
        Rows in display order (the verdict's columns and the sample's row, previews, lengths and copies), the cursor for
        the page before (pass ``backwards=True``), the cursor for the page behind; None where there is none.
    """
    start = None if cursor is None else cursor_value(run, chosen.sort, cursor)
    table = verdicts(run)
    plain = frozenset(t.column for t in chosen.terms if t.column != chosen.sort) if many else frozenset()
    if names:
        query = select(*(c for c in _read(run, chosen) if c.name in names))
    else:
        extra = [c for c in _SAMPLE_COLUMNS if c.name not in table.c]
        same = and_(samples.c.dataset_id == run.spec.dataset_id, samples.c.ordinal == table.c.ordinal)
        query = select(*_read(run, chosen), *extra).select_from(table.outerjoin(samples, same))
    query = query.where(condition(run, chosen, plain, walked=many))
    rows: list[dict[str, Any]] = []
    for part in _walk(query, run, chosen, start, backwards):
        rows += [dict(r) for r in conn.execute(part.limit(limit + 1 - len(rows))).mappings()]
        if len(rows) > limit:
            break
    rows, more = rows[:limit], len(rows) > limit
    if backwards:
        rows.reverse()
    if not rows:
        return [], None, None
    first, last = ((r[chosen.sort], r["ordinal"]) for r in (rows[0], rows[-1]))
    before, behind = (more, start is not None) if backwards else (start is not None, more)
    return rows, first if before else None, last if behind else None


def _read(run: Run, chosen: Filter) -> list[ColumnElement[Any]]:
    """Every column of the verdict table, as the filter wants it read."""
    return [shown(run, c.name, chosen).label(c.name) if c.name in REVIEWED else c for c in verdicts(run).c]


def _walk(query: Select[Any], run: Run, chosen: Filter, start: Cursor | None, backwards: bool) -> Iterator[Select[Any]]:
    """The queries that, one after the other, give the rows from ``start`` on.

    "Not measured last" is two walks, each along an index, over the measured and the unmeasured rows: NULLS LAST in one
    query would be a sort of everything, since an index keeps NULL at the same end for both directions.
    """
    ordinal, sort = verdicts(run).c.ordinal, shown(run, chosen.sort, chosen)
    parts: list[tuple[ColumnElement[bool] | None, tuple[ColumnElement[Any], ...], tuple[Any, ...] | None]]
    if chosen.sort == "ordinal":
        parts = [(None, (ordinal,), start and start[1:])]
    else:
        measured = start if start and start[0] is not None else None
        parts = [(sort.is_not(None), (sort, ordinal), measured)]
        parts += [(sort.is_(None), (ordinal,), start[1:] if start and start[0] is None else None)]
    if backwards:
        parts.reverse()
    if start is not None:
        while parts[0][2] is None:
            parts.pop(0)
    down = chosen.descending != backwards
    for which, key, beyond in parts:
        part = query if which is None else query.where(which)
        if beyond is not None:
            left, right = tuple_(*key), tuple_(*beyond)
            part = part.where(left < right if down else left > right)
        yield part.order_by(*(k.desc() if down else k for k in key))


def row(
    conn: Connection,
    run: Run,
    sid: str,
    judged: Filter = Filter(),  # noqa: B008, a value
    names: Collection[str] = (),
) -> dict[str, Any]:
    """The row of one sample, as ``page`` gives it under ``judged``; raises UserError where the run has no such id."""
    rows, _, _ = page(conn, run, Filter((Term("sid", "in", (sid,)), *judged.terms)), limit=1, names=names)
    if not rows:
        raise UserError(f"There is no sample {sid!r} in run {run.id}.", "", "Choose one from the table.")
    return rows[0]


def neighbours(conn: Connection, run: Run, chosen: Filter, sid: str) -> tuple[str | None, str | None]:
    """Ids before and behind the sample in the filter's order; the sample itself need not match the filter."""
    sort = column(run, chosen.sort).name
    reviewed = Filter(tuple(t for t in chosen.terms if t.column == "judged"))
    names = ("ordinal", "sid", sort)
    own = row(conn, run, sid, reviewed, names)
    at = (own[sort], own["ordinal"])
    before, _, _ = page(conn, run, chosen, at, limit=1, backwards=True, names=names)
    behind, _, _ = page(conn, run, chosen, at, limit=1, names=names)
    return (before[0]["sid"] if before else None), (behind[0]["sid"] if behind else None)


# -------------------------------------------------------------------------------------------- counts and columns


def groups(
    conn: Connection, run: Run, by: str, size: str, strength: str, chosen: Filter, order: str, limit: int, offset: int
) -> tuple[list[tuple[float, int, float, float]], int]:
    """Values of the number column ``by`` that the filter's rows have, as groups.

    Args:
        size, strength: number columns of which the largest value in a group is taken.
        order: ``size`` or ``strength``, largest first; ties by the other, then by value.

    Returns:
        (value, rows that pass, size, strength) for a page of groups, and how many groups there are.
    """
    key = number_column(run, by)
    values = select(
        key.label("key"), func.count().label("rows"),
        func.max(number_column(run, size)).label("size"), func.max(number_column(run, strength)).label("strength"),
    ).where(condition(run, chosen), key.is_not(None)).group_by(key).subquery()  # fmt: skip
    c = values.c
    first, then = (c.size, c.strength) if order == "size" else (c.strength, c.size)
    query = select(values).order_by(first.desc(), then.desc(), c.key).limit(limit).offset(offset)
    page = [(r.key, r.rows, r.size, r.strength) for r in conn.execute(query)]
    return page, count_rows(conn, values)


def count(conn: Connection, run: Run, chosen: Filter) -> int:
    """Number of rows that the filter keeps."""
    kept = condition(run, chosen, counted_together(run, (), chosen))
    return count_rows(conn, verdicts(run), kept)


def ordinals(conn: Connection, run: Run, chosen: Filter, batch: int = _BATCH) -> Iterator[int]:
    """Ordinals of the rows that the filter keeps, in training order, ``batch`` of them in memory."""
    at = verdicts(run).c.ordinal
    query = select(at).where(condition(run, chosen)).order_by(at)
    yield from conn.execute(query.execution_options(yield_per=batch)).scalars()


def group_counts(conn: Connection, run: Run, by: Sequence[str], chosen: Filter) -> list[tuple[tuple[Any, ...], int]]:
    """(values of the columns ``by``, rows) for each combination that occurs, sorted by the values, None last."""
    keys = [shown(run, name, chosen).label(f"k{i}") for i, name in enumerate(by)]
    kept = condition(run, chosen, counted_together(run, by, chosen))
    query = select(*keys, func.count()).select_from(verdicts(run)).where(kept)
    # Grouped by place: a computed key given twice is another expression to PostgreSQL.
    query = query.group_by(*(text(str(i)) for i in range(1, len(keys) + 1)))
    counts = [(tuple(r[:-1]), r[-1]) for r in conn.execute(query)]
    return sorted(counts, key=lambda pair: [(v is None, v) for v in pair[0]])


def verdict_columns(
    conn: Connection, run: Run, names: Sequence[str], chosen: Filter | None = None
) -> dict[str, np.ndarray]:
    """Columns in training order, of the rows that ``chosen`` keeps where it is given.

    Returns:
        (n,) float64 with NaN for numbers and flags, (n,) object with None for the rest.
    """
    kinds = [kind_of(run, name) for name in names]
    query = select(*(column(run, name) for name in names)).order_by(verdicts(run).c.ordinal)
    if chosen is not None:
        query = query.where(condition(run, chosen))
    parts: list[list[np.ndarray]] = [[] for _ in names]
    for rows in conn.execute(query.execution_options(yield_per=_BATCH)).partitions():
        for part, kind, values in zip(parts, kinds, zip(*rows, strict=True), strict=True):
            part.append(np.array(values, dtype=np.float64 if kind in ("number", "flag") else object))
    empty = [np.empty(0, np.float64 if kind in ("number", "flag") else object) for kind in kinds]
    return {name: np.concatenate([e, *p]) for name, e, p in zip(names, empty, parts, strict=True)}


def cube(
    conn: Connection, run: Run, by: Sequence[str], bins: Mapping[str, Sequence[float]], chosen: Filter
) -> list[tuple[tuple[Any, ...], int]]:
    """Everything a summary counts, in one walk over the rows that the filter keeps.

    Args:
        by: columns whose values make groups.
        bins: number column to b + 1 ascending edges; a group's value is its bin, the last one closed on both sides;
            -1 where not measured, -2 outside the edges.

    Returns:
        (values of ``by``, then bins in order) and rows of each group.
    """
    places = [_place(number_column(run, name), edges) for name, edges in bins.items()]
    keys = [*(shown(run, name, chosen) for name in by), *places]
    inner = select(*(k.label(f"k{i}") for i, k in enumerate(keys)))
    kept = condition(run, chosen, counted_together(run, (*by, *bins), chosen))
    rows = inner.select_from(verdicts(run)).where(kept).subquery()
    groups = [rows.c[f"k{i}"] for i in range(len(keys))]
    counted = select(*groups, func.count()).group_by(*groups)
    return [(tuple(values), n) for *values, n in conn.execute(counted)]


def _place(col: ColumnElement[Any], edges: Sequence[float]) -> ColumnElement[Any]:
    """Index of the bin that holds the value; -1 NULL, -2 outside."""
    b = len(edges) - 1
    inside = [(col < edges[i + 1], i) for i in range(b - 1)] + [(col <= edges[b], b - 1)]
    return case((col.is_(None), -1), (or_(col < edges[0], col > edges[b]), -2), *inside)


def means(conn: Connection, run: Run, names: Sequence[str]) -> dict[str, float]:
    """Mean of each number column over the run; columns that are not measured anywhere are left out."""
    values = conn.execute(select(*(func.avg(number_column(run, name)) for name in names))).one() if names else ()
    return {name: float(value) for name, value in zip(names, values, strict=True) if value is not None}


def judged(conn: Connection, run: Run, chosen: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Ordinal to the verdict columns of those samples."""
    table = verdicts(run)
    rows: dict[int, dict[str, Any]] = {}
    for at in range(0, len(chosen), 500):
        query = select(table).where(table.c.ordinal.in_(chosen[at : at + 500]))
        rows |= {r["ordinal"]: dict(r) for r in conn.execute(query).mappings()}
    return rows


def category_codes(
    conn: Connection,
    run: Run,
    name: str,
    chosen: Filter = Filter(),  # noqa: B008, a value
) -> tuple[np.ndarray, list[str | None]]:
    """(n,) int32 codes of a category column in training order, and the values they stand for by first appearance.

    All rows are read; ``chosen`` says whether reviews count in place of verdicts.
    """
    query = select(shown(run, name, chosen)).order_by(verdicts(run).c.ordinal)
    codes: dict[str | None, int] = {}
    parts = [np.empty(0, dtype=np.int32)]
    for rows in conn.execute(query.execution_options(yield_per=_BATCH)).scalars().partitions():
        parts.append(np.array([codes.setdefault(value, len(codes)) for value in rows], dtype=np.int32))
    return np.concatenate(parts), list(codes)
