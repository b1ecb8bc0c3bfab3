"""Files to samples in training order (``read``), and what the files are (``scan``)."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from core.errors import UserError
from core.formats._base import UNTRAINED, Format, Labels, Parsed, labels_of
from core.formats._cells import RowError
from core.intake import detection
from core.intake.bytestreams import KEPT_BYTES
from core.intake.containers import detect_container, read_records
from core.intake.detection import Candidate
from core.intake.json_rows import decode_object
from core.intake.other_data import pair_of
from core.intake.parquet_rows import without_nulls
from core.intake.records import Record
from core.plugins import kind
from core.types import Problem, Reading, Sample, content_hash

# How much of the first file a scan reads, whatever the row limit; and how many samples and problems it shows.
SCAN_BYTES = 32 << 20
SHOWN = 20
PREVIEW_CHARS = 2000
NOT_UNIQUE = "the row's id is not unique in the dataset; one was made from the content"
# Rows between two progress reports of a scan.
WATCHED = 5000

# The records of one pass over the files, each with the stage that its file stands for, or None.
_Rows = Callable[[], Iterator[tuple[str | None, Record | Problem]]]


@dataclass(frozen=True, slots=True)
class Scan:
    """What a dataset is, with a preview of its first rows.

    Attributes:
        files: names in training order.
        bytes: their total size on disk.
        reading: how they would be read.
        candidates: all formats that fit, best first.
        columns: each column with an example value as text of up to 200 characters.
        samples: up to 20 of the first samples.
        problems: up to 20 of the first rejected rows.
        n_seen, n_rejected: previewed rows, and how many of them were rejected.
        notes: what was done to rows or files, in plain words.
    """

    files: tuple[str, ...]
    bytes: int
    reading: Reading
    candidates: tuple[Candidate, ...]
    columns: Mapping[str, str]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    n_seen: int
    n_rejected: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The scan for JSON: texts of samples cut to 2,000 characters, raw rows as text."""
        return {
            "files": list(self.files),
            "bytes": self.bytes,
            "reading": asdict(self.reading),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "columns": dict(self.columns),
            "samples": [_preview(sample) for sample in self.samples],
            "problems": [asdict(p) | {"raw": p.raw.decode("utf-8", "replace")} for p in self.problems],
            "n_seen": self.n_seen,
            "n_rejected": self.n_rejected,
            "notes": list(self.notes),
        }


def _preview(sample: Sample) -> dict[str, Any]:
    return asdict(sample) | {
        "messages": [asdict(m) | {"content": m.content[:PREVIEW_CHARS]} for m in sample.messages],
        "notes": list(sample.notes),
        "raw": sample.raw[:PREVIEW_CHARS].decode("utf-8", "replace"),
    }


def scan(
    paths: Sequence[Path],
    reading: Reading | None = None,
    limit: int = 200,
    names: Sequence[str] | None = None,
    watch: Callable[[int], None] = lambda rows: None,
    overrides: Mapping[str, str] = MappingProxyType({}),
    stated: Mapping[str, str] = MappingProxyType({}),
) -> Scan:
    """Container, format and mapping of a dataset, with a preview of the first ``limit`` rows of the first file.

    The columns of every row of every file count, because a column may first occur late.

    Args:
        reading: a choice made by hand. An empty ``container`` or ``format`` is detected. An empty ``mapping`` is the
            one that the format finds by itself.
        names: names of the files; by default those of their paths.
        watch: gets the number of rows now and then. An exception from it ends the scan.
        overrides: role to column, over the mapping that was detected or chosen.
        stated: role to column as a trainer's configuration states it, in place of what is detected.

    Raises:
        UserError: a file cannot be read, no format fits (names the columns and the formats), or the mapping does not
            fit the columns.
    """
    files = _files(paths, names)
    container = (reading and reading.container) or detect_container(*files[0])
    records, problems = first_rows(*files[0], container, limit)
    if not records:
        raise UserError(
            f"None of the first {len(problems)} rows of {files[0][1]} can be read.",
            f"Line {problems[0].line}: {problems[0].text}" if problems[0].line else problems[0].text,
            "Correct the file, or choose another container.",
        )
    columns = detection.columns(_watched(_records(files, _containers(files, container)), watch))
    fits = detection.candidates(columns)
    reading = detection.settled(container, reading, fits, columns, files[0][1], overrides, stated)
    return scan_of(files, reading, fits, columns, records, problems)


