"""Measurements that no run rests on and that are kept for the next one: how large, how old, and removing them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from db.models import kept_measures, measured, measures
from db.statements import unnamed


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
    joined = kept_measures.outerjoin(measured, measured.c.measure_id == kept_measures.c.measure_id)
    sums = func.count(measured.c.content_hash), func.sum(func.length(measured.c.columns))
    query = select(kept_measures.c.measure_id, kept_measures.c.since, *sums).select_from(joined)
    order = (kept_measures.c.since, kept_measures.c.measure_id)
    found = []
    for measure_id, since, rows, size in conn.execute(query.group_by(*order).order_by(*order)):
        own = (measured.c.measure_id == measure_id) & measured.c.artefact.is_not(None)
        files = tuple(conn.execute(select(measured.c.artefact).where(own).distinct()).scalars())
        found.append(KeptMeasure(measure_id, since, rows, int(size or 0), files))
    return found


def count_measured(conn: Connection) -> tuple[int, int]:
    """How many rows are measured, each under each checkpoint once, and about the bytes of their numbers."""
    rows, size = conn.execute(select(func.count(), func.sum(func.length(measured.c.columns)))).one()
    return int(rows), int(size or 0)


def remove(conn: Connection, measure_ids: Iterable[int]) -> list[str]:
    """Deletes measures; returns the artefacts that nothing measured names any more."""
    ids = list(measure_ids)
    named = select(measured.c.artefact).where(measured.c.measure_id.in_(ids), measured.c.artefact.is_not(None))
    names = sorted(set(conn.execute(named.distinct()).scalars()))
    conn.execute(delete(measures).where(measures.c.id.in_(ids)))
    # Artefacts are named by content, so that another measure may refer to the same one.
    return unnamed(conn, measured.c.artefact, names)
