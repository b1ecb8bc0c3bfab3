"""Routes runs: what was chosen, what was generated of it, and trained scorers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from core.errors import UserError
from db.models import route_items, routes, runs, samples, scorers
from db.statements import count_rows, insert_row, unnamed
from db.storage import source_artefact, unnamed_artefacts
from db.text import storable


def create(
    conn: Connection,
    name: str,
    mode: str,
    spec: Mapping[str, Any],
    items: Sequence[tuple[int, str, str, str]],
    run_id: int | None = None,
) -> int:
    """A new routes run and its items, (ordinal, sid, content hash, question) each; returns its id."""
    values = {"run_id": run_id, "name": storable(name), "mode": mode, "spec": dict(spec), "n_items": len(items),
              "version": 0, "created": time.time()}  # fmt: skip
    route_id = insert_row(conn, routes, values)
    if items:
        conn.execute(insert(route_items), _rows(route_id, items))
    return route_id


def get(conn: Connection, route_id: int) -> dict[str, Any]:
    """Raises UserError where there is none of that id."""
    row = conn.execute(select(routes).where(routes.c.id == route_id)).mappings().one_or_none()
    if row is None:
        raise UserError(f"There is no routes run {route_id}.", "It may have been deleted.", "Choose another one.")
    return dict(row)


def list_routes(conn: Connection, run_id: int | None = None) -> list[dict[str, Any]]:
    """Newest first; those of one diagnosis if asked for."""
    query = select(routes).order_by(routes.c.id.desc())
    if run_id is not None:
        query = query.where(routes.c.run_id == run_id)
    return [dict(r) for r in conn.execute(query).mappings()]


def missing(conn: Connection, route_id: int) -> list[int]:
    """Ordinals of the items that were not generated yet, in order."""
    query = select(route_items.c.ordinal).where(route_items.c.route_id == route_id, route_items.c.kept.is_(None))
    return list(conn.execute(query.order_by(route_items.c.ordinal)).scalars())


def done(conn: Connection, route_id: int) -> int:
    """How many items were generated."""
    return count_rows(conn, route_items, route_items.c.route_id == route_id, route_items.c.kept.is_not(None))


def store(
    conn: Connection, route_id: int, ordinals: Sequence[int], kept: Sequence[Mapping[str, Any]], artefact: str
) -> None:
    """Stores what was generated of these items; the i-th one's texts are in slot i of the artefact."""
    for slot, (ordinal, item) in enumerate(zip(ordinals, kept, strict=True)):
        conn.execute(
            update(route_items)
            .where(route_items.c.route_id == route_id, route_items.c.ordinal == ordinal)
            .values(kept=json.dumps(item), artefact=artefact, slot=slot)
        )
    _touch(conn, route_id)


def store_scores(conn: Connection, route_id: int, scorer_id: int, kept: Mapping[int, Mapping[str, Any]]) -> None:
    """Replaces what replay reads of these items: their paths have scores now."""
    for ordinal, item in kept.items():
        conn.execute(
            update(route_items)
            .where(route_items.c.route_id == route_id, route_items.c.ordinal == ordinal)
            .values(kept=json.dumps(item))
        )
    conn.execute(update(routes).where(routes.c.id == route_id).values(scorer_id=scorer_id))
    _touch(conn, route_id)


def _touch(conn: Connection, route_id: int) -> None:
    conn.execute(update(routes).where(routes.c.id == route_id).values(version=routes.c.version + 1))


def items(conn: Connection, route_id: int) -> list[dict[str, Any]]:
    """Generated items in order: ordinal, sid, content_hash, question, kept (a dict), artefact, slot."""
    query = select(route_items).where(route_items.c.route_id == route_id, route_items.c.kept.is_not(None))
    rows = conn.execute(query.order_by(route_items.c.ordinal)).mappings()
    return [{**r, "kept": json.loads(r["kept"])} for r in rows]


