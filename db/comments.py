"""What a language model said about groups of contradicting rows; one comment a group and dataset."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from core.types import Comment
from db.models import contradiction_comments as table
from db.text import storable


def put(conn: Connection, dataset_id: int, comment: Comment) -> None:
    """Stores the comment, in place of an earlier one on the same group."""
    conn.execute(delete(table).where(table.c.dataset_id == dataset_id, table.c.key == comment.key))
    values = {
        "dataset_id": dataset_id,
        "key": comment.key,
        "sides": [list(side) for side in comment.sides],
        "model": storable(comment.model),
        "text": storable(comment.text),
        "shortened": comment.shortened,
        "created": comment.created,
    }
    conn.execute(insert(table), [values])


def comments(conn: Connection, dataset_id: int) -> dict[str, Comment]:
    """Key of the group to the comment on it, for the whole dataset."""
    return {
        r.key: Comment(r.key, tuple(tuple(side) for side in r.sides), r.model, r.text, r.shortened, r.created)
        for r in conn.execute(select(table).where(table.c.dataset_id == dataset_id))
    }
