"""A run's work list: one line a sample that was not learned, with why, and what to do about it, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from core.services import causes, decision, labels
from core.services.excerpts import Excerpt, excerpts
from core.services.runs import get_run
from core.types import Filter, Term
from db import verdicts as verdict_table
from db.session import database

COLUMNS = (
    "position", "id", "status", "cause", "confidence", "prompt", "target", "output", "why", "what to do",
    *labels.COLUMNS,
)  # fmt: skip
_BATCH = 200
# Characters of a cell. Spreadsheets take 32,767; the export of rows has the whole.
_LONGEST = 2_000
# A cell that begins like this is read as a formula by spreadsheets.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NOT_LEARNED = Term("status", "in", ("partly", "unlearned"))


def lines(run_id: int, chosen: Filter) -> Iterator[bytes]:
    """The header and a line for each sample that passes and was not learned, in training order, as CSV in UTF-8."""
    run = get_run(run_id)
    statuses = [t for t in chosen.terms if t.column == "status"]
    wanted = Filter((*chosen.terms, *(() if statuses else (_NOT_LEARNED,))), chosen.text)
    yield start(COLUMNS)
    with database().reading() as conn:
        ordinals = verdict_table.ordinals(conn, run, wanted)
        while batch := list(islice(ordinals, _BATCH)):
            rows = verdict_table.judged(conn, run, batch)
            texts = excerpts(run_id, [rows[o] for o in batch])
            reviews = labels.reviews_of(conn, run.id, batch)
            for ordinal in batch:
                row = rows[ordinal]
                review = reviews.get(ordinal, labels.NOTHING)
                tags = "; ".join(review["tags"])
                people = [tags if name == "tags" else review[name] or "" for name in labels.COLUMNS]
                yield line((*_cells(row, texts[row["sid"]]), *people))


def _cells(row: Mapping[str, Any], excerpt: Excerpt) -> tuple[object, ...]:
    cause, confidence = row["cause"], row.get("confidence")
    prompt = next((text for role, text in reversed(excerpt.prompt) if role in ("user", "tool")), "")
    return (
        row["ordinal"],
        row["sid"],
        row["status"],
        "" if cause is None else causes.look(cause).label,
        "" if confidence is None else f"{confidence:.2f}",
        prompt,
        excerpt.target,
        excerpt.output or "",
        excerpt.sentence,
        "" if cause is None else decision.advice(cause),
    )


def start(columns: Sequence[str]) -> bytes:
    """The header of a list, behind the mark by which spreadsheets know UTF-8."""
    return "\ufeff".encode() + line(columns)


def line(cells: Sequence[object]) -> bytes:
    """One line of a list, safe to open: no cell is a formula or longer than a spreadsheet takes."""
    out = io.StringIO()
    csv.writer(out).writerow([_cell(cell) for cell in cells])
    return out.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: object) -> str:
    text = str(value)[:_LONGEST].replace("\x00", "")
    return f"'{text}" if text.startswith(_FORMULA) else text
