"""A run's rows in all tables, out as plain values and in again under new ids."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Select,
    SmallInteger,
    Table,
    insert,
    select,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from core.errors import UserError
from core.types import Column, Run, RunSpec, Thresholds
from db import models as m
from db import search
from db.runs import create_run, set_run
from db.selection import verdicts
from db.shapes import LARGEST, fits, number, text, time, whole
from db.statements import insert_row
from db.verdicts import write_verdicts

Row = dict[str, Any]
_BATCH = 5_000
# Tables in the order in which they are read in: what others refer to comes first.
TABLES = (
    "datasets", "samples", "sample_bodies", "problems", "runs", "verdicts", "measures", "measured", "groupings",
    "grouped", "picks", "picked", "overrides", "tags", "label_files", "contradiction_decisions",
    "contradiction_comments", "proofs", "routes", "route_items",
)  # fmt: skip


def dump(conn: Connection, run: Run) -> Iterator[tuple[str, Iterator[Row]]]:
    """(table, rows) of everything that belongs to the run, jobs, uploads and weights left out."""
    for name in TABLES:
        table = verdicts(run) if name == "verdicts" else m.metadata.tables[name]
        yield name, _rows(conn, select(table).where(_mine(name, run)), table)


def _mine(name: str, run: Run) -> ColumnElement[bool]:
    """The rows of a table that belong to the run."""
    data, hashes = run.spec.dataset_id, select(m.samples.c.content_hash)
    used = select(m.run_measures.c.measure_id).where(m.run_measures.c.run_id == run.id)
    by_run = {t: m.metadata.tables[t].c.run_id == run.id for t in TABLES if "run_id" in _columns(t)}
    by_data = {t: m.metadata.tables[t].c.dataset_id == data for t in TABLES if "dataset_id" in _columns(t)}
    others: dict[str, ColumnElement[bool]] = {
        "datasets": m.datasets.c.id == data,
        "runs": m.runs.c.id == run.id,
        "verdicts": verdicts(run).c.ordinal.is_not(None),
        "measures": m.measures.c.id.in_(used),
        "measured": m.measured.c.measure_id.in_(used)
        & m.measured.c.content_hash.in_(hashes.where(m.samples.c.dataset_id == data)),
        "picked": m.picked.c.pick_id.in_(select(m.picks.c.id).where(m.picks.c.run_id == run.id)),
        "route_items": m.route_items.c.route_id.in_(select(m.routes.c.id).where(m.routes.c.run_id == run.id)),
    }
    return (by_data | by_run | others)[name]


def _columns(name: str) -> list[str]:
    return [] if name == "verdicts" else [c.name for c in m.metadata.tables[name].c]


def _rows(conn: Connection, query: Select[Any], table: Table) -> Iterator[Row]:
    binary = [c.name for c in table.c if isinstance(c.type, LargeBinary)]
    query = query.order_by(*table.primary_key.columns)
    for found in conn.execute(query.execution_options(yield_per=_BATCH)).mappings():
        row = dict(found)
        for name in binary:
            row[name] = base64.b64encode(row[name]).decode()
        yield row


# -------------------------------------------------------------------------------------------------------- reading in


# Texts that hold an object as JSON.
_OBJECTS = {("sample_bodies", "body"), ("measured", "columns"), ("route_items", "kept")}
_TIMES = {"created", "touched", "finished", "undone"}


class Unfit(ValueError):
    """A row that cannot be one of Lacuna's; the text says of which table and why."""


def restore(
    conn: Connection,
    rows_of: Callable[[str], Iterable[Row]],
    adapted: Callable[[RunSpec], RunSpec],
    keys: Callable[[RunSpec], Callable[[Row], str]],
    summary: Mapping[str, Any],
    mark: str,
) -> int:
    """Reads a dumped run in under new ids; returns the run's. Nothing that is stored already is changed.

    Args:
        rows_of: table to its rows, as ``dump`` gave them, from a file that may be anyone's.
        adapted: the specification as this store keeps it, from the one that came; its dataset id is set here.
        keys: from the specification that came, a measurement's row to the key that it gets.
        summary: what is added to the run's summary.
        mark: added to the dataset's fingerprint, so that no import takes the dataset for its own.

    Raises:
        Unfit: a row that cannot be read in.
    """
    try:
        return _restored(conn, rows_of, adapted, keys, summary, mark)
    except (IntegrityError, DataError) as error:
        raise Unfit(str(error.orig)) from error
    except DBAPIError:
        raise  # a full disk or a lock: not the file's fault
    except StatementError as error:
        raise Unfit(str(error.orig)) from error


