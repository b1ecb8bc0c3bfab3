"""The nearest of very many vectors, by nearest neighbour descent: neighbours of neighbours are likely neighbours.

Dong, Charikar and Li, "Efficient k-nearest neighbor graph construction for generic similarity measures" (WWW 2011), as
faiss builds it. Its cost grows little faster than the rows. What share of the true neighbours it finds depends on the
data. So that share is measured on some rows, and the graph is built again with more effort until it is high enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# From this many vectors on the graph is used: exact search costs the square of the rows, some minutes here and many
# hours at a million.
MANY = 100_000
# Rows whose neighbours are also sought exactly, and the share of them that must be found; with twelve of each row the
# share is known to 0.003.
TRIED, RECALL = 400, 0.99
# Similarities closer than this are equal: either of two equal vectors may be found.
_EQUAL = 1e-5


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard is searched: neighbours kept of each row, those of a row compared with each other, and rounds."""

    kept: int
    compared: int
    rounds: int


# faiss ends the process where a row has met fewer rows than are kept. With a dozen compared it meets some hundred in
# its first round.
EFFORTS = (Effort(64, 20, 14), Effort(96, 32, 20))


@dataclass(frozen=True, slots=True)
class Graph:
    """Neighbours of n vectors.

    Attributes:
        places: (n, kept) int32, in no order, without the row itself.
        recall: share of the k nearest that they hold, on the rows tried; ``effort``: what it took.
    """

    places: np.ndarray
    recall: float
    effort: Effort


def graph(vectors: np.ndarray, k: int) -> Graph:
    """Neighbours of each of n > ``EFFORTS[-1].kept`` unit vectors, among them nearly all of its k nearest.

    Several threads work on the graph at once, so two calls may differ in the few that are missed.

    Args:
        vectors: (n, d) float32, rows of length 1.
    """
    import faiss

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    n, width = vectors.shape
    tried = np.sort(np.random.default_rng(0).choice(n, min(n, TRIED), replace=False))
    _, nearest = faiss.knn(vectors[tried], vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    # The row itself is the nearest, or one equal to it.
    limit = np.einsum("nd,nd->n", vectors[nearest[:, -1]], vectors[tried])[:, None] - _EQUAL
    for effort in EFFORTS:
        index = faiss.IndexNNDescentFlat(width, effort.kept, faiss.METRIC_L2)  # of unit vectors, the same order
        index.nndescent.S, index.nndescent.iter = effort.compared, effort.rounds
        index.nndescent.L = effort.kept + effort.compared
        index.add(vectors)
        places = faiss.vector_to_array(index.nndescent.final_graph).reshape(n, effort.kept)
        cosines = np.einsum("nd,nkd->nk", vectors[tried], vectors[places[tried]])
        recall = float(np.minimum((cosines >= limit).sum(axis=1), k).mean() / k)
        if recall >= RECALL:
            break
    return Graph(places, recall, effort)
