"""The person's own files: rows in the dataset's shape, or passages of plain text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.errors import UserError
from core.formats._cells import RowError
from core.intake.datasets import read_json_row
from core.plugins import kind
from core.recipes._base import Made, Pool
from core.recipes._rewrite import composed
from core.types import Reading

PROMPT = "Write down what you know."


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line.rstrip(b"\r\n") for line in file if line.strip())


def _is_json(path: Path) -> bool:
    first = next(_lines(path), b"").lstrip()
    return first.startswith(b"{")


def _passages(path: Path) -> Iterator[str]:
    """Runs of lines between blank lines, a passage in memory at a time."""
    lines: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.strip():
                lines.append(line.strip())
            elif lines:
                yield " ".join(lines)
                lines = []
    if lines:
        yield " ".join(lines)


def count(path: Path, reading: Reading) -> int:
    """Rows or passages in the file; every row is read once.

    Raises:
        UserError: an empty file, a row that is not of the dataset's shape (names the line), or passages where the
            format cannot make rows.
    """
    format, n = kind("formats", reading.format), 0
    if not _is_json(path):
        n = sum(1 for _ in _passages(path))
        if n and format.compose is None:
            raise _no_rows_of_text(f"New rows of the format “{format.label}” cannot be made.")
    else:
        for n, line in enumerate(_lines(path), 1):
            try:
                read_json_row(line, reading)
            except (RowError, ValueError) as error:
                raise UserError(
                    f"Row {n} of the file cannot be read as “{format.label}”: {error}",
                    f"Its rows must have the dataset's own shape ({', '.join(sorted(reading.mapping.values()))}).",
                    "Mend the row, or give plain text with blank lines between passages.",
                ) from error
    if not n:
        raise UserError("The file is empty.", "", "Give a file with at least one row or passage.")
    return n


def read(pool: Pool, path: Path, part: str) -> Iterator[Made]:
    """The file's rows as they are; passages of plain text as rows after the model of the run's first treated row.

    Raises:
        UserError: passages, and a dataset whose rows cannot be composed anew.
    """
    if _is_json(path):
        yield from (Made(line, None, part) for line in _lines(path))
        return
    model = next(pool.rows(pool.treated[:1]))
    prompt = "" if model.shape == "text" else PROMPT
    for passage in _passages(path):
        raw = composed(model, pool.reading, prompt, passage)
        if raw is None:
            raise _no_rows_of_text(f"New rows cannot be made after sample {model.id}.")
        yield Made(raw, None, part)


def _no_rows_of_text(why: str) -> UserError:
    return UserError(
        "Plain text cannot be put into rows of this dataset's shape.", why, "Give the file as JSONL in that shape."
    )
