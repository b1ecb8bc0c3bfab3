"""Measurements: each is stored once, whichever run asked for it, and found again by content hash."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Insert, Select, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from core.types import Chunk, SignalTable
from db.models import kept_measures, measured, measures, run_measures, subjects

# Hashes that are looked up in one statement, and hashes up to which this is done; for more the whole measure is read.
_FEW, _SOME = 500, 10_000
# Rows by what they rest on: content hash to the subjects of a row, the one that is looked for first.
Subjects = Mapping[str, Sequence[str]]


def measure_id(conn: Connection, key: str, signal: str, fingerprint: str, spec: Mapping[str, Any]) -> int:
    """The id of the measure ``key``, made if there is none yet."""
    values = {"key": key, "signal": signal, "fingerprint": fingerprint, "spec": dict(spec)}
    conn.execute(_insert_or_ignore(conn, measures), [values])
    row_id: int = conn.execute(select(measures.c.id).where(measures.c.key == key)).scalar_one()
    return row_id


def find_measures(conn: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Key to id, for those of ``keys`` that exist. Works in a reading transaction."""
    query = select(measures.c.key, measures.c.id).where(measures.c.key.in_(list(keys)))
    return dict(conn.execute(query).all())


def link_run(conn: Connection, run_id: int, measure_ids: Iterable[int]) -> None:
    """Says that the run rests on these measures, so that they are kept as long as it is."""
    rows = [{"run_id": run_id, "measure_id": m} for m in measure_ids]
    if rows:
        conn.execute(_insert_or_ignore(conn, run_measures), rows)
        linked = [row["measure_id"] for row in rows]
        conn.execute(delete(kept_measures).where(kept_measures.c.measure_id.in_(linked)))


def missing(conn: Connection, measure_id: int, hashes: Iterable[str]) -> list[str]:
    """Those of ``hashes`` not measured yet, in their order, each once."""
    there = set(conn.execute(select(measured.c.content_hash).where(measured.c.measure_id == measure_id)).scalars())
    return [h for h in dict.fromkeys(hashes) if h not in there]


def store_chunk(conn: Connection, measure_id: int, chunk: Chunk, artefact: str | None = None) -> int:
    """Stores what is not stored yet; a measurement that is there stays as it is.

    Args:
        artefact: name of the file with the chunk's details, the i-th in slot i.

    Returns:
        How many of the chunk's samples were new. After 0 nothing refers to ``artefact``.
    """
    names = list(chunk.columns)
    columns = [np.asarray(chunk.columns[name], dtype=np.float64).tolist() for name in names]
    details = chunk.details or (None,) * len(chunk.keys)
    rows = [
        {
            "measure_id": measure_id,
            "content_hash": key,
            "columns": json.dumps({n: None if math.isnan(v) else v for n, v in zip(names, values, strict=True)}),
            "artefact": artefact if kept else None,
            "slot": slot if kept else None,
        }
        for slot, (key, detail, values) in enumerate(zip(chunk.keys, details, _rows(columns, chunk), strict=True))
        for kept in (artefact is not None and detail is not None,)
    ]
    if not rows:
        return 0
    statement = _insert_or_ignore(conn, measured).execution_options(preserve_rowcount=True)
    return conn.execute(statement, rows).rowcount


def note_subjects(conn: Connection, measure_id: int, rows: Subjects) -> None:
    """Writes down what rows of the measure rest on, so that measures of its kin find them."""
    values = [{"measure_id": measure_id, "content_hash": key, "subject": s} for key, own in rows.items() for s in own]
    if values:
        conn.execute(_insert_or_ignore(conn, subjects), values)


def has_kin(conn: Connection, kin: str, measure_id: int | None = None) -> bool:
    """Whether another measure than this one has rows whose subjects begin with ``kin``."""
    query = select(subjects.c.measure_id).where(subjects.c.subject > kin, subjects.c.subject < f"{kin}~")
    if measure_id is not None:
        query = query.where(subjects.c.measure_id != measure_id)
    return conn.execute(query.limit(1)).first() is not None


def findable(conn: Connection, rows: Subjects) -> set[str]:
    """Content hashes of those rows that some measure holds under the subject looked for first."""
    return {key for key, _ in _kindred(conn, rows)}


def adopt(conn: Connection, measure_id: int, rows: Subjects) -> list[str]:
    """Takes over, from measures of its kin, those of the rows that rest on the same; returns their content hashes.

    Each becomes a row of this measure, so that deleting the run it came from takes nothing away.
    """
    values: dict[str, dict[str, Any]] = {}
    for key, row in _kindred(conn, rows, lock=True):
        values.setdefault(key, {"measure_id": measure_id, "content_hash": key, **row})
    if values:
        conn.execute(_insert_or_ignore(conn, measured), list(values.values()))
        note_subjects(conn, measure_id, {key: rows[key] for key in values})
    return list(values)


