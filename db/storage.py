"""Which files the tables name, and about how much their rows take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from db.kept import READ, measured_sizes
from db.models import measured, route_items, routes, run_measures, sample_bodies, scorers
from db.statements import unnamed


def artefacts(conn: Connection) -> set[str]:
    """Names of all artefacts that any row refers to."""
    names: set[str] = set()
    for column in (measured.c.artefact, route_items.c.artefact, scorers.c.file):
        names.update(conn.execute(select(column).where(column.is_not(None)).distinct()).scalars())
    return names | _sources(conn)


def _sources(conn: Connection) -> set[str]:
    """The items of routes runs over preference pairs."""
    return {name for spec in conn.execute(select(routes.c.spec)).scalars() if (name := source_artefact(spec))}


def source_artefact(spec: Any) -> str | None:
    """The file that holds the items of a routes run over preference pairs; None for another routes run."""
    source = spec.get("source") if isinstance(spec, dict) else None
    name = source.get("artefact") if isinstance(source, dict) else None
    return name if isinstance(name, str) and name else None


def unnamed_artefacts(conn: Connection, names: Iterable[str]) -> list[str]:
    """Those of the artefacts that no row refers to, whatever its table: equal content is one file."""
    left = sorted(set(names))
    for column in (measured.c.artefact, route_items.c.artefact, scorers.c.file):
        left = unnamed(conn, column, left)
    return sorted(set(left) - _sources(conn)) if left else []


def dataset_sizes(conn: Connection) -> dict[int, int]:
    """Dataset to about the bytes of its rows: the characters of their texts, which stand there twice.

    Of a large dataset some rows are read, evenly spread, and stand for the others.
    """
    body, found = sample_bodies.c, {}
    length = func.length(body.raw) + func.length(body.body) + func.length(body.search)
    for dataset, n in conn.execute(select(body.dataset_id, func.count()).group_by(body.dataset_id)).all():
        some = (body.dataset_id == dataset) & (body.ordinal % (n // READ + 1) == 0)
        mean = conn.execute(select(func.avg(length)).where(some)).scalar()
        found[dataset] = int(n * float(mean or 0))
    return found


def own_measures(conn: Connection) -> dict[int, tuple[int, tuple[str, ...]]]:
    """Run to what it alone rests on: about the bytes of the rows, and the names of the artefacts."""
    links, of = run_measures.c, measured.c
    alone = select(links.measure_id, func.min(links.run_id)).group_by(links.measure_id).having(func.count() == 1)
    runs = {row[0]: row[1] for row in conn.execute(alone)}
    rows, files = defaultdict[int, int](int), defaultdict[int, list[str]](list)
    for measure, (_, size) in measured_sizes(conn).items():
        if measure in runs:
            rows[runs[measure]] += size
    # A row that another measure took over names the same file.
    named = select(of.artefact, func.min(of.measure_id)).where(of.artefact.is_not(None)).group_by(of.artefact)
    for name, measure in conn.execute(named.having(func.min(of.measure_id) == func.max(of.measure_id))):
        if measure in runs:
            files[runs[measure]].append(name)
    return {run: (rows[run], tuple(files[run])) for run in rows.keys() | files.keys()}
