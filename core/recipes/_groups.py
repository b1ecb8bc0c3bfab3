"""Which rows contradict each other: the groups that the diagnosis found, else equal questions with other answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.recipes._base import Pool
from core.signals import _columns as col
from core.types import Sample


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows of all contradictions that a selected sample is part of, in training order, m of them.

    Attributes:
        ordinals: (m,) of the rows; ``sids`` their ids, ``hashes`` their content hashes.
        group: (m,) number of the contradiction; ``side``: (m,) number of the answer within it, by first appearance.
        weight: (m,) how much the row counts for its side.
        notes: how they were found.
    """

    ordinals: np.ndarray
    sids: tuple[str, ...]
    hashes: tuple[str, ...]
    group: np.ndarray
    side: np.ndarray
    weight: np.ndarray
    notes: tuple[str, ...] = ()

    def each(self) -> Iterator[np.ndarray]:
        """Places of the rows of one contradiction after the other, ascending."""
        order = np.argsort(self.group, kind="stable")
        cuts = np.flatnonzero(np.diff(self.group[order])) + 1
        yield from (part for part in np.split(order, cuts) if len(part))


def find(pool: Pool) -> Groups:
    """The contradictions of the selected samples; no row where there is none."""
    numbers = pool.numbers(col.GROUP)
    if np.isfinite(numbers).any():
        return _of(pool, numbers, pool.numbers(col.SIDE_SHARE), ())
    note = "Contradictions were not measured: rows that ask the same in other letter case or spacing count as one."
    return _of(pool, _same_question(pool), np.full(pool.n, np.nan), (note,))


def _of(pool: Pool, numbers: np.ndarray, share: np.ndarray, notes: tuple[str, ...]) -> Groups:
    """Groups of those numbers that a selected sample has and that hold at least two different answers."""
    chosen = numbers[pool.treated]
    ordinals = np.flatnonzero(np.isin(numbers, np.unique(chosen[np.isfinite(chosen)])))
    group = numbers[ordinals].astype(np.int64)
    sides: dict[tuple[int, bytes], int] = {}
    sizes: dict[int, int] = {}
    side, names = np.empty(len(ordinals), dtype=np.int64), []
    for i, sample in enumerate(pool.rows(ordinals.tolist())):
        number = int(group[i])
        key = (number, digest(folded(sample.response)))
        if key not in sides:
            sides[key] = sizes.get(number, 0)
            sizes[number] = sides[key] + 1
        side[i] = sides[key]
        names.append((sample.id, sample.content_hash))
    real = np.array([sizes[int(g)] > 1 for g in group], dtype=bool)
    ordinals, group, side = ordinals[real], group[real], side[real]
    weight = share[ordinals].astype(np.float64)
    if len(weight) and np.isfinite(weight).all():
        # A share is that of the whole side, so each of its rows stands for its part.
        _, inverse, n = np.unique(np.stack([group, side]), axis=1, return_inverse=True, return_counts=True)
        weight = weight / n[inverse.ravel()]
    else:
        weight = np.ones(len(ordinals))
    kept = [n for n, r in zip(names, real, strict=True) if r]
    return Groups(ordinals, tuple(n[0] for n in kept), tuple(n[1] for n in kept), group, side, weight, notes)


def folded(text: str) -> str:
    """The text without letter case, with single spaces."""
    return " ".join(text.casefold().split())


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _question(sample: Sample) -> bytes | None:
    """A short digest of everything before the answer; None where there is nothing before it."""
    question = "\n".join(f"{m.role}: {folded(m.content)}" for m in sample.messages[:-1])
    return digest(question) if question and sample.shape != "text" else None


def _same_question(pool: Pool) -> np.ndarray:
    """(n,) number of the question where several rows ask it, else NaN; one walk, 8 bytes a row."""
    keys = np.zeros(pool.n, dtype=np.uint64)
    has_question = np.zeros(pool.n, dtype=bool)
    for i, sample in enumerate(pool.rows(range(pool.n))):
        key = _question(sample)
        if key is not None:
            keys[i], has_question[i] = int.from_bytes(key, "big"), True
    _, inverse, n = np.unique(keys, return_inverse=True, return_counts=True)
    out = inverse.astype(np.float64)
    out[~has_question | (n[inverse] < 2)] = np.nan
    return out
