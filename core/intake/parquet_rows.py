"""Parquet to one JSON object per row. Nested lists and structs are kept, integers exact, floats read back equal."""

from __future__ import annotations

import base64
import datetime as dt
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import UserError
from core.intake.bytestreams import KEPT_BYTES, ROW_BYTES, CutShort, File, open_file, over_limit, unpacked
from core.intake.records import Record, Row, Unreadable, check_columns
from core.settings import settings

# The size of a batch in memory, by the sizes that the file declares.
BATCH_BYTES = 16 << 20
MAX_BATCH_ROWS = 2048


@contextmanager
def _opened(file: File) -> Iterator[pq.ParquetFile]:
    """The open file. Gzip is unpacked to a temporary file first, because Parquet is read from its end.

    Raises:
        UserError: it is not Parquet, damaged, or unpacks to more than the limit.
    """
    with open_file(file) as plain, tempfile.TemporaryFile() as unzipped:
        source = plain
        try:
            if plain.read(2) == b"\x1f\x8b":
                for chunk in unpacked(file):
                    unzipped.write(chunk)
                source = unzipped
            source.seek(0)
            parquet = pq.ParquetFile(source, pre_buffer=False)
        except (CutShort, pa.ArrowException, OSError) as error:
            raise UserError(
                f"{file.name} is not a whole Parquet file.", f"{error}.", "Write or send the file again."
            ) from error
        size = _declared_bytes(parquet)
        if size > settings().max_unpacked_bytes:
            raise UserError(
                f"{file.name} unpacks to {size:,} bytes.",
                f"The limit for unpacked data is {settings().max_unpacked_bytes:,}.",
                "Split the file, or raise LACUNA_MAX_UNPACKED_GB.",
            )
        yield parquet


def _declared_bytes(table: pq.ParquetFile) -> int:
    meta = table.metadata
    return sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))


def rows(file: File) -> Iterator[Row]:
    """The rows of all row groups. Damage costs only the rest of its own group.

    Raises:
        UserError: as ``_opened``, or two columns have the same name.
    """
    with _opened(file) as table:
        check_columns(file, table.schema_arrow.names)
        each = max(1, _declared_bytes(table) // max(1, table.metadata.num_rows))
        size = min(MAX_BATCH_ROWS, max(1, BATCH_BYTES // each))
        for group in range(table.num_row_groups):
            done = 0
            try:
                for batch in table.iter_batches(size, row_groups=[group]):
                    for row in batch.to_pylist():
                        yield _row(row)
                        done += 1
            except (pa.ArrowException, OSError, ValueError) as error:
                lost = table.metadata.row_group(group).num_rows - done
                yield Unreadable(None, f"Row group {group} is damaged, {lost:,} of its rows are lost: {error}.")


def _row(row: dict[str, Any]) -> Row:
    notes: dict[str, None] = {}
    plain = {}
    for column, value in row.items():
        try:
            plain[column] = _plain(value, column, notes)
        except ValueError as error:
            excerpt = json.dumps(row, ensure_ascii=True, default=str)[:KEPT_BYTES].encode()
            return Unreadable(None, f"{error}. JSON has no such number; write null or a text.", excerpt, column)
    raw = json.dumps(plain, ensure_ascii=False).encode()
    if len(raw) > ROW_BYTES:
        return Unreadable(None, f"Not readable: {over_limit()}.", raw[:KEPT_BYTES])
    return Record(None, raw, without_nulls(plain), tuple(notes))


def _plain(value: Any, column: str, notes: dict[str, None]) -> Any:
    """The value as JSON can hold it. A value that must become text is noted."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{column} holds {value}")
        return value
    if isinstance(value, dict):
        return {str(key): _plain(inner, column, notes) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        # Arrow gives a map as a list of pairs.
        if value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            pairs = {str(key): _plain(inner, column, notes) for key, inner in value}
            if len(pairs) == len(value):
                return pairs
        return [_plain(inner, column, notes) for inner in value]
    text, how = _as_text(value)
    notes[f"column {column!r}: {how} written as text"] = None
    return text


def _as_text(value: Any) -> tuple[str, str]:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8"), "bytes"
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii"), "bytes (base64)"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat(), "a date or time"
    return str(value), type(value).__name__


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """The row without the null keys of its nested objects.

    Arrow gives all structs of a column the same keys and fills the missing ones with null. A row that never had
    ``tool_calls`` must not come back with them. Top-level columns keep their nulls.
    """
    return {key: _stripped(value) for key, value in row.items()}


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_stripped(inner) for inner in value]
    return value
