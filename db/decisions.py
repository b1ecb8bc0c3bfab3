"""What people decided about groups of contradicting rows; one decision a group and dataset."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from core.types import Decision
from db.models import contradiction_decisions as table
from db.text import storable


def decide(conn: Connection, dataset_id: int, decision: Decision) -> None:
    """Stores the decision, in place of an earlier one on the same group."""
    forget(conn, dataset_id, decision.key)
    values = {
        "dataset_id": dataset_id,
        "key": decision.key,
        "choice": decision.choice,
        "kept": list(decision.kept),
        "members": list(decision.members),
        "author": storable(decision.author),
        "note": storable(decision.note),
        "created": decision.created,
    }
    conn.execute(insert(table), [values])


def forget(conn: Connection, dataset_id: int, key: str) -> bool:
    """Takes the decision on a group back; whether there was one."""
    return conn.execute(delete(table).where(table.c.dataset_id == dataset_id, table.c.key == key)).rowcount > 0


def decisions(conn: Connection, dataset_id: int) -> list[Decision]:
    """All decisions on the dataset, oldest first."""
    query = select(table).where(table.c.dataset_id == dataset_id).order_by(table.c.created, table.c.key)
    return [
        Decision(r.key, r.choice, tuple(r.kept), tuple(r.members), r.author, r.note, r.created)
        for r in conn.execute(query)
    ]
