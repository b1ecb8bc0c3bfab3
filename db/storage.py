"""Which files the tables name."""

from __future__ import annotations

from sqlalchemy import Connection, select

from db.models import measured, route_items, routes, scorers


def artefacts(conn: Connection) -> set[str]:
    """Names of all artefacts that any row refers to."""
    names: set[str] = set()
    for column in (measured.c.artefact, route_items.c.artefact, scorers.c.file):
        names.update(conn.execute(select(column).where(column.is_not(None)).distinct()).scalars())
    # The items of a routes run over preference pairs.
    sources = (spec.get("source", {}) for spec in conn.execute(select(routes.c.spec)).scalars())
    names.update(source["artefact"] for source in sources if source.get("artefact"))
    return names
