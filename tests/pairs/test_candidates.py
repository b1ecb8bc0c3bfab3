"""The index against brute force."""

import numpy as np
import pytest

from core.pairs.candidates import MOST_TEXTS, nearest, sharing_words
from core.pairs.wording import FUNCTION, Rarity, words


@pytest.mark.parametrize("n", [1, 2, 3, 40, 300])
def test_nearest_is_what_all_cosines_say(n):
    rng = np.random.default_rng(n)
    vectors = rng.normal(size=(n, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places, cosines = nearest(vectors, 5)
    exact = vectors @ vectors.T
    np.fill_diagonal(exact, -np.inf)
    assert places.shape == (n, min(5, n - 1))
    for i in range(n):
        assert i not in places[i]
        np.testing.assert_allclose(cosines[i], np.sort(exact[i])[::-1][: places.shape[1]], atol=1e-5)


def test_equal_vectors_find_each_other():
    vectors = np.tile(np.eye(3, dtype=np.float32), (4, 1))
    places, cosines = nearest(vectors, 3)
    assert all(set(places[i]) == {j for j in range(12) if j % 3 == i % 3 and j != i} for i in range(12))
    assert np.allclose(cosines, 1.0)


def test_rare_words_bring_together_what_meaning_does_not():
    texts = [words(f"What does {name} sell here today?") for name in ("Kulm", "Brista", "Ombra")]
    texts += [words("Which goods are on offer at the stall of Kulm?"), words("Nothing in common")]
    rarity = Rarity(texts)
    assert sharing_words(texts, rarity, 1)[0] == [3] or sharing_words(texts, rarity, 3)[0].count(3) == 1


def test_sharing_words_is_what_a_search_through_all_says():
    rng = np.random.default_rng(5)
    texts = [words(" ".join(f"w{rng.integers(0, 60)}x" for _ in range(5))) for _ in range(80)]
    rarity = Rarity(texts)
    kept = [{w for w in t.stems if w not in FUNCTION and 2 <= rarity.df(w) <= MOST_TEXTS} for t in texts]
    found = sharing_words(texts, rarity, 6)
    for i in range(80):
        scored = [(-round(sum(rarity.weight(w) for w in kept[i] & kept[j]), 9), j) for j in range(80) if j != i]
        assert found[i] == [j for score, j in sorted(scored) if score < 0][:6]
