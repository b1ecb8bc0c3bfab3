"""Files -> raw records, streaming: JSONL, JSON, CSV, Parquet, each of them gzipped too.

A record's ``raw`` is one JSON object on one line: a JSONL line's own bytes, the slice of a JSON list, or the object
written from the cells of CSV and Parquet. Told apart by content, not by name.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import parquet_rows
from core.bytestreams import KEPT_BYTES, ROW_BYTES, ByteStream, File, over_limit
from core.errors import UserError, unknown_name
from core.jsonrows import decode_object, elements, one_line, wrapped_list
from core.types import Problem


@dataclass(frozen=True, slots=True)
class Record:
    """One readable row before any format looks at it.

    Attributes:
        row: 0-based index of the input record.
        line: 1-based number of the line it begins in, None for Parquet.
        raw: the row as one JSON object without line feed.
        value: what ``raw`` says, less the nulls Arrow fills into structs.
        notes: what was done to the row or its file on the way.
        file: what the file is called.
    """

    row: int
    line: int | None
    raw: bytes
    value: dict[str, Any]
    notes: tuple[str, ...] = ()
    file: str = ""


@dataclass(frozen=True, slots=True)
class _Bad:
    line: int | None
    text: str
    raw: bytes = b""
    field: str | None = None


_Row = Record | _Bad


def read_records(path: Path, container: str, first_row: int = 0, name: str = "") -> Iterator[Record | Problem]:
    """Records and problems of one file in order, numbered from ``first_row``; memory is one row (Parquet: one batch).

    Args:
        name: what the file is called in problems and errors; by default the path's own name.

    Raises:
        UserError: no such container, a file that cannot be opened, a gzip bomb, a file without rows.
    """
    if container not in _READERS:
        raise unknown_name("container", container, _READERS)
    row, file = first_row, File(path, name or path.name)
    for found in _READERS[container](file):
        if isinstance(found, Record):
            yield replace(found, row=row, file=file.name)
        else:
            yield Problem(row, found.line, found.field, found.text, file.name, found.raw[:KEPT_BYTES])
        row += 1
    if row == first_row:
        raise _no_rows(file)


def _no_rows(file: Path) -> UserError:
    return UserError(f"{file.name} holds no rows.", "The file is empty.", "Give a file with at least one row.")


def _object(line: int, data: bytes, notes: tuple[str, ...], raw: Callable[[bytes], bytes] = bytes) -> _Row:
    try:
        value, more = decode_object(data)
    except ValueError as error:
        return _Bad(line, f"The row is {error}." if not str(error).startswith("not ") else f"This is {error}.", data)
    return Record(0, line, raw(data), value, notes + more)


# ------------------------------------------------------------------------------------------------ JSONL and JSON


def _jsonl(file: File) -> Iterator[_Row]:
    stream = ByteStream(file)
    number = 1
    for line in stream.lines():
        number = line.number
        if line.too_long:
            yield _Bad(number, over_limit(), line.data)
        elif line.data.strip():
            found = _object(number, line.data, stream.notes)
            if isinstance(found, _Bad) and not line.ended:
                if stream.broken:
                    continue
                found = _Bad(
                    number, f"The file ends in the middle of this row, or the row is broken: {found.text}", found.raw
                )
            yield found
    yield from _cut(stream, number)


def _cut(stream: ByteStream, line: int | None) -> Iterator[_Bad]:
    if stream.broken:
        yield _Bad(line, f"From here on nothing can be read: {stream.broken}. Send the file again in full.")


def _json(file: File) -> Iterator[_Row]:
    stream = ByteStream(file)
    line = 1
    for element in elements(stream.chunks()):
        line = element.line
        if element.fault:
            yield _Bad(line, element.fault, element.data)
        else:
            yield _object(line, element.data, stream.notes, one_line)
    yield from _cut(stream, line)


# ---------------------------------------------------------------------------------------------------------- CSV

_DELIMITERS = ",;\t"


def _csv(file: File) -> Iterator[_Row]:
    stream = ByteStream(file)
    csv.field_size_limit(ROW_BYTES)
    head, whole = stream.head()
    feed = _CsvLines(stream)
    reader = csv.reader(feed, delimiter=_delimiter(head, whole), strict=True)
    header = _header(file, reader)
    while True:
        line, feed.too_long = reader.line_num + 1, False
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            last = max(line, reader.line_num)
            yield _Bad(line, f"Not readable as CSV, lines {line} to {last}: {error}. Check its quotes.")
            continue
        if feed.too_long:
            yield _Bad(line, over_limit())
        elif cells:
            yield _csv_row(line, header, cells, stream.notes)
    yield from _cut(stream, reader.line_num)


class _CsvLines:
    """Lines as text for csv.reader; bytes that are not UTF-8 pass as lone surrogates and spoil their row only."""

    def __init__(self, stream: ByteStream) -> None:
        self.lines, self.too_long = stream.lines(), False

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        if line.too_long:
            self.too_long = True
            return "\n"
        return line.data.decode("utf-8", "surrogateescape") + ("\n" if line.ended else "")


def _header(file: File, reader: Any) -> list[str]:
    try:
        header = next((cells for cells in reader if cells), [])
        for name in header:
            name.encode()
    except (csv.Error, UnicodeEncodeError) as error:
        raise UserError(
            f"The first line of {file.name} is not a CSV header.", f"{error}.", "Save the file as CSV in UTF-8."
        ) from error
    if not header:
        raise _no_rows(file)
    _check_columns(file, header)
    return header


def _check_columns(file: File, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"{file.name} has the column {twice[0]!r} more than once.",
            "A row is kept as an object, in which a name occurs once.",
            "Rename or delete one of them.",
        )


def _csv_row(line: int, header: list[str], cells: list[str], notes: tuple[str, ...]) -> _Row:
    raw = json.dumps(dict(zip(header, cells, strict=False)), ensure_ascii=False).encode("utf-8", "surrogateescape")
    if len(cells) != len(header):
        return _Bad(
            line, f"The row has {len(cells)} cells, the header {len(header)}. Check quotes and delimiters.", raw
        )
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return _Bad(line, f"The row is not UTF-8 (byte 0x{raw[error.start]:02X}). Save the file as UTF-8.", raw)
    return Record(0, line, raw, dict(zip(header, cells, strict=True)), notes)


def _delimiter(head: bytes, whole: bool) -> str:
    """The delimiter that splits most rows of the head into as many cells as the first, more than one; else comma."""
    best, fit = ",", (0.0, 1)
    for delimiter in _DELIMITERS:
        widths = _widths(head, whole, delimiter)
        if widths and widths[0] > 1 and (found := (widths.count(widths[0]) / len(widths), widths[0])) > fit:
            best, fit = delimiter, found
    return best


def _widths(head: bytes, whole: bool, delimiter: str) -> list[int]:
    text = io.StringIO(head.decode("utf-8", "replace"), newline="")
    widths: list[int] = []
    with suppress(csv.Error):
        widths += (len(cells) for cells in csv.reader(text, delimiter=delimiter) if cells)
    # The last row of a head that is not the whole file is cut.
    return widths[:200] if whole or len(widths) < 2 else widths[:-1][:200]


# ------------------------------------------------------------------------------------------------------ Parquet


def _parquet(file: File) -> Iterator[_Row]:
    with parquet_rows.opened(file) as table:
        _check_columns(file, table.schema_arrow.names)
        for found in parquet_rows.rows(table):
            if isinstance(found, parquet_rows.Unreadable):
                yield _Bad(None, found.text, found.raw, found.field)
            else:
                raw, value, notes = found
                yield Record(0, None, raw, value, notes)


_READERS: dict[str, Callable[[File], Iterator[_Row]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "parquet": _parquet,
    "csv": _csv,
}
CONTAINERS = tuple(_READERS)

# ---------------------------------------------------------------------------------------------------- detection

# What other files begin with (and tar, whose mark stands at byte 257).
_OTHERS: tuple[tuple[str, bytes], ...] = (
    ("a zip archive (an Excel file is one, too)", rb"PK\x03\x04|PK\x05\x06"),
    ("a tar archive", rb".{257}ustar"),
    ("gzip inside gzip", rb"\x1f\x8b"),
    ("a zstd file", rb"\x28\xb5\x2f\xfd"),
    ("a bzip2 file", rb"BZh[1-9]1AY"),
    ("an xz file", rb"\xfd7zXZ"),
    ("a 7z archive", rb"7z\xbc\xaf"),
    ("a Python pickle, which is never opened", rb"\x80[\x02-\x05]"),
    ("an Arrow or Feather file", rb"ARROW1|FEA1"),
    ("an encrypted Parquet file", rb"PARE"),
    ("a NumPy array", rb"\x93NUMPY"),
    ("a SQLite database", rb"SQLite format 3"),
    ("an HDF5 file", rb"\x89HDF"),
    ("a GGUF model", rb"GGUF"),
    ("safetensors weights", rb".{3}\x00{5}\{"),
    ("a PNG image", rb"\x89PNG"),
    ("a JPEG image", rb"\xff\xd8\xff"),
    ("a PDF", rb"%PDF"),
    ("an RTF document", rb"\{\\rtf"),
    ("a Git LFS pointer, not the file itself (git lfs pull fetches it)", rb"version https://git-lfs"),
    ("a web page or XML", rb"\s*<(!|\?|html|svg)"),
)
_CHOICES = "A dataset is JSONL, a JSON list, CSV with a header, or Parquet, each also gzipped."


def detect_container(path: Path, name: str = "") -> str:
    """What a file is, by its content: ``jsonl``, ``json``, ``parquet`` or ``csv``; gzip is looked through.

    Raises:
        UserError: missing, empty, a gzip bomb, or something else entirely; names what it looks like and the choices.
    """
    file = File(path, name or path.name)
    stream = ByteStream(file)
    head, whole = stream.head()
    if stream.magic.startswith(b"PAR1"):
        return "parquet"
    # A UTF-32 or UTF-16 mark is no other file's beginning, and its text may look like one.
    for name, pattern in _OTHERS if not stream.notes else ():
        if re.match(pattern, stream.magic, re.DOTALL | re.IGNORECASE):
            raise _other(file, f"It looks like {name}.")
    if not head.strip():
        if stream.broken:
            raise _other(file, f"{stream.broken[0].upper()}{stream.broken[1:]}.")
        raise _no_rows(file)
    found = _json_container(head, whole)
    if found:
        return found
    control = sum(head[:4096].count(bytes((code,))) for code in range(32) if code not in b"\t\n\r\f")
    if control > 0.01 * len(head[:4096]):
        raise _other(file, f"It is binary data that begins with the bytes {stream.magic[:8].hex(' ')}.")
    named = {suffix.lower() for suffix in Path(file.name).suffixes[-2:]}
    widths = _widths(head, whole, _delimiter(head, whole))
    if named & {".csv", ".tsv"} or (widths and widths[0] > 1 and widths.count(widths[0]) > 0.9 * len(widths)):
        return "csv"
    first = head.strip()[:60].decode("utf-8", "replace").splitlines()[0]
    raise _other(file, f"It is text that begins with {first!r}.")


def _other(file: Path, looks: str) -> UserError:
    return UserError(f"{file.name} is not a dataset file that can be read here.", looks, _CHOICES)


def _json_container(head: bytes, whole: bool) -> str:
    """``json``, ``jsonl`` or nothing, from the first bytes (UTF-8, without mark)."""
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
        # An object over several lines, or a first line that is broken.
        return "json" if re.match(rb"\{\s*[\r\n]", start) else "jsonl" if re.match(rb'\{\s*"', start) else ""
    return "jsonl" if any(_value(line) == "object" for line in complete[:100]) else ""


def _value(line: bytes) -> str | None:
    """``object`` or ``list`` where the line is a whole JSON value of that kind."""
    line = line.strip()
    if not line.startswith((b"{", b"[")):
        return None
    try:
        decode_object(line)
    except ValueError as error:
        return "list" if str(error).startswith("a list") else None
    return "object"
