"""Which files the tables name, and about how much their rows take."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, func, select

from db.models import measured, route_items, routes, run_measures, sample_bodies, scorers


def artefacts(conn: Connection) -> set[str]:
    """Names of all artefacts that any row refers to."""
    names: set[str] = set()
    for column in (measured.c.artefact, route_items.c.artefact, scorers.c.file):
        names.update(conn.execute(select(column).where(column.is_not(None)).distinct()).scalars())
    # The items of a routes run over preference pairs.
    sources = (spec.get("source", {}) for spec in conn.execute(select(routes.c.spec)).scalars())
    names.update(source["artefact"] for source in sources if source.get("artefact"))
    return names


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
    for run, name in conn.execute(named.where(of_alone, measured.c.artefact.is_not(None))):
        files[run].append(name)
    return {run: (rows.get(run, 0), tuple(files[run])) for run in rows.keys() | files.keys()}
