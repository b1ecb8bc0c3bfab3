"""Which files the tables name, and about how much their rows take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

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
    """Dataset to about the bytes of its rows: the characters of their texts, which stand there twice."""
    body = sample_bodies.c
    length = func.length(body.raw) + func.length(body.body) + func.length(body.search)
    query = select(body.dataset_id, func.sum(length)).group_by(body.dataset_id)
    return {dataset: int(total or 0) for dataset, total in conn.execute(query)}


def own_measures(conn: Connection) -> dict[int, tuple[int, tuple[str, ...]]]:
    """Run to what it alone rests on: about the bytes of the rows, and the names of the artefacts."""
    links = run_measures.c
    alone = select(links.measure_id).group_by(links.measure_id).having(func.count() == 1)
    joined = run_measures.join(measured, measured.c.measure_id == links.measure_id)
    of_alone = links.measure_id.in_(alone)
    sums = select(links.run_id, func.sum(func.length(measured.c.columns))).select_from(joined).where(of_alone)
    rows = {run: int(total or 0) for run, total in conn.execute(sums.group_by(links.run_id))}
    files: dict[int, list[str]] = defaultdict(list)
    named = select(links.run_id, measured.c.artefact).select_from(joined).distinct()
    # A row that another measure took over names the same file.
    shared = select(measured.c.artefact).group_by(measured.c.artefact)
    shared = shared.having(func.count(measured.c.measure_id.distinct()) > 1)
    for run, name in conn.execute(named.where(of_alone, measured.c.artefact.not_in(shared))):
        files[run].append(name)
    return {run: (rows.get(run, 0), tuple(files[run])) for run in rows.keys() | files.keys()}