def _restored(
    conn: Connection, rows_of: Callable[[str], Iterable[Row]], adapted: Callable[[RunSpec], RunSpec],
    keys: Callable[[RunSpec], Callable[[Row], str]], summary: Mapping[str, Any], mark: str,
) -> int:  # fmt: skip
    dataset_id, n = _dataset(conn, rows_of, mark)
    rows_of = partial(_within, rows_of, n)
    run, spec = _run(conn, rows_of, dataset_id, adapted, summary)
    try:
        key_of = keys(spec)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, UserError) as error:
        raise Unfit(f"runs: {error}") from error
    ids = _measures(conn, rows_of, run, key_of)
    for name in ("groupings", "grouped", "overrides", "tags", "label_files"):
        _insert(conn, name, rows_of(name), {"run_id": run.id})
    for name in ("contradiction_decisions", "contradiction_comments"):
        _insert(conn, name, rows_of(name), {"dataset_id": dataset_id})
    picks = _insert_each(conn, "picks", rows_of("picks"), {"run_id": run.id})
    _insert(conn, "picked", rows_of("picked"), {}, {"pick_id": picks})
    own = {"run_id": run.id, "job_id": None}
    _insert_each(conn, "proofs", _requests(rows_of("proofs"), run.id), own)
    routes = _insert_each(conn, "routes", rows_of("routes"), {"run_id": run.id, "scorer_id": None})
    _insert(conn, "route_items", rows_of("route_items"), {}, {"route_id": routes})
    _insert(conn, "measured", rows_of("measured"), {}, {"measure_id": ids})
    return run.id


def _requests(rows: Iterable[Row], run_id: int) -> Iterator[Row]:
    for row in rows:
        request = row.get("request")
        if not isinstance(request, dict):
            raise Unfit("proofs: a request is no object")
        yield row | {"request": request | {"run": run_id}}


def _only(name: str, rows: Iterable[Row]) -> Row:
    found = [_checked(name, m.metadata.tables[name], row) for row in islice(rows, 2)]
    if len(found) != 1:
        raise Unfit(f"{name}: one row is needed")
    return found[0]


def _within(rows_of: Callable[[str], Iterable[Row]], n: int, name: str) -> Iterator[Row]:
    """A table's rows, whose ordinals are those of the dataset's ``n`` samples."""
    for row in rows_of(name):
        ordinal = row.get("ordinal", 0)
        if not whole(ordinal) or (ordinal >= n and "ordinal" in row):
            raise Unfit(f"{name}: an ordinal is none of the dataset's")
        yield row


def _dataset(conn: Connection, rows_of: Callable[[str], Iterable[Row]], mark: str) -> tuple[int, int]:
    """The new dataset's id, and how many samples it has."""
    row = _only("datasets", rows_of("datasets"))
    del row["id"]
    counts = (row[name] for name in ("n_rows", "n_samples", "n_problems", "n_duplicates"))
    if row["fingerprint"] is None or not all(map(whole, counts)):
        raise Unfit("datasets: it is not finished")
    n: int = row["n_samples"]
    dataset_id = insert_row(conn, m.datasets, row | {"fingerprint": f"{row['fingerprint']}@{mark}", "finished": True})
    for name in ("samples", "sample_bodies"):
        if _insert(conn, name, _within(rows_of, n, name), {"dataset_id": dataset_id}) != n:
            raise Unfit(f"{name}: there is not one for every sample")
    search.fill(conn, m.sample_bodies, dataset_id)
    _insert(conn, "problems", rows_of("problems"), {"dataset_id": dataset_id})
    return dataset_id, n


def _run(
    conn: Connection, rows_of: Callable[[str], Iterable[Row]], dataset_id: int,
    adapted: Callable[[RunSpec], RunSpec], summary: Mapping[str, Any],
) -> tuple[Run, RunSpec]:  # fmt: skip
    row = _only("runs", rows_of("runs"))
    try:
        came = RunSpec.from_dict(row["spec"])
        spec = replace(adapted(came), dataset_id=dataset_id)
        thresholds, columns = _thresholds(row), _declared(row)
        run = create_run(conn, row["name"], spec, thresholds, columns, row["n_samples"],
                         clock=partial(float, row["created"]))  # fmt: skip
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise Unfit(f"runs: {error}") from error
    cells: dict[str, list[Any]] = {c.name: [] for c in columns}
    ordinals, sids = [], []
    table = verdicts(run)
    for each in rows_of("verdicts"):
        own = _checked("verdicts", table, each)
        ordinals.append(own["ordinal"])
        sids.append(own["sid"])
        for name, values in cells.items():
            values.append(own[name])
    if row["state"] != "judged" or len(ordinals) != row["n_samples"]:
        raise Unfit("verdicts: there is not one for every sample")
    write_verdicts(conn, run, cells, ordinals, sids)
    return set_run(conn, run.id, state="judged", summary=row["summary"] | dict(summary)), came


