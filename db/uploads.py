"""Uploaded files: where they lie and whether all has come; a row is a dict of plain values.

Keys: ``id`` (an unguessable token), ``name``, ``path``, ``size`` (announced, then real), ``sha256``, ``state``
(``announced``, ``receiving``, ``done``), ``created``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy import delete as sql_delete

from db.models import uploads
from db.text import storable


def add(
    conn: Connection,
    upload_id: str,
    name: str,
    path: str,
    size: int,
    author: str | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Records an announced upload; ``name`` is what the sender calls it, ``path`` where Lacuna puts it."""
    values = {"id": upload_id, "name": storable(name), "path": path, "size": size, "created": clock()}
    by = None if author is None else storable(author)
    conn.execute(insert(uploads).values(**values, state="announced", author=by))


def claim(conn: Connection, upload_id: str) -> bool:
    """Takes an announced upload for writing; False where another request has it or it has ended."""
    query = update(uploads).where(uploads.c.id == upload_id, uploads.c.state == "announced").values(state="receiving")
    return conn.execute(query).rowcount == 1


def finish(conn: Connection, upload_id: str, size: int, sha256: str) -> None:
    """All bytes have come."""
    conn.execute(update(uploads).where(uploads.c.id == upload_id).values(size=size, sha256=sha256, state="done"))


def get(conn: Connection, upload_id: str) -> dict[str, Any] | None:
    """The upload; None where there is none of that id."""
    row = conn.execute(select(uploads).where(uploads.c.id == upload_id)).mappings().one_or_none()
    return None if row is None else dict(row)


def list_uploads(conn: Connection) -> list[dict[str, Any]]:
    """All uploads, newest first."""
    query = select(uploads).order_by(uploads.c.created.desc(), uploads.c.id)
    return [dict(r) for r in conn.execute(query).mappings()]


def stale(conn: Connection, older_than: float, clock: Callable[[], float] = time.time) -> list[str]:
    """Ids of uploads that were begun more than ``older_than`` seconds ago and have not ended."""
    query = select(uploads.c.id).where(uploads.c.state != "done", uploads.c.created < clock() - older_than)
    return list(conn.execute(query).scalars())


def unused(conn: Connection, older_than: float, clock: Callable[[], float] = time.time) -> list[str]:
    """Ids of uploads that ended and were begun more than ``older_than`` seconds ago."""
    query = select(uploads.c.id).where(uploads.c.state == "done", uploads.c.created < clock() - older_than)
    return list(conn.execute(query).scalars())


def delete(conn: Connection, upload_id: str) -> None:
    """Forgets the upload; its file is the caller's to remove."""
    conn.execute(sql_delete(uploads).where(uploads.c.id == upload_id))
