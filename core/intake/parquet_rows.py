"""Parquet to one JSON object per row. Nested lists and structs are kept, integers exact, floats read back equal."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import UserError
from core.intake.bytestreams import (
    GZIP_RATIO,
    KEPT_BYTES,
    ROW_BYTES,
    CutShort,
    File,
    bomb,
    check_bomb,
    open_file,
    over_limit,
    unpacked,
)
from core.intake.records import Record, Row, Unreadable, check_columns
from core.settings import settings

# The size of a batch in memory, by the sizes that the file declares.
BATCH_BYTES = 16 << 20
MAX_BATCH_ROWS = 2048
# Values of one column in one row group. Writers stop at a million rows; runs of equal values cost a file nothing.
MAX_VALUES = 1 << 26


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
            # A text that occurs often is stored once. It must not be written out before its size is known.
            source.seek(0)
            parquet = pq.ParquetFile(source, pre_buffer=False, read_dictionary=_texts(parquet))
            check_columns(file, parquet.schema_arrow.names)
        except (CutShort, pa.ArrowException, OSError, ValueError) as error:  # names that are no UTF-8, too
            raise UserError(
                f"{file.name} is not a whole Parquet file.", f"{error}.", "Write or send the file again."
            ) from error
        size = _declared_bytes(parquet)
        packed = os.fstat(source.fileno()).st_size
        if parquet.metadata.num_rows > GZIP_RATIO * packed:
            raise bomb(file.name, packed, f"{parquet.metadata.num_rows:,} rows", "Parquet bomb")
        if size > settings().max_unpacked_bytes:
            raise UserError(
                f"{file.name} unpacks to {size:,} bytes.",
                f"The limit for unpacked data is {settings().max_unpacked_bytes:,}.",
                "Split the file, or raise LACUNA_MAX_UNPACKED_GB.",
            )
        yield parquet


def _texts(table: pq.ParquetFile) -> list[str]:
    """Paths of the columns of texts that keep each text once, by the first row group.

    Paths are the schema's: a damaged row group may name others, which cannot be opened by name.
    """
    if not table.metadata.num_row_groups:
        return []
    group = table.metadata.row_group(0)
    columns = ((group.column(i), table.schema.column(i).path) for i in range(group.num_columns))
    return [path for c, path in columns if c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page]


def _declared_bytes(table: pq.ParquetFile) -> int:
    meta = table.metadata
    return sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))


def rows(file: File) -> Iterator[Row]:
    """The rows of all row groups. Damage costs only the rest of its own group.

    Raises:
        UserError: as ``_opened``, or two columns have the same name.
    """
    with _opened(file) as table:
        each = max(1, _declared_bytes(table) // max(1, table.metadata.num_rows), _fixed_bytes(table))
        size = min(MAX_BATCH_ROWS, max(1, BATCH_BYTES // each))
        counted = _Counted(file)
        for group in range(table.num_row_groups):
            done = 0
            try:
                _check_values(table.metadata.row_group(group))
                for batch in table.iter_batches(size, row_groups=[group]):
                    for row in _batch_rows(batch, counted):
                        yield row
                        done += 1
            except (pa.ArrowException, OSError, ValueError) as error:
                lost = table.metadata.row_group(group).num_rows - done
                yield Unreadable(None, f"Row group {group} is damaged, {lost:,} of its rows are lost: {error}.")


def _fixed_bytes(table: pq.ParquetFile) -> int:
    """Bytes of a row's values of fixed width, which may also be stored once for many rows."""
    columns = (table.schema.column(i) for i in range(len(table.schema)))
    return sum(max(0, column.length) for column in columns)


def _check_values(group: pq.RowGroupMetaData) -> None:
    """Raises ValueError if a column holds more values than can be read at once."""
    most = max((group.column(i).num_values for i in range(group.num_columns)), default=0)
    if most > MAX_VALUES:
        raise ValueError(f"a column holds {most:,} values; {MAX_VALUES:,} is the limit for one row group")


class _Counted:
    """The bytes that a file has given so far, against its size and the limit."""

    def __init__(self, file: File) -> None:
        self.file, self.packed, self.size = file, file.path.stat().st_size, 0

    def add(self, size: int) -> None:
        """Counts bytes before they are written out. Raises UserError if they are too many."""
        self.size += size
        check_bomb(self.file.name, self.packed, self.size, "Parquet bomb")


def _batch_rows(batch: pa.RecordBatch, counted: _Counted) -> Iterator[Row]:
    """The rows of a batch, as many at a time as fit in memory once texts are written out."""
    size = _bytes(batch)
    if size > 4 * BATCH_BYTES and batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _batch_rows(batch.slice(0, half), counted)
        yield from _batch_rows(batch.slice(half), counted)
    elif size > ROW_BYTES:
        yield Unreadable(None, f"Not readable: {over_limit()}.")
    else:
        counted.add(size)
        for row in batch.cast(_plain_schema(batch.schema)).to_pylist():
            yield _row(row)


def _bytes(batch: pa.RecordBatch) -> int:
    """The size of a batch once every text is written out."""
    return sum(_array_bytes(column) for column in batch.columns)


def _array_bytes(array: pa.Array) -> int:
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0
    if pa.types.is_struct(kind):
        return sum(_array_bytes(inner) for inner in array.flatten())
    if pa.types.is_map(kind):
        start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return sum(_array_bytes(inner.slice(start, stop - start)) for inner in (array.keys, array.items))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        # An entry costs at least its place in a list of Python's.
        inner = array.flatten()
        return max(8 * len(inner), _array_bytes(inner))
    return int(array.get_total_buffer_size()) if array.offset == 0 else int(array.nbytes)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with every text written out."""
    return pa.schema([pa.field(f.name, _plain_type(f.type), f.nullable) for f in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(_plain_type(kind.field(i).type)) for i in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_field.with_type(_plain_type(kind.value_type))
        return pa.list_(inner) if pa.types.is_list(kind) else pa.large_list(inner)
    return kind


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