def _thresholds(row: Row) -> Thresholds:
    """The thresholds of a run's row; raises TypeError or ValueError for others than numbers."""
    return Thresholds(**{name: float(value) for name, value in row["thresholds"].items()})


def _declared(row: Row) -> list[Column]:
    """The columns of a run's row; raises ValueError for a kind that there is not."""
    columns = [Column(**c) for c in row["columns"]]
    for column in columns:
        texts = (column.name, column.label, column.help, column.unit, column.better)
        if column.kind not in ("category", "number", "flag", "text") or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"{column.name!r} is no column")
    if len(columns) > 1_000 or not {"status", "cause"} <= {c.name for c in columns}:
        raise ValueError("these are not the columns of a run")
    return columns


def _measures(
    conn: Connection, rows_of: Callable[[str], Iterable[Row]], run: Run, key_of: Callable[[Row], str]
) -> dict[int, int]:
    """Old id to new id."""
    ids: dict[int, int] = {}
    for each in rows_of("measures"):
        row = _checked("measures", m.measures, each)
        old = row.pop("id")
        ids[old] = insert_row(conn, m.measures, row | {"key": key_of(row)})
        conn.execute(insert(m.run_measures).values(run_id=run.id, measure_id=ids[old]))
    return ids


def _insert(
    conn: Connection, name: str, rows: Iterable[Row], fixed: Mapping[str, Any],
    ids: Mapping[str, Mapping[int, int]] | None = None,
) -> int:  # fmt: skip
    """Inserts the rows and returns how many there were."""
    table, n = m.metadata.tables[name], 0
    own = "id" in table.c
    waiting = iter(rows)
    while batch := list(islice(waiting, _BATCH)):
        values = []
        for each in batch:
            row = _checked(name, table, each) | dict(fixed)
            for column, new in (ids or {}).items():
                if row[column] not in new:
                    raise Unfit(f"{name}: {column} leads nowhere")
                row[column] = new[row[column]]
            if own:
                del row["id"]
            values.append(row)
        conn.execute(insert(table), values)
        n += len(values)
    return n


def _insert_each(conn: Connection, name: str, rows: Iterable[Row], fixed: Mapping[str, Any]) -> dict[int, int]:
    """Rows that others refer to: old id to new id."""
    table, ids = m.metadata.tables[name], {}
    for each in rows:
        row = _checked(name, table, each) | dict(fixed)
        old = row.pop("id")
        ids[old] = insert_row(conn, table, row)
    return ids


def _checked(name: str, table: Table, row: Row) -> Row:
    """The row with every value of its column's type; raises Unfit for another.

    A column that the row lacks is empty where it may be, and one that the table no longer has is left out: the row may
    come from an older Lacuna.
    """
    out = {}
    for column in table.c:
        value = row.get(column.name)
        if isinstance(column.type, JSON):
            if not fits(name, column.name, value):
                raise Unfit(f"{name}: {column.name} has another form")
        elif value is None:
            if not column.nullable:
                raise Unfit(f"{name}: {column.name} is empty")
        elif isinstance(column.type, LargeBinary):
            try:
                value = base64.b64decode(value, validate=True)
            except (TypeError, ValueError, binascii.Error) as error:
                raise Unfit(f"{name}: {column.name} is not base64") from error
        elif not _fits(column.type, value):
            raise Unfit(f"{name}: {column.name} cannot be {type(value).__name__}")
        elif name != "verdicts" and column.name in _TIMES and isinstance(column.type, Float) and not time(value):
            raise Unfit(f"{name}: {column.name} is no time")
        elif (name, column.name) in _OBJECTS and not _holds_object(value):
            raise Unfit(f"{name}: {column.name} holds no object")
        out[column.name] = value
    if "slot" in out and (out["artefact"] is None) != (out["slot"] is None):
        raise Unfit(f"{name}: a slot without its artefact")
    if out.get("slot") is not None and not whole(out["slot"]):
        raise Unfit(f"{name}: there is no such slot")
    return out


def _holds_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _fits(kind: Any, value: Any) -> bool:
    if isinstance(kind, Boolean):
        return isinstance(value, bool)
    if isinstance(kind, (Integer, SmallInteger)):
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    if isinstance(kind, Float):
        return number(value)
    return text(value)
