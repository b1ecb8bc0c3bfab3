"""The nearest of very many vectors: they are sorted into lists of similar ones, and some lists are searched in full.

An inverted file over exact vectors (Sivic and Zisserman 2003; Douze et al., arXiv 2401.08281), from faiss. How many
lists must be searched depends on the data, so it is found out: the neighbours of some rows are also sought among all
vectors, and lists are added until enough of them are found.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np

# From this many vectors on the index is used: exact search costs the square of the rows, some minutes here and many
# hours at a million.
MANY = 100_000
# Rows whose neighbours are also sought exactly, and the share of them that must be found. A little above 0.99, so that
# the other rows, of which the share is an estimate, reach that.
TRIED, RECALL = 400, 0.993
# Vectors on which a list's centre is placed, and rounds of placing; more change recall little.
_A_LIST, _ROUNDS = 48, 8
# Queries that are sorted by list together: 256 Ki of width 384 are 400 MB.
_TOGETHER = 1 << 18
# Similarities closer than this are equal: either of two equal vectors may be found.
_EQUAL = 1e-5


class Index:
    """An index of n unit vectors.

    Attributes:
        searched: lists that a query searches, of ``lists``; ``recall``: share of the nearest found on the rows tried.
    """

    def __init__(self, vectors: np.ndarray, k: int) -> None:
        """Builds the index and finds out how many lists must be searched.

        Args:
            vectors: (n, d) float32, rows of length 1.
            k: neighbours that will be asked for.
        """
        import faiss

        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._vectors = vectors
        n, width = vectors.shape
        self.lists = max(1, int(2 * np.sqrt(n)))
        coarse = faiss.IndexFlatIP(width)
        self._index = faiss.IndexIVFFlat(coarse, width, self.lists, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.niter, self._index.cp.seed = _ROUNDS, 0
        self._index.cp.max_points_per_centroid = _A_LIST
        random = np.random.default_rng(0)
        some = np.sort(random.choice(n, min(n, _A_LIST * self.lists), replace=False))
        self._index.train(vectors[some])
        self._index.add(vectors)
        tried = np.sort(random.choice(n, min(n, TRIED), replace=False))
        nearest, _ = faiss.knn(vectors[tried], vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        self.searched, self.recall = 4, 0.0
        while True:
            self._index.nprobe = self.searched
            found, _ = self._index.search(vectors[tried], k)
            self.recall = float((found >= nearest[:, -1:] - _EQUAL).mean())
            if self.recall >= RECALL or self.searched >= self.lists:
                return
            self.searched = min(2 * self.searched, self.lists)

    def nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """(m, k) int64: places of the nearest vectors of (m, d) queries, nearest first."""
        import faiss
        from faiss.contrib.big_batch_search import big_batch_search

        out = np.empty((len(queries), k), np.int64)
        for at in range(0, len(queries), _TOGETHER):
            with redirect_stdout(io.StringIO()):  # it reports each list
                block = queries[at : at + _TOGETHER]
                _, out[at : at + _TOGETHER] = big_batch_search(self._index, block, k)  # type: ignore[no-untyped-call]
        # Lists that hold fewer than k vectors in all: such a query is compared with everything.
        short = np.flatnonzero((out < 0).any(axis=1))
        if short.size:
            _, out[short] = faiss.knn(queries[short], self._vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return out