def _kindred(conn: Connection, rows: Subjects, lock: bool = False) -> Iterable[tuple[str, dict[str, Any]]]:
    """Content hash and what is stored under its first subject. ``lock``: no source is deleted meanwhile."""
    wanted: dict[str, list[str]] = {}
    for key, own in rows.items():
        if own:
            wanted.setdefault(own[0], []).append(key)
    same = (measured.c.measure_id == subjects.c.measure_id) & (measured.c.content_hash == subjects.c.content_hash)
    query = select(subjects.c.subject, measured.c.columns, measured.c.artefact, measured.c.slot)
    query = query.select_from(subjects.join(measured, same).join(measures, measures.c.id == subjects.c.measure_id))
    if lock:
        query = query.with_for_update(read=True, of=measures)  # SQLite has one writer and leaves this out
    names = list(wanted)
    for at in range(0, len(names), _FEW):
        some = query.where(subjects.c.subject.in_(names[at : at + _FEW])).order_by(subjects.c.measure_id)
        for found in conn.execute(some).mappings().all():
            row = dict(found)
            for key in wanted[row.pop("subject")]:
                yield key, row


def table(conn: Connection, sources: Iterable[tuple[str, int]], hashes: Sequence[str]) -> SignalTable:
    """Measurements side by side.

    Args:
        sources: (prefix, measure id); a measure's columns are named prefix + name.
        hashes: (n,) content hashes, repeated ones too.

    Returns:
        Columns in the order of ``hashes``; NaN = not measured.

    Raises:
        ValueError: two measures give a column of the same name.
    """
    distinct = {h: i for i, h in enumerate(dict.fromkeys(hashes))}
    place = np.array([distinct[h] for h in hashes], dtype=np.int64)
    columns: dict[str, np.ndarray] = {}
    sources = list(sources)
    for (prefix, _), stored in zip(sources, _stored(conn, [s for _, s in sources], list(distinct)), strict=True):
        own: dict[str, np.ndarray] = {}
        for key, text in stored:
            if (at := distinct.get(key)) is None:
                continue
            for name, value in json.loads(text).items():
                if name not in own:
                    own[name] = np.full(len(distinct), np.nan)
                if value is not None:
                    own[name][at] = value
        if both := columns.keys() & {prefix + name for name in own}:
            raise ValueError(f"two measures give the column {min(both)!r}")
        columns |= {prefix + name: values[place] for name, values in own.items()}
    return SignalTable(tuple(hashes), columns)


def detail_refs(conn: Connection, measure_id: int, hashes: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Content hash to (artefact, slot) of the measurement's details, for those of some samples that have any."""
    query = select(measured.c.content_hash, measured.c.artefact, measured.c.slot).where(
        measured.c.measure_id == measure_id, measured.c.artefact.is_not(None)
    )
    return {row.content_hash: (row.artefact, row.slot) for row in _of(conn, query, hashes)}


def any_detail(conn: Connection, measure_id: int) -> str | None:
    """An artefact of the measurement; None where it has none."""
    query = select(measured.c.artefact).where(measured.c.measure_id == measure_id, measured.c.artefact.is_not(None))
    return conn.execute(query.limit(1)).scalar_one_or_none()


def _rows(columns: list[list[float]], chunk: Chunk) -> Iterable[tuple[float, ...]]:
    return zip(*columns, strict=True) if columns else [()] * len(chunk.keys)


def _stored(conn: Connection, sources: Sequence[int], hashes: Sequence[str]) -> Iterator[Iterable[Any]]:
    """(content hash, columns as JSON) of each measure in turn; of a few samples all measures are asked for at once."""
    query = select(measured.c.content_hash, measured.c.columns)
    if len(hashes) > _FEW:
        for source in sources:
            own = query.where(measured.c.measure_id == source)
            few = len(hashes) <= _SOME
            yield _of(conn, own, hashes) if few else conn.execute(own.execution_options(yield_per=10_000))
        return
    by_source: dict[int, list[tuple[str, str]]] = {source: [] for source in sources}
    for key, text, source in _of(
        conn, query.add_columns(measured.c.measure_id).where(measured.c.measure_id.in_(sources)), hashes
    ):
        by_source[source].append((key, text))
    yield from (by_source[source] for source in sources)


def _of(conn: Connection, query: Select[Any], hashes: Sequence[str]) -> Iterable[Any]:
    """The query's rows of these samples, asked for a few at a time: a database takes no list of a million."""
    for at in range(0, len(hashes), _FEW):
        yield from conn.execute(query.where(measured.c.content_hash.in_(hashes[at : at + _FEW])))


def _insert_or_ignore(conn: Connection, into: Table) -> Insert:
    """An insert that leaves rows that are there already as they are."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(into).on_conflict_do_nothing()
    return postgresql.insert(into).on_conflict_do_nothing()
