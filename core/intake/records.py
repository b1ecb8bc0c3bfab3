"""The rows of a file before a format reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.intake.bytestreams import ByteStream, File


# Not frozen: a frozen one takes twice as long to make, and a scan of a large file makes little else.
@dataclass(slots=True)
class Record:
    """One readable row.

    Attributes:
        line: 1-based number of the line it begins in; None for Parquet.
        raw: the row as one JSON object on one line.
        value: the content of ``raw`` without the nulls that Arrow fills into structs.
        notes: what was done to the row or its file.
        row: 0-based index of the row over all files; set by ``read_records``.
        file: name of the file; set by ``read_records``.
    """

    line: int | None
    raw: bytes
    value: dict[str, Any]
    notes: tuple[str, ...] = ()
    row: int = -1
    file: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that cannot be read, or the lost rest of a file or row group: the reason, and the key at fault if any."""

    line: int | None
    text: str
    raw: bytes = b""
    field: str | None = None


Row = Record | Unreadable


def no_rows(file: File) -> UserError:
    """The error for a file without a single row."""
    return UserError(f"{file.name} holds no rows.", "The file is empty.", "Give a file with at least one row.")


def check_columns(file: File, names: list[str]) -> None:
    """Raises UserError if a column occurs twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"{file.name} has the column {twice[0]!r} more than once.",
            "A row is kept as an object, in which a name occurs once.",
            "Rename or delete one of them.",
        )


def cut_short(stream: ByteStream, line: int | None) -> Iterator[Unreadable]:
    """A stand-in for the lost rest of a stream that broke off; nothing if the stream is whole."""
    if stream.broken:
        yield Unreadable(line, f"From here on nothing can be read: {stream.broken}. Send the file again in full.")
