"""Parts of a mix in one stream: shuffled, or in an order that the recipe gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from core.recipes._base import Made, Part, Pool, as_it_came
from core.recipes._order import Order, blocks


def rows(pool: Pool, parts: Sequence[Part], seed: int | None, key: np.ndarray | None = None) -> Iterator[Made]:
    """Every row of every part, once.

    Args:
        seed: of the shuffle; None keeps the order of the parts.
        key: (total rows,) sort key in place of a shuffle, ascending, ties in the order of the parts.
    """
    total = sum(len(p) for p in parts)
    order = None if seed is None else Order(total, seed)
    sorted_places = None if key is None else np.argsort(key, kind="stable")
    ends = np.cumsum([len(p) for p in parts])
    for block in blocks(total):
        places = block if order is None else order(block)
        if sorted_places is not None:
            places = sorted_places[block]
        which = np.searchsorted(ends, places, side="right")
        inside = places - np.concatenate([[0], ends])[which]
        chosen = [parts[w] for w in which]
        at = [int(p.ordinals[i % len(p.ordinals)]) for p, i in zip(chosen, inside, strict=True)]
        variants = [int(i) // len(p.ordinals) for p, i in zip(chosen, inside, strict=True)]
        for part, variant, sample in zip(chosen, variants, pool.rows(at), strict=True):
            yield (part.make(sample, variant) if part.make else None) or as_it_came(sample, part.name)


def counts(parts: Sequence[Part]) -> dict[str, int]:
    """Rows by part; parts of one name count together, empty ones are left out."""
    out: dict[str, int] = {}
    for part in parts:
        if len(part):
            out[part.name] = out.get(part.name, 0) + len(part)
    return out
