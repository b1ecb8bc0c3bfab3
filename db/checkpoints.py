"""Registered checkpoints with their sanity cards; a row is a dict of plain values.

Keys: ``id``, ``name``, ``group``, the fields of ``core.types.Checkpoint``, ``owned``, ``n_bytes``, ``facts``, ``card``
(JSON or None), ``created``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select
from sqlalchemy import delete as sql_delete

from core.types import Checkpoint
from db.models import checkpoints
from db.statements import insert_row
from db.text import storable


def add(
    conn: Connection,
    name: str,
    group: str,
    checkpoint: Checkpoint,
    owned: bool,
    n_bytes: int,
    facts: Mapping[str, Any],
    clock: Callable[[], float] = time.time,
) -> int:
    """Registers a checkpoint and returns its id.

    Args:
        group: what it came with; the checkpoints of one archive or folder share it.
        owned: unpacked by Lacuna, so that its files go when it is deleted.
    """
    values = {
        **{name: value for name, value in checkpoint.as_dict().items() if name not in ("server", "gives", "files")},
        "name": storable(name),
        "group_name": storable(group),
        "label": storable(checkpoint.label),
        "owned": owned,
        "n_bytes": n_bytes,
        "facts": dict(facts) | _told(checkpoint),
        "created": clock(),
    }
    return insert_row(conn, checkpoints, values)


def _told(checkpoint: Checkpoint) -> dict[str, Any]:
    """What few checkpoints have: a server, or files that speak of one without weights."""
    if not checkpoint.has_weights:
        return {"gives": list(checkpoint.gives or ()), "files": list(checkpoint.files)}
    return {"server": asdict(checkpoint.server)} if checkpoint.server else {}


def get(conn: Connection, checkpoint_id: int) -> dict[str, Any] | None:
    """The checkpoint; None where there is none of that id."""
    row = conn.execute(select(checkpoints).where(checkpoints.c.id == checkpoint_id)).mappings().one_or_none()
    return None if row is None else _plain(row)


def list_checkpoints(conn: Connection) -> list[dict[str, Any]]:
    """All checkpoints, the group that was added to last first, within a group in the order of registration."""
    newest = func.max(checkpoints.c.id).over(partition_by=checkpoints.c.group_name)
    rows = conn.execute(select(checkpoints).order_by(newest.desc(), checkpoints.c.id)).mappings()
    return [_plain(r) for r in rows]


def delete(conn: Connection, checkpoint_id: int) -> None:
    """Forgets the checkpoint; its files, where owned, are the caller's to remove."""
    conn.execute(sql_delete(checkpoints).where(checkpoints.c.id == checkpoint_id))


def _plain(row: RowMapping) -> dict[str, Any]:
    values = dict(row)
    values["group"] = values.pop("group_name")
    return values
