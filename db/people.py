"""What people say: another status or cause of a sample, with a reason, tags, and filters worth keeping.

None of it is written by a judgement, so it survives one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select, update

from core.errors import UserError
from core.types import Filter, Run
from db.models import label_files, overrides, saved_filters, tags
from db.selection import condition, verdicts
from db.statements import insert_row
from db.text import storable


def set_override(
    conn: Connection,
    run_id: int,
    ordinal: int,
    *,
    status: str | None,
    cause: str | None,
    author: str,
    reason: str,
    clock: Callable[[], float] = time.time,
) -> None:
    """Replaces what was said about the sample in this run."""
    remove_override(conn, run_id, ordinal)
    values = {"run_id": run_id, "ordinal": ordinal, "status": status, "cause": cause, "created": clock()}
    conn.execute(insert(overrides).values(values | {"author": storable(author), "reason": storable(reason)}))


def remove_override(conn: Connection, run_id: int, ordinal: int) -> None:
    conn.execute(delete(overrides).where(overrides.c.run_id == run_id, overrides.c.ordinal == ordinal))


def overrides_of(conn: Connection, run_id: int, ordinals: Sequence[int] | None = None) -> dict[int, Mapping[str, Any]]:
    """Ordinal to what people said, of all samples of the run or of some."""
    query = select(overrides).where(overrides.c.run_id == run_id).order_by(overrides.c.ordinal)
    parts = [query] if ordinals is None else [query.where(overrides.c.ordinal.in_(p)) for p in _parts(ordinals)]
    return {r["ordinal"]: dict(r) for part in parts for r in conn.execute(part).mappings()}


def _parts(ordinals: Sequence[int]) -> list[list[int]]:
    """The ordinals in lists short enough for one statement."""
    return [list(ordinals[at : at + 500]) for at in range(0, len(ordinals), 500)]


# ------------------------------------------------------------------------------------------------------------- tags


def add_tags(
    conn: Connection,
    run_id: int,
    ordinals: Sequence[int],
    names: Sequence[str],
    author: str,
    clock: Callable[[], float] = time.time,
) -> int:
    """Puts every tag on every sample that has it not yet; returns how many were new."""
    new, now = 0, clock()
    for name in dict.fromkeys(storable(n) for n in names):
        for part in _parts(ordinals):
            mine = (tags.c.run_id == run_id, tags.c.tag == name, tags.c.ordinal.in_(part))
            standing = set(conn.execute(select(tags.c.ordinal).where(*mine)).scalars())
            values = {"run_id": run_id, "tag": name, "author": storable(author), "created": now}
            rows = [values | {"ordinal": o} for o in dict.fromkeys(part) if o not in standing]
            if rows:
                conn.execute(insert(tags), rows)
            new += len(rows)
    return new


def remove_tags(conn: Connection, run_id: int, ordinals: Sequence[int], names: Sequence[str]) -> int:
    """Takes the tags off the samples; returns how many were there."""
    gone = 0
    for part in _parts(ordinals):
        mine = (tags.c.run_id == run_id, tags.c.tag.in_([storable(n) for n in names]), tags.c.ordinal.in_(part))
        gone += conn.execute(delete(tags).where(*mine)).rowcount
    return gone


def tags_of(conn: Connection, run_id: int, ordinals: Sequence[int] | None = None) -> dict[int, tuple[str, ...]]:
    """Ordinal to its tags, sorted, of all samples of the run or of some."""
    query = select(tags.c.ordinal, tags.c.tag).where(tags.c.run_id == run_id).order_by(tags.c.ordinal, tags.c.tag)
    parts = [query] if ordinals is None else [query.where(tags.c.ordinal.in_(p)) for p in _parts(ordinals)]
    by_ordinal: dict[int, tuple[str, ...]] = {}
    for part in parts:
        for ordinal, tag in conn.execute(part):
            by_ordinal[ordinal] = (*by_ordinal.get(ordinal, ()), tag)
    return by_ordinal


def tag_authors(conn: Connection, run_id: int) -> list[Mapping[str, Any]]:
    """Every tag of the run with its ordinal, author and time."""
    query = select(tags.c.ordinal, tags.c.tag, tags.c.author, tags.c.created).where(tags.c.run_id == run_id)
    return [dict(r) for r in conn.execute(query.order_by(tags.c.ordinal, tags.c.tag)).mappings()]


def tag_counts(conn: Connection, run: Run, chosen: Filter) -> list[tuple[str, int]]:
    """(tag, samples that pass the filter) of every tag of the run, the most frequent first."""
    table = verdicts(run)
    query = select(tags.c.tag, func.count()).join(table, table.c.ordinal == tags.c.ordinal)
    query = query.where(tags.c.run_id == run.id, condition(run, chosen)).group_by(tags.c.tag)
    return sorted(((tag, n) for tag, n in conn.execute(query)), key=lambda pair: (-pair[1], pair[0]))


# ------------------------------------------------------------------------------------------------- files of labels


def add_label_file(
    conn: Connection,
    run_id: int,
    name: str,
    author: str,
    changes: Sequence[Mapping[str, Any]],
    clock: Callable[[], float] = time.time,
) -> int:
    """Notes that a file was taken in and what it changed; returns its id."""
    values = {"run_id": run_id, "name": storable(name), "author": storable(author)}
    return insert_row(conn, label_files, values | {"changes": [dict(c) for c in changes], "created": clock()})


def label_files_of(conn: Connection, run_id: int) -> list[Mapping[str, Any]]:
    """Files taken in for the run, newest first."""
    query = select(label_files).where(label_files.c.run_id == run_id).order_by(label_files.c.id.desc())
    return [dict(r) for r in conn.execute(query).mappings()]


def set_undone(conn: Connection, file_id: int, clock: Callable[[], float] = time.time) -> None:
    conn.execute(update(label_files).where(label_files.c.id == file_id).values(undone=clock()))


def agreement(conn: Connection, run: Run, field: str) -> tuple[int, int]:
    """(samples where the verdict says what a person says, samples where a person says anything) of status or cause."""
    table = verdicts(run)
    opinion = overrides.c[field]
    query = select(func.count(), func.sum(case((table.c[field] == opinion, 1), else_=0)))
    query = query.select_from(overrides).join(table, table.c.ordinal == overrides.c.ordinal)
    n, same = conn.execute(query.where(overrides.c.run_id == run.id, opinion.is_not(None))).one()
    return int(same or 0), int(n)


# ---------------------------------------------------------------------------------------------------------- filters


def save_filter(conn: Connection, name: str, query: str, clock: Callable[[], float] = time.time) -> None:
    """Raises UserError where there is a filter of that name."""
    if conn.execute(select(saved_filters.c.id).where(saved_filters.c.name == storable(name))).first() is not None:
        raise UserError(f"There is a filter {name!r} already.", "", "Choose another name, or delete that one first.")
    conn.execute(insert(saved_filters).values(name=storable(name), query=storable(query), created=clock()))


def list_filters(conn: Connection) -> list[Mapping[str, Any]]:
    """By name."""
    return [dict(r) for r in conn.execute(select(saved_filters).order_by(saved_filters.c.name)).mappings()]


def delete_filter(conn: Connection, filter_id: int) -> None:
    conn.execute(delete(saved_filters).where(saved_filters.c.id == filter_id))
