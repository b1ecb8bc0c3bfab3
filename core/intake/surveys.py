"""What a file is, with all its rows counted, in one reading."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.formats._base import Labels, Parsed
from core.intake import detection
from core.intake.containers import detect_container, read_records
from core.intake.datasets import NOT_UNIQUE, SHOWN, Scan, UserIds, accept, first_rows, scan, scan_of
from core.intake.records import Record
from core.plugins import kind
from core.types import Problem, Reading, content_hash


@dataclass(slots=True)
class Tally:
    """What all rows of a file are under one reading.

    Attributes:
        n_samples, n_rejected: how many; ``problems``: the first of the rejected ones.
        n_duplicates: samples whose content occurred before.
        notes: remark to the number of samples that it is made on.
    """

    n_samples: int = 0
    n_rejected: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    _hashes: set[bytes] = field(default_factory=set)
    _ids: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def n_duplicates(self) -> int:
        return self.n_samples - len(self._hashes)

    def add(self, row: tuple[Record, Parsed, Labels] | Problem) -> None:
        """Counts one row."""
        if isinstance(row, Problem):
            self.n_rejected += 1
            self.problems += [row] if len(self.problems) < SHOWN else []
            return
        record, parsed, labels = row
        self.n_samples += 1
        self._hashes.add(bytes.fromhex(content_hash(parsed.messages, parsed.shape, parsed.tools)))
        if labels.id is not None:
            self._ids.append(UserIds.key(labels.id))
        for note in (*record.notes, *parsed.notes, *labels.notes):
            self.notes[note] = self.notes.get(note, 0) + 1

    def close(self) -> None:
        """Counts what is only known at the end: ids that are not unique."""
        _, counts = np.unique(np.frombuffer(self._ids, np.uint64) if self._ids else [], return_counts=True)
        if again := int(counts[counts > 1].sum()):
            self.notes[NOT_UNIQUE] = again


def survey(path: Path) -> tuple[Scan, Tally]:
    """What a file is, and what all its rows are: read once where its first rows tell how it is to be read.

    Raises:
        UserError: as ``scan``.
    """
    files = [(path, path.name)]
    container = detect_container(*files[0])
    records, problems = first_rows(*files[0], container, 200)
    try:
        columns = detection.columns(records)
        guess = detection.settled(container, None, detection.candidates(columns), columns, path.name, {})
    except UserError:  # what the first rows do not tell, all of them may
        found = scan([path])
        return found, _tally(path, found.reading)
    tally, format = Tally(), kind("formats", guess.format)

    def counted() -> Iterator[Record]:
        for item in read_records(path, container, 0, path.name):
            tally.add(accept(item, format, guess.mapping))
            if isinstance(item, Record):
                yield item

    columns = detection.columns(counted())
    tally.close()
    fits = detection.candidates(columns)
    reading = detection.settled(container, None, fits, columns, path.name, {})
    if reading != guess:
        tally = _tally(path, reading)
    return scan_of(files, reading, fits, columns, records, problems), tally


def _tally(path: Path, reading: Reading) -> Tally:
    tally, format = Tally(), kind("formats", reading.format)
    for item in read_records(path, reading.container, 0, path.name):
        tally.add(accept(item, format, reading.mapping))
    tally.close()
    return tally