def scan_of(
    files: Sequence[tuple[Path, str]],
    reading: Reading,
    fits: tuple[Candidate, ...],
    columns: Mapping[str, Any],
    records: Sequence[Record],
    problems: Sequence[Problem],
) -> Scan:
    """The scan, from the columns of every row and the first rows."""
    stage = _stem(files[0][1]) if len(files) > 1 else None
    items = list(_samples(lambda: ((stage, record) for record in records), reading))
    rejected = sorted([*problems, *(i for i in items if isinstance(i, Problem))], key=lambda p: p.row)
    samples = tuple(i for i in items if isinstance(i, Sample))
    notes = dict.fromkeys(note for sample in samples for note in sample.notes)
    pair = pair_of(columns)
    if pair and pair[0] not in reading.mapping.values():
        notes[f"the preference columns {pair[0]} and {pair[1]} are not used"] = None
    return Scan(
        files=tuple(name for _, name in files),
        bytes=sum(path.stat().st_size for path, _ in files),
        reading=reading,
        candidates=fits,
        columns=detection.example_texts(columns),
        samples=samples[:SHOWN],
        problems=tuple(rejected[:SHOWN]),
        n_seen=len(records) + len(problems),
        n_rejected=len(rejected),
        notes=tuple(notes),
    )


def _records(files: Sequence[tuple[Path, str]], containers: Sequence[str]) -> Iterator[Record]:
    """The readable rows of all files."""
    for (path, name), container in zip(files, containers, strict=True):
        yield from (item for item in read_records(path, container, 0, name) if isinstance(item, Record))


def _watched(records: Iterable[Record], watch: Callable[[int], None]) -> Iterator[Record]:
    n = 0
    for n, record in enumerate(records, 1):
        if n % WATCHED == 1:
            watch(n - 1)
        yield record
    watch(n)


def columns_of(path: Path, container: str = "", limit: int = 200, name: str = "") -> dict[str, str]:
    """Each column with an example value as text, for choosing a mapping by hand when no format fits."""
    records, _ = first_rows(path, name or path.name, container or detect_container(path, name), limit)
    return detection.example_texts(detection.columns(records))


def read(
    paths: Sequence[Path], reading: Reading, names: Sequence[str] | None = None, most: int | None = None
) -> Iterator[Sample | Problem]:
    """Every row as a sample or a problem, in training order: by file, then by row.

    If an id is mapped, the files are read twice, the first time to learn which ids are unique. With several files, a
    row that names no stage gets the stem of its file's name as its stage.

    Args:
        names: names of the files; by default those of their paths.
        most: rows that are read of each file, from its start; None for all.

    Raises:
        UserError: a file cannot be read at all, or the reading names what does not exist.
    """
    files = _files(paths, names)
    containers = _containers(files, reading.container)

    def rows() -> Iterator[tuple[str | None, Record | Problem]]:
        row = 0
        for (path, name), container in zip(files, containers, strict=True):
            stage = _stem(name) if len(files) > 1 else None
            for record in islice(read_records(path, container, row, name), most):
                row = record.row + 1
                yield stage, record

    return _samples(rows, reading)


def read_json_row(raw: bytes, reading: Reading) -> Parsed:
    """A stored raw row, read again.

    Raises:
        RowError: the row does not fit the reading.
        ValueError: ``raw`` is not one JSON object.
    """
    value, _ = decode_object(raw)
    if reading.container == "parquet":
        value = without_nulls(value)
    return kind("formats", reading.format).parse(value, reading.mapping)


# -------------------------------------------------------------------------------------------------------- files


def _files(paths: Sequence[Path], names: Sequence[str] | None) -> list[tuple[Path, str]]:
    if not paths:
        raise UserError("No file was given.", "A dataset is one file or several.", "Name at least one.")
    return list(zip(paths, names or [path.name for path in paths], strict=True))


def _stem(name: str) -> str:
    """``b.jsonl.gz`` -> ``b``."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _containers(files: Sequence[tuple[Path, str]], container: str) -> list[str]:
    """The container of each file: as detected, or ``container`` for all if it was chosen against the first file's."""
    if len(files) == 1:
        return [container]
    detected = [detect_container(path, name) for path, name in files]
    return detected if detected[0] == container else [container] * len(files)


def first_rows(path: Path, name: str, container: str, limit: int) -> tuple[list[Record], list[Problem]]:
    """The first rows of a file, ``limit`` at most, and those that cannot be read."""
    records: list[Record] = []
    problems: list[Problem] = []
    size = 0
    for item in read_records(path, container, 0, name):
        if isinstance(item, Record):
            records.append(item)
        else:
            problems.append(item)
        size += len(item.raw)
        if len(records) + len(problems) >= limit or size > SCAN_BYTES:
            break
    return records, problems


