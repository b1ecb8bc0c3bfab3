"""Datasets: samples, their bodies, rejected rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, or_, select, update

from core.errors import UserError
from core.types import Dataset, Problem, Reading, Sample
from db import search
from db.models import datasets, runs, sample_bodies, samples
from db.models import problems as rejected
from db.sample_rows import body_of, row_of, sample_of
from db.statements import count_rows, insert_row
from db.text import storable

# Values in one IN list, far below every database's limit on bound values.
_IN_LIST = 500

# ---------------------------------------------------------------------------------------------------- importing


def create_dataset(
    conn: Connection,
    name: str,
    files: Sequence[str],
    reading: Reading,
    job_id: int | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """The id of a new, empty dataset. It is listed once ``finish_dataset`` was called.

    Args:
        job_id: the import that makes it.
    """
    now = clock()
    values = {
        "name": storable(name),
        "files": list(files),
        "reading": {**asdict(reading), "mapping": dict(reading.mapping)},
        "created": now,
        "touched": now,
        "finished": False,
        "job_id": job_id,
    }
    dataset_id = insert_row(conn, datasets, values)
    search.make(conn, sample_bodies, dataset_id)
    return dataset_id


def add_samples(
    conn: Connection, dataset_id: int, chunk: Iterable[Sample], clock: Callable[[], float] = time.time
) -> None:
    """Adds samples to an unfinished dataset.

    Raises:
        LookupError: the dataset is finished or gone, as after ``delete_unfinished``.
    """
    _touch(conn, dataset_id, clock())
    chunk = list(chunk)
    if chunk:
        conn.execute(insert(samples), [row_of(dataset_id, s) for s in chunk])
        search.add(conn, sample_bodies, dataset_id, [body_of(dataset_id, s) for s in chunk])


def replace_texts(conn: Connection, dataset_id: int, chunk: Iterable[Sample]) -> None:
    """Stores other messages and notes of samples that the dataset has; ids, content hashes and raw rows stay."""
    chunk = list(chunk)
    search.forget(conn, sample_bodies, dataset_id, [sample.ordinal for sample in chunk])
    for sample in chunk:
        row, body = row_of(dataset_id, sample), body_of(dataset_id, sample)
        texts = {name: row[name] for name in ("n_turns", "prompt_chars", "response_chars", "prompt", "response")}
        for table, values in ((samples, texts), (sample_bodies, {"search": body["search"], "body": body["body"]})):
            there = (table.c.dataset_id == dataset_id) & (table.c.ordinal == sample.ordinal)
            conn.execute(update(table).where(there).values(values))
    search.enter(conn, sample_bodies, dataset_id, [sample.ordinal for sample in chunk])


def add_problems(
    conn: Connection, dataset_id: int, chunk: Iterable[Problem], clock: Callable[[], float] = time.time
) -> None:
    """Adds rejected rows to an unfinished dataset. Raises as ``add_samples``."""
    _touch(conn, dataset_id, clock())
    rows = [
        {
            "dataset_id": dataset_id,
            "row": p.row,
            "line": p.line,
            "field": None if p.field is None else storable(p.field),
            "text": storable(p.text),
            "file": storable(p.file),
            "raw": p.raw,
        }
        for p in chunk
    ]
    if rows:
        conn.execute(insert(rejected), rows)


def finish_dataset(
    conn: Connection, dataset_id: int, n_rows: int, fingerprint: str, notes: Sequence[str] = ()
) -> Dataset:
    """The dataset with its counts taken from what is stored; from now on it is listed and no rows are added.

    Args:
        n_rows: input records read, rejected ones included.

    Raises:
        ValueError: ``n_rows`` is not samples + rejected rows: something was dropped on the way.
    """
    query = select(func.count(), func.count(samples.c.content_hash.distinct()))
    n_samples, n_contents = conn.execute(query.where(samples.c.dataset_id == dataset_id)).one()
    n_problems = count_rows(conn, rejected, rejected.c.dataset_id == dataset_id)
    if n_rows != n_samples + n_problems:
        raise ValueError(f"{n_rows} rows in, but {n_samples} samples and {n_problems} rejected rows stored")
    _count_copies(conn, dataset_id)
    conn.execute(
        update(datasets)
        .where(datasets.c.id == dataset_id)
        .values(
            finished=True,
            fingerprint=fingerprint,
            n_rows=n_rows,
            n_samples=n_samples,
            n_problems=n_problems,
            n_duplicates=n_samples - n_contents,
            stages=_distinct(conn, dataset_id, "stage"),
            sources=_distinct(conn, dataset_id, "source"),
            notes=list(notes),
        )
    )
    return get_dataset(conn, dataset_id)


def delete_unfinished(
    conn: Connection,
    untouched_for: float = 3600.0,
    job_id: int | None = None,
    clock: Callable[[], float] = time.time,
) -> list[int]:
    """Deletes what died imports left behind; returns their ids.

    Args:
        untouched_for: seconds without a row added after which an import counts as dead.
        job_id: the import that begins again; what it left counts as dead at once.
    """
    old = datasets.c.touched < clock() - untouched_for
    dead = ~datasets.c.finished & (old if job_id is None else or_(old, datasets.c.job_id == job_id))
    gone = list(conn.execute(delete(datasets).where(dead).returning(datasets.c.id)).scalars())
    for dataset_id in gone:
        search.drop(conn, sample_bodies, dataset_id)
    return gone


def _touch(conn: Connection, dataset_id: int, now: float) -> None:
    importing = (datasets.c.id == dataset_id) & (~datasets.c.finished)
    if conn.execute(update(datasets).where(importing).values(touched=now)).rowcount != 1:
        raise LookupError(f"dataset {dataset_id} is not being imported")


def _count_copies(conn: Connection, dataset_id: int) -> None:
    twin = samples.alias()
    repeated = (
        select(twin.c.content_hash)
        .where(twin.c.dataset_id == dataset_id)
        .group_by(twin.c.content_hash)
        .having(func.count() > 1)
    )
    other = samples.alias()
    copies = (
        select(func.count())
        .where(other.c.dataset_id == dataset_id, other.c.content_hash == samples.c.content_hash)
        .scalar_subquery()
    )
    conn.execute(
        update(samples)
        .where(samples.c.dataset_id == dataset_id, samples.c.content_hash.in_(repeated))
        .values(copies=copies)
    )


def _distinct(conn: Connection, dataset_id: int, name: str) -> list[str]:
    """The column's values in the order in which training meets them first."""
    column = samples.c[name]
    query = select(column).where(samples.c.dataset_id == dataset_id, column.is_not(None))
    return list(conn.execute(query.group_by(column).order_by(func.min(samples.c.ordinal))).scalars())


