"""Neighbours among many: nearly all that exact search finds, with its own count of how many."""

import numpy as np
import pytest

from core.pairs import candidates, index
from core.pairs.index import RECALL, graph


@pytest.fixture
def vectors():
    """Unit vectors as texts give them: a few directions, and groups of alike ones among them, some of them equal."""
    random = np.random.default_rng(5)
    directions = random.normal(size=(12, 48))
    centres = random.normal(size=(150, 12)) @ directions
    out = centres[random.integers(0, 150, 3000)] + 0.6 * random.normal(size=(3000, 12)) @ directions
    out[100:110] = out[0]
    return np.ascontiguousarray(out / np.linalg.norm(out, axis=1, keepdims=True), dtype=np.float32)


def test_it_holds_what_exact_search_finds_and_knows_how_much_of_it(vectors):
    made = graph(vectors, 12)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    limit = np.sort(cosines, axis=1)[:, -12]
    hits = (np.take_along_axis(cosines, made.places.astype(int), 1) >= limit[:, None] - 1e-5).sum(axis=1)
    recall = np.minimum(hits, 12).mean() / 12
    assert made.recall >= RECALL and recall >= 0.99
    assert made.places.shape[1] < len(vectors) / 10  # it keeps no row of everything
    assert all(len(set(row)) == len(row) and i not in row for i, row in enumerate(made.places.tolist()))


def test_too_little_effort_is_followed_by_more(vectors, monkeypatch):
    monkeypatch.setattr(index, "EFFORTS", (index.Effort(64, 12, 1), index.EFFORTS[0]))
    assert graph(vectors, 12).effort == index.EFFORTS[1]


def test_from_many_rows_on_the_index_answers(vectors, monkeypatch):
    exact_places, exact = candidates.nearest(vectors, 12)
    monkeypatch.setattr(candidates, "MANY", 1000)
    places, cosines = candidates.nearest(vectors, 12)
    assert (np.diff(cosines, axis=1) <= 0).all() and (places != np.arange(3000)[:, None]).all()
    assert (cosines >= exact[:, -1:] - 1e-5).mean() >= 0.99
    assert (cosines[0, :10] > 0.9999).all()  # the equal ones
    assert exact_places.shape == places.shape