# ------------------------------------------------------------------------------------------------------ samples


def _samples(rows: _Rows, reading: Reading) -> Iterator[Sample | Problem]:
    format = kind("formats", reading.format)
    format.check_mapping(reading.mapping, list(reading.mapping.values()))
    return _number(rows, format, reading.mapping)


def _number(rows: _Rows, format: Format, mapping: Mapping[str, str]) -> Iterator[Sample | Problem]:
    ids = _ids(rows, format, mapping) if "id" in mapping else UserIds(())
    ordinal = 0
    for stage, record in rows():
        row = accept(record, format, mapping)
        if isinstance(row, Problem):
            yield row
        else:
            yield _sample(*row, ordinal, stage, ids)
            ordinal += 1


def _ids(rows: _Rows, format: Format, mapping: Mapping[str, str]) -> UserIds:
    """The ids of the accepted rows. Rows are parsed in full only where an id occurs twice among the readable ones."""
    ids = UserIds(_label(record.value, mapping) for _, record in rows() if isinstance(record, Record))
    if not ids.any_twice():
        return ids
    accepted = (accept(record, format, mapping) for _, record in rows())
    return UserIds(row[2].id for row in accepted if not isinstance(row, Problem))


def _label(value: Mapping[str, Any], mapping: Mapping[str, str]) -> str | None:
    """The id of a row as ``labels_of`` reads it, where the row is accepted."""
    label = value.get(mapping["id"])
    if isinstance(label, str):
        return label or None
    return str(label) if isinstance(label, int) and not isinstance(label, bool) else None


def accept(
    record: Record | Problem, format: Format, mapping: Mapping[str, str]
) -> tuple[Record, Parsed, Labels] | Problem:
    """A row with what its format reads in it, or why it is rejected."""
    if isinstance(record, Problem):
        return record
    try:
        parsed = format.parse(record.value, mapping)
        if unread := format.unread(record.value, mapping):
            parsed = replace(parsed, notes=(*parsed.notes, *map(_unread, unread)))
        return record, parsed, labels_of(record.value, mapping)
    except RowError as error:
        text = f"{error.field} {error.text}."
        return Problem(record.row, record.line, error.field, text, record.file, record.raw[:KEPT_BYTES])


def _unread(column: str) -> str:
    reason = UNTRAINED.get(column)
    return f"the column {column!r} is not read" + (f": {reason}" if reason else "")


def _sample(record: Record, parsed: Parsed, labels: Labels, ordinal: int, stage: str | None, ids: UserIds) -> Sample:
    content = content_hash(parsed.messages, parsed.shape, parsed.tools)
    notes = record.notes + parsed.notes + labels.notes
    own = labels.id
    if own is not None and ids.count(own) > 1:
        own, notes = None, (*notes, NOT_UNIQUE)
    return Sample(
        id=ids.made(content, ordinal) if own is None else own,
        row=record.row,
        ordinal=ordinal,
        messages=parsed.messages,
        shape=parsed.shape,
        tools=parsed.tools,
        stage=labels.stage if labels.stage is not None else stage,
        source=labels.source,
        content_hash=content,
        raw=record.raw,
        notes=notes,
        tokens=parsed.tokens,
    )


class UserIds:
    """How often each id of the user's own occurs, in eight bytes per id.

    Ids are kept as 64-bit hashes. In a million rows two different ids share a hash with a probability of 3e-8. Both
    rows then get an id made of their content, and nothing else is harmed.
    """

    def __init__(self, ids: Iterable[str | None]) -> None:
        keys = array("Q", (self.key(own) for own in ids if own is not None))
        self._keys = array("Q", np.sort(np.frombuffer(keys, np.uint64)).tobytes()) if keys else keys

    @staticmethod
    def key(own: str) -> int:
        """The hash of an id."""
        return int.from_bytes(blake2b(own.encode("utf-8", "replace"), digest_size=8).digest(), "little")

    def any_twice(self) -> bool:
        """Whether an id occurs more than once."""
        keys = np.frombuffer(self._keys, np.uint64) if self._keys else np.empty(0, np.uint64)
        return bool((keys[1:] == keys[:-1]).any())

    def count(self, own: str) -> int:
        key = self.key(own)
        return bisect_right(self._keys, key) - bisect_left(self._keys, key)

    def made(self, content: str, ordinal: int) -> str:
        """An id from content hash and ordinal, lengthened until it equals no id of the user's own."""
        length = 12
        while self.count(made := f"{content[:length]}-{ordinal}"):
            length += 1
            if length > len(content):
                content += "0"
        return made