# ----------------------------------------------------------------------------------------------------- datasets


def _dataset(row: Row[Any]) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name,
        files=tuple(row.files),
        reading=Reading(**row.reading),
        fingerprint=row.fingerprint,
        n_rows=row.n_rows,
        n_samples=row.n_samples,
        n_problems=row.n_problems,
        n_duplicates=row.n_duplicates,
        stages=tuple(row.stages),
        sources=tuple(row.sources),
        created=row.created,
        notes=tuple(row.notes),
    )


def list_datasets(conn: Connection) -> list[Dataset]:
    """All finished datasets, newest first."""
    return [
        _dataset(r) for r in conn.execute(select(datasets).where(datasets.c.finished).order_by(datasets.c.id.desc()))
    ]


def get_dataset(conn: Connection, dataset_id: int) -> Dataset:
    """Raises UserError where there is no finished dataset of that id."""
    row = conn.execute(select(datasets).where(datasets.c.id == dataset_id, datasets.c.finished)).one_or_none()
    if row is None:
        raise _no_dataset(dataset_id)
    return _dataset(row)


def delete_dataset(conn: Connection, dataset_id: int) -> None:
    """Deletes the dataset with its samples and rejected rows, finished or not.

    Raises:
        UserError: runs rest on it, or there is none of that id.
    """
    users = conn.execute(select(runs.c.id, runs.c.name).where(runs.c.dataset_id == dataset_id)).all()
    if users:
        names = ", ".join(f"{u.name!r} (run {u.id})" for u in users)
        raise UserError(f"Dataset {dataset_id} is in use.", f"Runs rest on it: {names}.", "Delete these runs first.")
    if conn.execute(delete(datasets).where(datasets.c.id == dataset_id)).rowcount != 1:
        raise _no_dataset(dataset_id)
    search.drop(conn, sample_bodies, dataset_id)


def _no_dataset(dataset_id: int) -> UserError:
    return UserError(f"There is no dataset {dataset_id}.", "It was deleted or never finished.", "Choose another one.")


# ------------------------------------------------------------------------------------------------------ reading


