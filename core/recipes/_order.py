"""Orders of many rows that are computed, not kept: a mix of any size shuffles in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

_ROUNDS = 4


class Order:
    """A pseudo-random permutation of ``range(n)`` that answers place by place.

    A Feistel network permutes a domain of a power of four at least n large; values outside are walked on until they
    fall inside, which keeps it a permutation (Black and Rogaway 2002, cycle walking). Same n and seed, same order.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self._bits = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
        self._mask = np.uint64((1 << self._bits) - 1)
        digest = hashlib.sha256(f"order:{n}:{seed}".encode()).digest()
        self._keys = [np.uint64(int.from_bytes(digest[8 * i : 8 * i + 8], "big")) for i in range(_ROUNDS)]

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """(k,) int64: what stands at these places."""
        out: np.ndarray = self._once(places.astype(np.uint64))
        while (outside := out >= self.n).any():
            out[outside] = self._once(out[outside])
        return out.astype(np.int64)

    def _once(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> np.uint64(self._bits), values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right + key) & self._mask)
        return (left << np.uint64(self._bits)) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014); wraps around on purpose."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        values ^= values >> np.uint64(31)
    return values


def blocks(n: int, size: int = 1000) -> Iterator[np.ndarray]:
    """``range(n)`` in runs of at most ``size``."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def drawn(ordinals: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count,) of ``ordinals`` at random: none twice before all came once; empty where there are none to draw."""
    if not len(ordinals) or count <= 0:
        return np.empty(0, dtype=np.int64)
    rounds = [Order(len(ordinals), seed + i)(np.arange(len(ordinals))) for i in range(-(-count // len(ordinals)))]
    chosen: np.ndarray = ordinals[np.concatenate(rounds)[:count]]
    return chosen
