"""Groups of a run's unlearned samples, and sets of rows picked by hand."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from core.types import Filter, Run
from db.models import grouped, groupings, picked, picks
from db.selection import condition, shown, verdicts
from db.statements import insert_row

_BATCH = 10_000


def write_grouping(
    conn: Connection,
    run_id: int,
    embedding: str,
    thresholds: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
    rows: Sequence[tuple[int, int, int, float, float]],
    clock: Callable[[], float] = time.time,
) -> None:
    """Replaces the run's grouping. ``rows``: (ordinal, group, part, x, y) of every sample that was grouped."""
    conn.execute(delete(groupings).where(groupings.c.run_id == run_id))
    conn.execute(delete(grouped).where(grouped.c.run_id == run_id))
    values = {"run_id": run_id, "embedding": embedding, "thresholds": dict(thresholds), "n_rows": len(rows)}
    conn.execute(insert(groupings), [values | {"groups": [dict(g) for g in groups], "created": clock()}])
    names = ("run_id", "ordinal", "group", "part", "x", "y")
    for at in range(0, len(rows), _BATCH):
        conn.execute(insert(grouped), [dict(zip(names, (run_id, *r), strict=True)) for r in rows[at : at + _BATCH]])


def grouping(conn: Connection, run_id: int) -> Mapping[str, Any] | None:
    """The run's grouping without its rows; None where there is none."""
    row = conn.execute(select(groupings).where(groupings.c.run_id == run_id)).mappings().one_or_none()
    return None if row is None else dict(row)


def counts(conn: Connection, run: Run, by: str, chosen: Filter) -> list[tuple[int, int, Any, int]]:
    """(group, part, value of the column ``by``, rows) under the filter, for every combination that occurs."""
    table, value = verdicts(run), shown(run, by, chosen)
    query = select(grouped.c.group, grouped.c.part, value, func.count())
    query = query.join(table, table.c.ordinal == grouped.c.ordinal).where(grouped.c.run_id == run.id)
    query = query.where(condition(run, chosen)).group_by(grouped.c.group, grouped.c.part, value)
    return [(group, part, value_, n) for group, part, value_, n in conn.execute(query)]


def points(conn: Connection, run: Run, chosen: Filter) -> list[tuple[int, str, int, int, float, float, str | None]]:
    """(ordinal, sid, group, part, x, y, cause) of the grouped rows that the filter keeps, in training order."""
    table = verdicts(run)
    cells = (table.c.ordinal, table.c.sid, grouped.c.group, grouped.c.part, grouped.c.x, grouped.c.y)
    query = select(*cells, shown(run, "cause", chosen).label("cause"))
    query = query.join(table, table.c.ordinal == grouped.c.ordinal).where(grouped.c.run_id == run.id)
    query = query.where(condition(run, chosen)).order_by(table.c.ordinal)
    return [tuple(row) for row in conn.execute(query)]


def pick(conn: Connection, run_id: int, ordinals: Sequence[int], clock: Callable[[], float] = time.time) -> int:
    """The number of the set of these rows, stored if there is none of them yet."""
    chosen = sorted(set(ordinals))
    digest = hashlib.sha256(",".join(map(str, chosen)).encode()).hexdigest()
    same = select(picks.c.id).where(picks.c.run_id == run_id, picks.c.digest == digest)
    if (standing := conn.execute(same).scalar_one_or_none()) is not None:
        return int(standing)
    values = {"run_id": run_id, "digest": digest, "n_rows": len(chosen), "created": clock()}
    new = insert_row(conn, picks, values)
    for part in (chosen[at : at + _BATCH] for at in range(0, len(chosen), _BATCH)):
        conn.execute(insert(picked), [{"pick_id": new, "ordinal": o} for o in part])
    return new
