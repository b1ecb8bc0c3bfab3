"""Measurements that no run rests on and that are kept for the next one: how large, how old, and removing them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from db.models import kept_measures, measured, measures
from db.statements import unnamed

# Rows that are read for a size: 1,000 give the mean of texts to some percent.
READ = 1000


@dataclass(frozen=True, slots=True)
class KeptMeasure:
    """``since``: epoch seconds. ``rows``, about the ``bytes`` of their numbers, and the ``artefacts`` they name."""

    id: int
    since: float
    rows: int
    bytes: int
    artefacts: tuple[str, ...]


def keep(conn: Connection, measure_ids: Iterable[int], clock: Callable[[], float] = time.time) -> None:
    """Keeps measures that no run rests on any more."""
    values = [{"measure_id": m, "since": clock()} for m in measure_ids]
    if values:
        conn.execute(insert(kept_measures), values)


def list_kept(conn: Connection) -> list[KeptMeasure]:
    """The longest kept first."""
    ids = kept_measures.c.measure_id
    sizes, found = measured_sizes(conn, measured.c.measure_id.in_(select(ids))), []
    kept = select(ids, kept_measures.c.since).order_by(kept_measures.c.since, ids)
    for measure_id, since in conn.execute(kept).all():
        own = (measured.c.measure_id == measure_id) & measured.c.artefact.is_not(None)
        files = tuple(conn.execute(select(measured.c.artefact).where(own).distinct()).scalars())
        found.append(KeptMeasure(measure_id, since, *sizes.get(measure_id, (0, 0)), files))
    return found


def measured_sizes(conn: Connection, of: ColumnElement[bool] | None = None) -> dict[int, tuple[int, int]]:
    """Measure to its rows and about the bytes of their numbers: the first rows stand for the others, in the order of
    their hashes, which is none.

    Args:
        of: condition on the measures; None for all.
    """
    counts = select(measured.c.measure_id, func.count()).group_by(measured.c.measure_id)
    found = {}
    for measure, rows in conn.execute(counts if of is None else counts.where(of)).all():
        some = select(measured.c.columns).where(measured.c.measure_id == measure)
        some = some.order_by(measured.c.content_hash).limit(READ)
        mean = conn.execute(select(func.avg(func.length(some.subquery().c.columns)))).scalar()
        found[measure] = (rows, int(rows * float(mean or 0)))
    return found


def remove(conn: Connection, measure_ids: Iterable[int]) -> list[str]:
    """Deletes measures; returns the artefacts that nothing measured names any more."""
    ids = list(measure_ids)
    named = select(measured.c.artefact).where(measured.c.measure_id.in_(ids), measured.c.artefact.is_not(None))
    names = sorted(set(conn.execute(named.distinct()).scalars()))
    conn.execute(delete(measures).where(measures.c.id.in_(ids)))
    # Artefacts are named by content, so that another measure may refer to the same one.
    return unnamed(conn, measured.c.artefact, names)
