"""Runs: what was diagnosed and how far it got. The verdicts themselves are in ``db/verdicts.py``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, MetaData, Row, Table, Text, cast, delete, select, update

from core.errors import UserError
from core.types import Column, Run, RunSpec, Thresholds
from db import kept, search
from db.models import jobs, run_measures, run_outputs, runs
from db.selection import table_name
from db.statements import insert_row
from db.text import storable
from db.verdicts import write_verdicts

# Every page asks for its run several times. What never changes for most runs comes as text and is parsed once.
_KEPT = ("spec", "columns")
_ROW = [cast(c, Text).label(c.name) if c.name in _KEPT else c for c in runs.c]


def create_run(
    conn: Connection,
    name: str,
    spec: RunSpec,
    thresholds: Thresholds,
    columns: Sequence[Column],
    n_samples: int,
    author: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Run:
    """A new run with an empty verdict table."""
    values = {
        "dataset_id": spec.dataset_id,
        "name": storable(name),
        "spec": spec.as_dict(),
        "spec_hash": spec.hash,
        "thresholds": asdict(thresholds),
        "columns": [asdict(c) for c in columns],
        "state": "new",
        "created": clock(),
        "n_samples": n_samples,
        "summary": {},
        "author": None if author is None else storable(author),
    }
    run = get_run(conn, insert_row(conn, runs, values))
    _empty_verdicts(conn, run)
    search.make(conn, run_outputs, run.id)
    return run


def get_run(conn: Connection, run_id: int) -> Run:
    """Raises UserError where there is no run of that id."""
    row = conn.execute(select(*_ROW).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise _no_run(run_id)
    return _run(row)


def list_runs(conn: Connection, dataset_id: int | None = None, spec_hash: str | None = None) -> list[Run]:
    """All runs, or those on one dataset or of one specification; newest first."""
    query = select(*_ROW).order_by(runs.c.id.desc())
    if dataset_id is not None:
        query = query.where(runs.c.dataset_id == dataset_id)
    if spec_hash is not None:
        query = query.where(runs.c.spec_hash == spec_hash)
    return [_run(r) for r in conn.execute(query)]


def names(conn: Connection) -> dict[int, str]:
    """Id to name of every run, newest first."""
    return {row.id: row.name for row in conn.execute(select(runs.c.id, runs.c.name).order_by(runs.c.id.desc()))}


def rename_run(conn: Connection, run_id: int, name: str) -> None:
    """Gives the run another name. Raises UserError where there is none of that id."""
    if conn.execute(update(runs).where(runs.c.id == run_id).values(name=storable(name))).rowcount != 1:
        raise _no_run(run_id)


def set_run(
    conn: Connection,
    run_id: int,
    *,
    spec: RunSpec | None = None,
    thresholds: Thresholds | None = None,
    state: str | None = None,
    summary: Mapping[str, Any] | None = None,
    columns: Sequence[Column] | None = None,
    n_samples: int | None = None,
) -> Run:
    """The run with what is given changed. Other columns than before empty the verdict table."""
    changes = {
        "spec": None if spec is None else spec.as_dict(),
        "spec_hash": None if spec is None else spec.hash,
        "thresholds": None if thresholds is None else asdict(thresholds),
        "state": state,
        "summary": None if summary is None else dict(summary),
        "columns": None if columns is None else [asdict(c) for c in columns],
        "n_samples": n_samples,
    }
    before = get_run(conn, run_id)
    if changes := {k: v for k, v in changes.items() if v is not None}:
        conn.execute(update(runs).where(runs.c.id == run_id).values(changes))
    run = get_run(conn, run_id)
    if run.columns != before.columns:
        _empty_verdicts(conn, run)
    return run


def delete_run(conn: Connection, run_id: int, keep_measured: bool = False) -> list[str]:
    """Deletes the run, its verdicts, and the measures on which no other run rests.

    Args:
        keep_measured: keeps these measures for later runs; those of a bundle are of no use to another run and go.

    Returns:
        Names of artefacts that nothing refers to any more, for the caller to remove once this is committed.

    Raises:
        UserError: a job still works or waits for the run, or there is none of that id.
    """
    run = get_run(conn, run_id)
    busy = select(jobs.c.id).where(jobs.c.run_id == run_id, jobs.c.state.in_(("queued", "running")))
    if (job := conn.execute(busy.limit(1)).scalar_one_or_none()) is not None:
        raise UserError(f"Run {run.name!r} is being worked on.", f"Job {job} has not ended.", "Cancel the job first.")
    own = set(conn.execute(select(run_measures.c.measure_id).where(run_measures.c.run_id == run_id)).scalars())
    Table(table_name(run_id), MetaData()).drop(conn, checkfirst=True)
    conn.execute(delete(runs).where(runs.c.id == run_id))
    search.drop(conn, run_outputs, run_id)
    # Only this run's measures: one that is linked to no run yet belongs to a run that is just being set up.
    shared = set(conn.execute(select(run_measures.c.measure_id).where(run_measures.c.measure_id.in_(own))).scalars())
    if keep_measured and not run.spec.origin:
        kept.keep(conn, sorted(own - shared))
        return []
    return kept.remove(conn, sorted(own - shared))


def _empty_verdicts(conn: Connection, run: Run) -> None:
    write_verdicts(conn, run, {c.name: [] for c in run.columns}, [], [])


@lru_cache(maxsize=64)
def _spec(text: str) -> RunSpec:
    return RunSpec.from_dict(json.loads(text))


@lru_cache(maxsize=64)
def _columns(text: str) -> tuple[Column, ...]:
    return tuple(Column(**c) for c in json.loads(text))


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        name=row.name,
        spec=_spec(row.spec),
        thresholds=Thresholds(**row.thresholds),
        columns=_columns(row.columns),
        state=row.state,
        created=row.created,
        n_samples=row.n_samples,
        summary=row.summary,
    )


def _no_run(run_id: int) -> UserError:
    return UserError(f"There is no run {run_id}.", "It may have been deleted.", "Choose another one.")
