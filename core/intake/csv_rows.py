"""CSV to one JSON object per row: columns in order, every cell as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from core.errors import UserError
from core.intake import bytestreams
from core.intake.bytestreams import ByteStream, File, over_limit
from core.intake.records import Record, Row, Unreadable, check_columns, cut_short, no_rows

_DELIMITERS = ",;\t"


def rows(file: File) -> Iterator[Row]:
    """The rows below the header, as objects with its columns.

    Raises:
        UserError: there is no header, or it names a column twice.
    """
    stream = ByteStream(file)
    csv.field_size_limit(bytestreams.ROW_BYTES)
    head, whole = stream.head()
    feed = _CsvLines(stream)
    reader = csv.reader(feed, delimiter=delimiter_of(head, whole), strict=True)
    header = _header(file, reader)
    while True:
        line, feed.size = feed.number + 1, 0
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield Unreadable(line, f"Lines {line} to {feed.number} are not CSV: {error}. Check the quotes.")
            continue
        if cells:
            yield _row(line, header, cells, stream.notes)
    yield from cut_short(stream, feed.number)


class _CsvLines:
    """Lines as text for csv.reader. Invalid UTF-8 passes as lone surrogates and spoils only its own row.

    Attributes:
        number: number of the last line.
        size: bytes since the start of the row, where the reader sets it to 0.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.lines, self.number, self.size = stream.lines(), 0, 0

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number, self.size = line.number, self.size + len(line.data)
        if line.too_long or self.size > bytestreams.ROW_BYTES:
            # The reader drops the row and begins the next row with the next line.
            raise csv.Error(over_limit())
        return line.data.decode("utf-8", "surrogateescape") + ("\n" if line.ended else "")


def _header(file: File, reader: Any) -> list[str]:
    try:
        header: list[str] = next((cells for cells in reader if cells), [])
        for name in header:
            name.encode()
    except (csv.Error, UnicodeEncodeError) as error:
        raise UserError(
            f"The first line of {file.name} is not a CSV header.", f"{error}.", "Save the file as CSV in UTF-8."
        ) from error
    if not header:
        raise no_rows(file)
    check_columns(file, header)
    return header


def _row(line: int, header: list[str], cells: list[str], notes: tuple[str, ...]) -> Row:
    raw = json.dumps(dict(zip(header, cells, strict=False)), ensure_ascii=False).encode("utf-8", "surrogateescape")
    if len(cells) != len(header):
        return Unreadable(
            line, f"The row has {len(cells)} cells, the header {len(header)}. Check the quotes and delimiters.", raw
        )
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Unreadable(line, f"The row is not UTF-8 (byte 0x{raw[error.start]:02X}). Save the file as UTF-8.", raw)
    return Record(line, raw, dict(zip(header, cells, strict=True)), notes)


def delimiter_of(head: bytes, whole: bool) -> str:
    """The delimiter that splits most rows of the head into as many cells as the first, more than one; else comma."""
    best, fit = ",", (0.0, 1)
    for delimiter in _DELIMITERS:
        widths = widths_of(head, whole, delimiter)
        if widths and widths[0] > 1 and (score := (widths.count(widths[0]) / len(widths), widths[0])) > fit:
            best, fit = delimiter, score
    return best


def widths_of(head: bytes, whole: bool, delimiter: str) -> list[int]:
    """The number of cells in each of up to 200 rows of the head. ``whole``: the head is the whole file."""
    text = io.StringIO(head.decode("utf-8", "replace"), newline="")
    widths: list[int] = []
    with suppress(csv.Error):
        widths += (len(cells) for cells in csv.reader(text, delimiter=delimiter) if cells)
    return widths[:200] if whole or len(widths) < 2 else widths[:-1][:200]
