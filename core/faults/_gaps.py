"""Which of a run's gaps keep a fault from telling: those whose columns it read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from core.types import Gap, SignalTable


class Reads(Mapping[str, np.ndarray]):
    """Columns that remember which of them were read, the missing ones too."""

    def __init__(self, columns: Mapping[str, np.ndarray]) -> None:
        self._columns = columns
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.names.add(name)
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def watched(table: SignalTable) -> tuple[SignalTable, Reads]:
    """The same table, and the record of what is read from it."""
    reads = Reads(table.columns)
    return SignalTable(table.keys, reads), reads


def needs_of(reads: Reads, gaps: Sequence[Gap]) -> str:
    """What would let the reader tell: what is missing from the columns it read; empty for nothing."""
    return "; ".join(gap.needs for gap in gaps if reads.names & set(gap.columns))
