"""What a run's checkpoint answers, as text to search in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from db import search
from db.models import run_outputs
from db.text import folded

# Characters of a sample's outputs that are searched. Answers have a limit in tokens, so these are hardly ever more.
LONGEST = 20_000
_BATCH = 10_000


def write_outputs(conn: Connection, run_id: int, texts: Iterable[tuple[int, str]]) -> None:
    """Replaces the run's searched outputs. ``texts``: (ordinal, all outputs of the sample), empty ones left out."""
    search.clear(conn, run_outputs, run_id)
    for rows in _batches({"run_id": run_id, "ordinal": o, "search": folded(t[:LONGEST])} for o, t in texts if t):
        search.add(conn, run_outputs, run_id, rows)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while part := list(islice(rows, _BATCH)):
        yield part
