"""What people say: another status or cause of a sample, with a reason, and filters worth keeping.

None of it is written by a judgement, so it survives one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select

from core.errors import UserError
from core.types import Run
from db.models import overrides, saved_filters
from db.selection import verdicts
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
    query = select(overrides).where(overrides.c.run_id == run_id)
    if ordinals is not None:
        query = query.where(overrides.c.ordinal.in_(list(ordinals)))
    return {r["ordinal"]: dict(r) for r in conn.execute(query.order_by(overrides.c.ordinal)).mappings()}


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