def iter_samples(
    conn: Connection, dataset_id: int, ordinals: Iterable[int] | None = None, batch: int = 1000
) -> Iterator[Sample]:
    """The samples in training order, or those of ``ordinals`` in the order given; ``batch`` of them in memory.

    Raises:
        LookupError: an ordinal that the dataset does not have.
    """
    query = select(samples, sample_bodies.c.body, sample_bodies.c.raw).join(sample_bodies, _same_sample())
    for _, row in _by_ordinal(conn, query, dataset_id, ordinals, batch):
        yield sample_of(row)


def raw_rows(
    conn: Connection, dataset_id: int, ordinals: Iterable[int] | None = None, batch: int = 1000
) -> Iterator[tuple[int, bytes]]:
    """(ordinal, raw row) in training order, or for ``ordinals`` in the order given; raises as ``iter_samples``."""
    query = select(samples.c.ordinal, sample_bodies.c.raw).join(sample_bodies, _same_sample())
    for ordinal, row in _by_ordinal(conn, query, dataset_id, ordinals, batch):
        yield ordinal, row.raw


def get_sample(conn: Connection, dataset_id: int, sid: str) -> Sample:
    """The sample of that id; raises UserError where there is none."""
    query = select(samples.c.ordinal).where(samples.c.dataset_id == dataset_id, samples.c.sid == storable(sid))
    ordinal = conn.execute(query).scalar_one_or_none()
    if ordinal is None:
        raise UserError(f"There is no sample {sid!r} in dataset {dataset_id}.", "", "Choose one from the table.")
    return next(iter_samples(conn, dataset_id, [ordinal]))


def content_hashes(conn: Connection, dataset_id: int) -> list[str]:
    """(n,) content hashes in training order."""
    query = select(samples.c.content_hash).where(samples.c.dataset_id == dataset_id).order_by(samples.c.ordinal)
    return list(conn.execute(query).scalars())


def first_of(conn: Connection, dataset_id: int, hashes: Iterable[str]) -> dict[str, int]:
    """Content hash to the ordinal of its first sample, for those of ``hashes`` that the dataset has; a few hundred."""
    query = select(samples.c.content_hash, func.min(samples.c.ordinal)).group_by(samples.c.content_hash)
    kept = (samples.c.dataset_id == dataset_id) & samples.c.content_hash.in_(list(hashes))
    return dict(conn.execute(query.where(kept)).all())


def order(conn: Connection, dataset_id: int) -> dict[str, list[Any]]:
    """(n,) ``ordinal``, ``sid``, ``row``, ``stage`` and ``source`` of every sample in training order."""
    names = ("ordinal", "sid", "row", "stage", "source")
    query = select(*(samples.c[n] for n in names)).where(samples.c.dataset_id == dataset_id)
    rows = conn.execute(query.order_by(samples.c.ordinal)).all()
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def problems(conn: Connection, dataset_id: int, after: int = -1, limit: int = 100) -> list[Problem]:
    """Rejected rows by row index, those behind row ``after``."""
    rows = conn.execute(
        select(rejected)
        .where(rejected.c.dataset_id == dataset_id, rejected.c.row > after)
        .order_by(rejected.c.row)
        .limit(limit)
    )
    return [Problem(row=r.row, line=r.line, field=r.field, text=r.text, file=r.file, raw=r.raw) for r in rows]


def _same_sample() -> ColumnElement[bool]:
    return (sample_bodies.c.dataset_id == samples.c.dataset_id) & (sample_bodies.c.ordinal == samples.c.ordinal)


def _by_ordinal(
    conn: Connection, query: Select[Any], dataset_id: int, ordinals: Iterable[int] | None, batch: int
) -> Iterator[tuple[int, Row[Any]]]:
    query = query.where(samples.c.dataset_id == dataset_id)
    if ordinals is None:
        last = -1
        while rows := conn.execute(
            query.where(samples.c.ordinal > last).order_by(samples.c.ordinal).limit(batch)
        ).all():
            yield from ((r.ordinal, r) for r in rows)
            last = rows[-1].ordinal
        return
    remaining = iter(ordinals)
    while part := list(islice(remaining, min(batch, _IN_LIST))):
        by_ordinal = {r.ordinal: r for r in conn.execute(query.where(samples.c.ordinal.in_(part)))}
        if missing := [o for o in part if o not in by_ordinal]:
            raise LookupError(f"dataset {dataset_id} has no sample of ordinal {missing[0]}")
        yield from ((o, by_ordinal[o]) for o in part)
