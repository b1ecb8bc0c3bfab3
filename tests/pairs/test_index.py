"""Neighbours among many: nearly all that exact search finds, with its own count of how many."""

import numpy as np
import pytest

from core.pairs import candidates
from core.pairs.index import RECALL, Index


@pytest.fixture
def vectors():
    """Unit vectors as texts give them: a few directions, and groups of alike ones among them, some of them equal."""
    random = np.random.default_rng(5)
    directions = random.normal(size=(12, 48))
    centres = random.normal(size=(150, 12)) @ directions
    out = centres[random.integers(0, 150, 3000)] + 0.6 * random.normal(size=(3000, 12)) @ directions
    out[100:110] = out[0]
    return np.ascontiguousarray(out / np.linalg.norm(out, axis=1, keepdims=True), dtype=np.float32)


def test_it_finds_what_exact_search_finds_and_knows_how_much_of_it(vectors):
    index = Index(vectors, 13)
    found = index.nearest(vectors, 13)
    cosines = vectors @ vectors.T
    limit = np.sort(cosines, axis=1)[:, -13]
    recall = (np.take_along_axis(cosines, found, 1) >= limit[:, None] - 1e-5).mean()
    assert index.recall >= RECALL and recall >= 0.99
    assert index.searched < index.lists / 2  # it is no search of everything
    assert (np.sort(found, axis=1)[:, 1:] != np.sort(found, axis=1)[:, :-1]).all()


def test_the_same_vectors_give_the_same_neighbours(vectors):
    assert np.array_equal(Index(vectors, 13).nearest(vectors, 13), Index(vectors, 13).nearest(vectors, 13))


def test_more_neighbours_than_lists_hold_are_found_among_everything(vectors):
    few = vectors[:40]
    found = Index(few, 30).nearest(few, 30)
    assert (found >= 0).all() and all(len(set(row)) == 30 for row in found.tolist())


def test_from_many_rows_on_the_index_answers(vectors, monkeypatch):
    exact_places, exact = candidates.nearest(vectors, 12)
    monkeypatch.setattr(candidates, "MANY", 1000)
    places, cosines = candidates.nearest(vectors, 12)
    assert (np.diff(cosines, axis=1) <= 0).all() and (places != np.arange(3000)[:, None]).all()
    assert (cosines >= exact[:, -1:] - 1e-5).mean() >= 0.99
    assert (cosines[0, :10] > 0.9999).all()  # the equal ones
    assert exact_places.shape == places.shape
