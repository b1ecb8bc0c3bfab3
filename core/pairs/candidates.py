"""Which pairs of texts are worth a closer look: nearest in meaning, or holding the same rare words.

Both are needed. Among thousands of questions of one form the nearest by meaning are the same form about other things,
and a rewording of the question stands behind them; but it shares the rare word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.pairs.wording import FUNCTION, Rarity, Words

# Words in more texts than this lead to too many pairs to be evidence.
MOST_TEXTS = 64
_BLOCK = 2048


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest others of each of n unit vectors, by exact search.

    Args:
        vectors: (n, d) float32, rows of length 1.

    Returns:
        Places (n, k) int64 and cosines (n, k) float32, nearest first; k is cut to n - 1.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    index = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", metric="euclidean").fit(vectors)
    places = np.empty((n, k), np.int64)
    cosines = np.empty((n, k), np.float32)
    for at in range(0, n, 8 * _BLOCK):
        found = index.kneighbors(vectors[at : at + 8 * _BLOCK], return_distance=False)
        own = np.arange(at, at + len(found))[:, None]
        # The text itself is first unless an equal one is; either way one place is dropped.
        is_own = found == own
        is_own[~is_own.any(axis=1), -1] = True
        others = found[~is_own].reshape(len(found), k)
        close = np.einsum("nd,nkd->nk", vectors[at : at + len(found)], vectors[others])
        order = np.lexsort((others, -close), axis=1)
        places[at : at + len(found)] = np.take_along_axis(others, order, 1)
        cosines[at : at + len(found)] = np.take_along_axis(close, order, 1)
    return places, cosines


def sharing_words(texts: Sequence[Words], rarity: Rarity, k: int) -> list[list[int]]:
    """Up to k others of each text that share most weight of rare words with it, in order of that weight."""
    from scipy.sparse import csr_matrix

    vocabulary: dict[str, int] = {}
    rows, columns, weights = [], [], []
    for i, text in enumerate(texts):
        for word in sorted(set(text.stems)):
            if word not in FUNCTION and 2 <= rarity.df(word) <= MOST_TEXTS:
                rows.append(i)
                columns.append(vocabulary.setdefault(word, len(vocabulary)))
                weights.append(rarity.weight(word))
    n = len(texts)
    if not rows:
        return [[] for _ in range(n)]
    held = csr_matrix((weights, (rows, columns)), shape=(n, len(vocabulary)))
    turned = (held > 0).astype(np.float64).T.tocsr()
    out: list[list[int]] = []
    for at in range(0, n, _BLOCK):
        product = (held[at : at + _BLOCK] @ turned).tocsr()
        for i in range(product.shape[0]):
            begin, end = product.indptr[i], product.indptr[i + 1]
            others, values = product.indices[begin:end], product.data[begin:end]
            keep = others != at + i
            others, values = others[keep], values[keep]
            # Ties by place, so that the outcome does not hang on how the product was summed.
            order = np.lexsort((others, -np.round(values, 9)))[:k]
            out.append(others[order].tolist())
    return out
