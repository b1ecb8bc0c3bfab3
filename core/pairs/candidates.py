"""Which pairs of texts are worth a closer look: those nearest in meaning, and those that share rare words.

Both are needed. Among thousands of questions of one form, the nearest in meaning have the same form and ask about other
things. A rewording of the question is further away, but it shares the rare word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from core.pairs.index import MANY, graph
from core.pairs.wording import FUNCTION, Rarity, Words

# A word that more texts hold leads to too many pairs to be evidence.
MOST_TEXTS = 64
_BLOCK = 2048


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest others of each of n unit vectors: exact below ``index.MANY``, from there on nearly all of them.

    Args:
        vectors: (n, d) float32, rows of length 1.

    Returns:
        Places (n, k) int64 and cosines (n, k) float32, nearest first; k is cut to n - 1.
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    near = _candidates(vectors, k)
    places = np.empty((n, k), np.int64)
    cosines = np.empty((n, k), np.float32)
    for at in range(0, n, _BLOCK):  # (rows, candidates, d) numbers are many
        block = slice(at, at + _BLOCK)
        others = near(block)
        close = np.einsum("nd,nkd->nk", vectors[block], vectors[others])
        # A row is no neighbour of its own, unless it has no other candidate left.
        close[others == np.arange(at, at + len(others))[:, None]] = -np.inf
        order = np.lexsort((others, -close), axis=1)[:, :k]
        places[block] = np.take_along_axis(others, order, 1)
        cosines[block] = np.take_along_axis(close, order, 1)
    return places, cosines


def _candidates(vectors: np.ndarray, k: int) -> Callable[[slice], np.ndarray]:
    """A block of rows to places (rows, more than k) that hold its k nearest others, and perhaps the row itself."""
    if len(vectors) >= MANY:
        places = graph(vectors, k).places
        return lambda block: places[block].astype(np.int64)
    from sklearn.neighbors import NearestNeighbors

    exact = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", metric="euclidean").fit(vectors)
    return lambda block: exact.kneighbors(vectors[block], return_distance=False)


def sharing_words(texts: Sequence[Words], rarity: Rarity, k: int) -> list[list[int]]:
    """For each text, up to k others that share the most weight of rare words with it, heaviest first."""
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
    word_weights = csr_matrix((weights, (rows, columns)), shape=(n, len(vocabulary)))
    presence = (word_weights > 0).astype(np.float64).T.tocsr()
    out: list[list[int]] = []
    for at in range(0, n, _BLOCK):
        product = (word_weights[at : at + _BLOCK] @ presence).tocsr()
        for i in range(product.shape[0]):
            begin, end = product.indptr[i], product.indptr[i + 1]
            others, values = product.indices[begin:end], product.data[begin:end]
            keep = others != at + i
            others, values = others[keep], values[keep]
            # Ties are broken by place, so that the order of summation does not decide.
            order = np.lexsort((others, -np.round(values, 9)))[:k]
            out.append(others[order].tolist())
    return out
