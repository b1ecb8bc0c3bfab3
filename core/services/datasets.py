"""Datasets: scan an upload, import it, list and delete what is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.errors import UserError
from core.formats._base import Format
from core.intake.datasets import columns_of, read, scan
from core.plugins import kinds
from core.services import jobs, uploads
from core.services.jobs import Work
from core.types import Dataset, Problem, Reading, Sample
from db import samples as table
from db.session import database

# What one transaction stores of an import: many short rows, so that commits are rare, and few long ones in memory.
BATCH = 2000
BATCH_BYTES = 16 << 20
# Kinds of remarks on rows that a dataset keeps with their counts.
NOTES = 200


def list_datasets() -> list[Dataset]:
    """Newest first."""
    with database().reading() as conn:
        return table.list_datasets(conn)


def get_dataset(dataset_id: int) -> Dataset:
    with database().reading() as conn:
        return table.get_dataset(conn, dataset_id)


def delete_dataset(dataset_id: int) -> None:
    """Raises UserError, naming the runs, while runs rest on it."""
    with database().writing() as conn:
        table.delete_dataset(conn, dataset_id)


def problems(dataset_id: int, after: int = -1, limit: int = 50) -> list[Problem]:
    """Rejected rows by row index, those behind row ``after``."""
    with database().reading() as conn:
        return table.problems(conn, dataset_id, after, limit)


def formats() -> list[Format]:
    """The dataset formats there are, as their files declare them."""
    return list(kinds("formats").values())


def start_scan(
    upload_ids: Sequence[str], reading: Reading | None = None, stated: Mapping[str, str] | None = None
) -> int:
    """Looks at uploaded files: container, format, mapping, a preview, the first rejected rows.

    Args:
        stated: role to column as a trainer's configuration states it.
    """
    payload = {"uploads": list(upload_ids), "reading": as_dict(reading), "stated": dict(stated or {})}
    return jobs.enqueue("scan", payload, title=f"Look at {_names(upload_ids)}")


def start_import(upload_ids: Sequence[str], name: str, reading: Reading | None, most: int | None = None) -> int:
    """Reads uploaded files into a stored dataset; the uploads are removed afterwards. ``most``: rows of each file."""
    payload: dict[str, Any] = {"uploads": list(upload_ids), "name": name.strip() or _names(upload_ids)}
    payload |= {"reading": as_dict(reading), "most": most}
    return jobs.enqueue("import", payload, title=f"Import {_names(upload_ids)}")


def as_dict(reading: Reading | None) -> dict[str, Any] | None:
    if reading is None:
        return None
    return {"container": reading.container, "format": reading.format, "mapping": dict(reading.mapping)}


def from_dict(value: Mapping[str, Any] | None) -> Reading | None:
    return None if value is None else Reading(value["container"], value["format"], value["mapping"])


def _names(upload_ids: Sequence[str]) -> str:
    return ", ".join(uploads.finish(u).name for u in upload_ids)


# ------------------------------------------------------------------------------------------- run by the worker


def handle_scan(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    work.progress("looking")
    files = [uploads.finish(u) for u in payload["uploads"]]
    paths, names, reading = [u.path for u in files], [u.name for u in files], from_dict(payload["reading"])
    try:

        def watch(rows: int) -> None:
            work.progress("looking at every row", rows, 0, "rows")

        return scan(paths, reading, names=names, watch=watch, stated=payload.get("stated") or {}).as_dict()
    except UserError as error:
        # Where rows can be read, only not this way, the columns are what a person needs to say which way instead.
        columns = columns_of(paths[0], reading.container if reading else "", name=names[0])
        if not columns:
            raise
        return {"refused": error.as_dict(), "columns": columns, "files": names}


def handle_import(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    files = [uploads.finish(u) for u in payload["uploads"]]

    def done(conn: Connection, dataset: Dataset) -> None:
        # One transaction: the dataset is listed, its uploads are forgotten, the job is done.
        uploads.forget(conn, payload["uploads"])
        work.done(conn, _result(dataset))

    paths, names = [u.path for u in files], [u.name for u in files]
    reading, most = from_dict(payload["reading"]), payload.get("most")
    dataset = import_files(paths, names, payload["name"], reading, work, work.job_id, done, most)
    uploads.remove_files(paths)
    return _result(dataset)


def _result(dataset: Dataset) -> dict[str, int]:
    return {"dataset_id": dataset.id, "n_samples": dataset.n_samples, "n_problems": dataset.n_problems}


def batches(items: Iterable[Sample | Problem]) -> Iterator[list[Sample | Problem]]:
    """The items in their order, at most ``BATCH`` at a time, and no more once they hold ``BATCH_BYTES`` of raw text."""
    batch, size = list[Sample | Problem](), 0
    for item in items:
        batch.append(item)
        size += len(item.raw)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def import_files(
    paths: Sequence[Path],
    names: Sequence[str],
    name: str,
    reading: Reading | None,
    work: Work,
    job_id: int | None = None,
    done: Callable[[Connection, Dataset], object] | None = None,
    most: int | None = None,
) -> Dataset:
    """Reads files in the order given into a new dataset; all of it or nothing.

    The rows are one transaction per batch on a dataset that is listed only once it is finished, so that an import that
    dies leaves nothing to see; what it left is collected by its next try, or by the next import.

    Args:
        job_id: the job behind it, if any.
        done: called with the finished dataset in the transaction that lists it.
        most: rows that are taken of each file, from its start; None for all.
    """
    reading = reading or scan(paths, names=names).reading
    with database().writing() as conn:
        table.delete_unfinished(conn, job_id=job_id)
        dataset_id = table.create_dataset(conn, name, names, reading, job_id)
    digest, rows, kept = hashlib.sha256(), 0, 0
    first: Problem | None = None
    notes: dict[str, int] = {}
    try:
        for batch in batches(read(paths, reading, names, most)):
            rows += len(batch)
            accepted = [i for i in batch if isinstance(i, Sample)]
            rejected = [i for i in batch if isinstance(i, Problem)]
            kept, first = kept + len(accepted), first or next(iter(rejected), None)
            for sample in accepted:
                digest.update(sample.raw)
                digest.update(b"\n")
                for note in sample.notes:
                    notes[note] = notes.get(note, 0) + 1

            def store(conn: Any, accepted: list[Sample] = accepted, rejected: list[Problem] = rejected) -> None:
                table.add_samples(conn, dataset_id, accepted)
                table.add_problems(conn, dataset_id, rejected)

            work.progress("reading rows", rows, 0, "rows", store)
        if rows == 0:
            raise UserError("There is no row in these files.", "", "Choose a file with at least one row.")
        if first is not None and not kept:
            where = f"Line {first.line}: " if first.line else ""
            raise UserError(
                f"None of the {rows:,} rows of {', '.join(names)} can be used as {reading.format}.",
                where + first.text,
                "Correct the file, or choose another format or other columns.",
            )
        summary = [f"{text} ({count:,} rows)" for text, count in sorted(notes.items(), key=lambda n: -n[1])[:NOTES]]
        with database().writing() as conn:
            dataset = table.finish_dataset(conn, dataset_id, rows, digest.hexdigest(), summary)
            if done is not None:
                done(conn, dataset)
        return dataset
    except BaseException:
        # Where the database is the reason, it takes no deletion either; the next import collects what is left.
        with suppress(DBAPIError), database().writing() as conn:
            table.delete_dataset(conn, dataset_id)
        raise
