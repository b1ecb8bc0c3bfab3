"""Files to raw records, as a stream: JSONL, JSON, CSV and Parquet, each also gzipped.

The ``raw`` of a record is one JSON object on one line: the bytes of a JSONL line, the slice of a JSON list, or an
object made of the cells of CSV and Parquet. A container is recognised by its content, not by the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from core.errors import UserError, unknown_name
from core.intake import csv_rows, parquet_rows
from core.intake.bytestreams import KEPT_BYTES, ByteStream, File, over_limit
from core.intake.json_rows import decode_object, elements, one_line, wrapped_list
from core.intake.magic import file_kind
from core.intake.records import Record, Row, Unreadable, cut_short, no_rows
from core.types import Problem


def read_records(path: Path, container: str, first_row: int = 0, name: str = "") -> Iterator[Record | Problem]:
    """Records and problems of one file in order, numbered from ``first_row``.

    Memory holds one row, or one batch of Parquet.

    Args:
        name: the file's name in problems and errors; by default that of the path.

    Raises:
        UserError: no such container, a file that cannot be opened, a gzip bomb, a file without rows.
    """
    if container not in _READERS:
        raise unknown_name("container", container, _READERS)
    row, file = first_row, File(path, name or path.name)
    for item in _READERS[container](file):
        if isinstance(item, Record):
            item.row, item.file = row, file.name
            yield item
        else:
            yield Problem(row, item.line, item.field, item.text, file.name, item.raw[:KEPT_BYTES])
        row += 1
    if row == first_row:
        raise no_rows(file)


def _object(line: int, data: bytes, notes: tuple[str, ...], raw: Callable[[bytes], bytes] = bytes) -> Row:
    try:
        value, more = decode_object(data)
    except ValueError as error:
        return Unreadable(line, f"Not readable: {error}.", data)
    return Record(line, raw(data), value, notes + more)


# ------------------------------------------------------------------------------------------------ JSONL and JSON


def _jsonl(file: File) -> Iterator[Row]:
    stream = ByteStream(file)
    number = 1
    for line in stream.lines():
        number = line.number
        if line.too_long:
            yield Unreadable(number, f"Not readable: {over_limit()}.", line.data)
        elif line.data.strip():
            row = _object(number, line.data, stream.notes)
            if isinstance(row, Unreadable) and not line.ended:
                if stream.broken:
                    continue
                row = Unreadable(number, f"The file ends in the middle of this row. {row.text}", row.raw)
            yield row
    yield from cut_short(stream, number)


def _json(file: File) -> Iterator[Row]:
    stream = ByteStream(file)
    line = 1
    for element in elements(stream.chunks()):
        line = element.line
        if element.fault:
            yield Unreadable(line, f"Not readable: {element.fault}.", element.data)
        else:
            yield _object(line, element.data, stream.notes, one_line)
    yield from cut_short(stream, line)


_READERS: dict[str, Callable[[File], Iterator[Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "parquet": parquet_rows.rows,
    "csv": csv_rows.rows,
}

# ---------------------------------------------------------------------------------------------------- detection

_CHOICES = "A dataset is JSONL, a JSON list, CSV with a header, or Parquet, each also gzipped."


def detect_container(path: Path, name: str = "") -> str:
    """What a file is by its content, inside gzip too: ``jsonl``, ``json``, ``parquet`` or ``csv``.

    Raises:
        UserError: it is missing, empty, a gzip bomb, or something else; names what it looks like and the choices.
    """
    file = File(path, name or path.name)
    stream = ByteStream(file)
    head, whole = stream.head()
    # No other file begins with a UTF-32 or UTF-16 mark, but the text after it may look like one.
    kind = file_kind(stream.magic) if not stream.notes else None
    if kind is not None:
        if kind[0] == "parquet":
            return "parquet"
        raise _other(file, f"It looks like {'gzip inside gzip' if kind[0] == 'gzip' else kind[1]}.")
    if not head.strip():
        if stream.broken:
            raise _other(file, f"{stream.broken[0].upper()}{stream.broken[1:]}.")
        raise no_rows(file)
    if container := _json_container(head, whole):
        return container
    control = sum(head[:4096].count(bytes((code,))) for code in range(32) if code not in b"\t\n\r\f")
    if control > 0.01 * len(head[:4096]):
        raise _other(file, f"It is binary data that begins with the bytes {stream.magic[:8].hex(' ')}.")
    named = {suffix.lower() for suffix in Path(file.name).suffixes[-2:]}
    widths = csv_rows.widths_of(head, whole, csv_rows.delimiter_of(head, whole))
    if named & {".csv", ".tsv"} or (widths and widths[0] > 1 and widths.count(widths[0]) > 0.9 * len(widths)):
        return "csv"
    first = head.strip()[:60].decode("utf-8", "replace").splitlines()[0]
    raise _other(file, f"It is text that begins with {first!r}.")


def _other(file: File, looks: str) -> UserError:
    return UserError(f"{file.name} is not a dataset file that can be read here.", looks, _CHOICES)


def _json_container(head: bytes, whole: bool) -> str:
    """``json``, ``jsonl`` or empty, from the first bytes in UTF-8 without a mark."""
    lines = head.split(b"\n")
    complete = [line for line in (lines if whole else lines[:-1]) if line.strip()]
    start = head.lstrip()
    first = _value(complete[0]) if complete else None
    if first is not None and (len(complete) > 1 or not whole):
        return "jsonl"
    if start.startswith(b"["):
        return "json"
    if start.startswith(b"{"):
        if wrapped_list(start):
            return "json"
        if first is not None or not complete or any(_value(line) == "object" for line in complete[:100]):
            return "jsonl"
        # Either an object over several lines, or a broken first line.
        return "json" if re.match(rb"\{\s*[\r\n]", start) else "jsonl" if re.match(rb'\{\s*"', start) else ""
    return "jsonl" if any(_value(line) == "object" for line in complete[:100]) else ""


def _value(line: bytes) -> str | None:
    """``object`` or ``list`` if the line is a whole JSON value of that kind, else None."""
    line = line.strip()
    if not line.startswith((b"{", b"[")):
        return None
    try:
        decode_object(line)
    except ValueError as error:
        return "list" if str(error).startswith("a list") else None
    return "object"
