"""Parts of a mix in one stream: shuffled, or in an order that the recipe gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from core.recipes._base import Made, Part, Pool, as_it_came, everyone_but
from core.recipes._order import Order, blocks, drawn
from core.signals import _columns as col


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


def scarce(kind: str, rows: int, places: int) -> str:
    """A note that fewer rows are there than a mix has places for."""
    return f"Only {rows:,} {kind} rows for {places:,} places: each comes {places / rows:.1f} times on average."


def rehearsed(pool: Pool, ordinals: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count,) of ``ordinals`` to train beside what is taught, so that they are not lost.

    One half are those with the highest loss: what is held weakly is lost first. The other half are drawn at random,
    all of them where no loss is known, and none comes twice before every one has come once: on a real model a learned
    row that a training does not see is lost far more often than one that it sees.
    """
    loss = pool.numbers(col.NLL)[ordinals]
    measured = ordinals[np.isfinite(loss)]
    weakest = measured[np.argsort(-loss[np.isfinite(loss)], kind="stable")][: count // 2]
    rest = np.setdiff1d(ordinals, weakest)
    once = drawn(rest, min(count - len(weakest), len(rest)), seed)
    return np.concatenate([weakest, once, drawn(ordinals, count - len(weakest) - len(once), seed + 1)])


def keepers(pool: Pool, query: str) -> tuple[np.ndarray, list[str]]:
    """Ordinals that the filter keeps and the recipe does not treat; all it does not treat where there are none.

    Returns:
        The ordinals, and a note where the filter kept none.
    """
    ordinals = np.setdiff1d(pool.select(query), pool.treated)
    if len(ordinals):
        return ordinals, []
    return everyone_but(pool.n, pool.treated), [f"The filter {query!r} keeps no other row: all others are drawn from."]
