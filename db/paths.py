"""Counts along the checkpoints of a run and along its training order, under one filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, cast, func, select

from core.types import Filter, Run
from db.selection import column, condition, verdicts
from db.statements import count_rows

# Knuth's multiplicative hash: rows that follow each other land anywhere, the same at every call.
_FACTOR, _MODULUS = 2654435761, 2**32


@dataclass(frozen=True, slots=True)
class PathCount:
    """One group's rows along c checkpoints.

    Attributes:
        value: the group; ``rows`` in it.
        known, given: (c,) rows measured at the checkpoint, and of these rows that it gives.
        gained, lost: (c,) rows that changed to given, and from given, since the checkpoint before; 0 at the first.
    """

    value: Any
    rows: int
    known: tuple[int, ...]
    given: tuple[int, ...]
    gained: tuple[int, ...]
    lost: tuple[int, ...]


def path_counts(conn: Connection, run: Run, flags: Sequence[str], chosen: Filter, by: str) -> list[PathCount]:
    """Counts for each value of the column ``by``; one walk over the rows that the filter keeps.

    Args:
        flags: columns that say at which checkpoints a row was given, in their order; ``status`` stands for the final
            one, where learned is given.
    """
    states = [_state(run, name) for name in flags]
    changes = [(func.sum(case((and_(a == 0, b == 1), 1), else_=0)), func.sum(case((and_(a == 1, b == 0), 1), else_=0)))
               for a, b in pairwise(states)]  # fmt: skip
    sums: list[ColumnElement[Any]] = [f for s in states for f in (func.count(s), func.coalesce(func.sum(s), 0))]
    group = column(run, by)
    query = select(group, func.count(), *sums, *(f for pair in changes for f in pair))
    out = []
    for row in conn.execute(query.where(condition(run, chosen)).group_by(group)):
        numbers = [int(v or 0) for v in row[2:]]
        ends = 2 * len(states)
        gained, lost = (0, *numbers[ends::2]), (0, *numbers[ends + 1 :: 2])
        out.append(PathCount(row[0], row[1], tuple(numbers[:ends:2]), tuple(numbers[1:ends:2]), gained, lost))
    return out


def _state(run: Run, name: str) -> ColumnElement[Any]:
    """1, 0 or NULL."""
    col = column(run, name)
    return (
        case((col == "learned", 1), (col == "unknown", None), (col.is_(None), None), else_=0)
        if name == "status"
        else col
    )


def position_counts(conn: Connection, run: Run, bins: int, chosen: Filter) -> list[tuple[int, Any, str, int]]:
    """(bin of the training order, stage, status, rows); bins are equal parts of the whole dataset."""
    table = verdicts(run)
    place = (cast(table.c.ordinal, BigInteger) * bins) // max(1, run.n_samples)
    stage, status = column(run, "stage"), column(run, "status")
    counted = select(place, stage, status, func.count()).where(condition(run, chosen))
    rows = conn.execute(counted.group_by(place, stage, status))
    return [(min(int(b), bins - 1), s, str(v), n) for b, s, v, n in rows]


def scatter(
    conn: Connection, run: Run, names: Sequence[str], chosen: Filter, most: int
) -> tuple[list[tuple[Any, ...]], int]:
    """Rows with all of ``names`` measured, as (ordinal, sid, values), and how many there are.

    Of more than ``most`` an even draw is given, the same at every call.
    """
    table = verdicts(run)
    columns = [column(run, name) for name in names]
    measured = and_(condition(run, chosen), *(c.is_not(None) for c in columns))
    n = count_rows(conn, table, measured)
    query = select(table.c.ordinal, table.c.sid, *columns).where(measured)
    if n > most:
        # A little below, so that the limit, which would cut the end of the dataset off, is not what decides.
        # PostgreSQL multiplies in 32 bits where nothing says otherwise, and gives up where they are passed.
        hashed = cast(table.c.ordinal, BigInteger) * _FACTOR % _MODULUS
        query = query.where(hashed < int(_MODULUS * 0.98 * most / n))
    return [tuple(r) for r in conn.execute(query.order_by(table.c.ordinal).limit(most))], n


def by_step(conn: Connection, run: Run, step: str, loss: str, chosen: Filter) -> list[tuple[int, int, float, float]]:
    """(step, rows, mean loss, highest loss) of the rows that the filter keeps, in the order of the steps.

    Args:
        step, loss: columns of one epoch.
    """
    at, value = column(run, step), column(run, loss)
    query = select(at, func.count(value), func.avg(value), func.max(value))
    measured = and_(condition(run, chosen), at.is_not(None), value.is_not(None))
    rows = conn.execute(query.where(measured).group_by(at).order_by(at))
    return [(int(s), int(n), float(mean), float(most)) for s, n, mean, most in rows]


def mean_by(conn: Connection, run: Run, loss: str, by: str, chosen: Filter) -> list[tuple[Any, int, float]]:
    """(value of ``by``, rows, mean loss) of the rows that the filter keeps."""
    value, group = column(run, loss), column(run, by)
    query = select(group, func.count(value), func.avg(value))
    rows = conn.execute(query.where(and_(condition(run, chosen), value.is_not(None))).group_by(group))
    return [(name, int(n), float(mean)) for name, n, mean in rows]


def at_step(
    conn: Connection, run: Run, step: str, loss: str, chosen: Filter, number: int, most: int
) -> list[tuple[str, str | None, str, float]]:
    """(sid, source, status, loss) of the rows of one step, the highest loss first."""
    table = verdicts(run)
    at, value = column(run, step), column(run, loss)
    query = select(table.c.sid, column(run, "source"), column(run, "status"), value)
    query = query.where(and_(condition(run, chosen), at == number, value.is_not(None)))
    rows = conn.execute(query.order_by(value.desc(), table.c.ordinal).limit(most))
    return [(sid, source, str(status), float(loss)) for sid, source, status, loss in rows]