def item(conn: Connection, route_id: int, ordinal: int) -> dict[str, Any]:
    """One generated item, as ``items`` gives it; raises UserError where it was not generated."""
    query = select(route_items).where(
        route_items.c.route_id == route_id, route_items.c.ordinal == ordinal, route_items.c.kept.is_not(None)
    )
    row = conn.execute(query).mappings().one_or_none()
    if row is None:
        raise UserError(f"Routes run {route_id} has no item {ordinal}.", "", "Choose one from its lists.")
    return {**row, "kept": json.loads(row["kept"])}


def ordinal_of(conn: Connection, route_id: int, sid: str) -> int | None:
    """Ordinal of the sample of this id if it was generated, exact duplicates of it included; else None."""
    same = (
        select(samples.c.content_hash)
        .join(runs, runs.c.dataset_id == samples.c.dataset_id)
        .join(routes, routes.c.run_id == runs.c.id)
    )
    query = select(route_items.c.ordinal).where(
        route_items.c.route_id == route_id,
        route_items.c.kept.is_not(None),
        route_items.c.content_hash.in_(same.where(routes.c.id == route_id, samples.c.sid == storable(sid))),
    )
    return conn.execute(query).scalar_one_or_none()


def set_items(
    conn: Connection, route_id: int, spec: Mapping[str, Any], items: Sequence[tuple[int, str, str, str]]
) -> None:
    """Gives a routes run that has no items yet its items, and the spec that says where they came from."""
    conn.execute(update(routes).where(routes.c.id == route_id).values(spec=dict(spec), n_items=len(items)))
    conn.execute(insert(route_items), _rows(route_id, items))
    _touch(conn, route_id)


def _rows(route_id: int, items: Sequence[tuple[int, str, str, str]]) -> list[dict[str, Any]]:
    return [
        {"route_id": route_id, "ordinal": o, "sid": storable(s), "content_hash": h, "question": storable(q)}
        for o, s, h, q in items
    ]


def remove(conn: Connection, route_id: int) -> list[str]:
    """Deletes a routes run; returns the artefacts that no other one names, to remove once this is committed."""
    query = select(route_items.c.artefact).where(
        route_items.c.route_id == route_id, route_items.c.artefact.is_not(None)
    )
    names = set(conn.execute(query.distinct()).scalars())
    spec = conn.execute(select(routes.c.spec).where(routes.c.id == route_id)).scalar_one_or_none()
    if (source := source_artefact(spec)) is not None:
        names.add(source)
    conn.execute(delete(routes).where(routes.c.id == route_id))
    return unnamed_artefacts(conn, names)


def artefacts_of_run(conn: Connection, run_id: int) -> list[str]:
    """Artefacts of all routes runs of a diagnosis, which go with it."""
    of_run = select(routes.c.id).where(routes.c.run_id == run_id)
    query = select(route_items.c.artefact).where(
        route_items.c.route_id.in_(of_run), route_items.c.artefact.is_not(None)
    )
    return sorted(set(conn.execute(query.distinct()).scalars()))


# ----------------------------------------------------------------------------------------------------- scorers


def add_scorer(
    conn: Connection, name: str, file: str, encoder: str, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> int:
    values = {"name": storable(name), "file": file, "encoder": encoder, "settings": dict(settings),
              "facts": dict(facts), "created": time.time()}  # fmt: skip
    return insert_row(conn, scorers, values)


def list_scorers(conn: Connection) -> list[dict[str, Any]]:
    """Newest first."""
    return [dict(r) for r in conn.execute(select(scorers).order_by(scorers.c.id.desc())).mappings()]


def get_scorer(conn: Connection, scorer_id: int) -> dict[str, Any]:
    """Raises UserError where there is none of that id."""
    row = conn.execute(select(scorers).where(scorers.c.id == scorer_id)).mappings().one_or_none()
    if row is None:
        raise UserError(f"There is no scorer {scorer_id}.", "It may have been deleted.", "Choose another one.")
    return dict(row)


def remove_scorer(conn: Connection, scorer_id: int) -> str | None:
    """Forgets a scorer; returns its file where no other one names it. Scores that it gave stay."""
    file = get_scorer(conn, scorer_id)["file"]
    conn.execute(delete(scorers).where(scorers.c.id == scorer_id))
    return next(iter(unnamed(conn, scorers.c.file, [file])), None)
