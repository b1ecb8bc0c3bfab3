"""Groups of unlearned samples with readable titles, and a map of them.

Vectors come from an encoder, or from ``tfidf`` below, which needs no model. Groups are dense regions (HDBSCAN, Campello
et al. 2013). A sample may lie in none. Titles say what the prompts of a group share (``titles.py``); its terms are the
words that set it apart from everything else (class-based TF-IDF, Grootendorst, arXiv 2203.05794). Seeds are fixed and
samples come in training order, so the same samples give the same groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.judge.titles import title_of
from core.text.words import pattern_words

# How many numbers describe a text, and how many of them the search for dense regions uses. More only slow it down.
WIDTH, DENSE = 64, 12
# Dense regions are searched among this many samples. The others join the group of their nearest one.
MOST = 6_000
# Terms of a title, and the share of the group's samples that must have a term.
TERMS, SHARED = 4, 0.15
# A word in a larger share of all samples says nothing by itself, in any language.
COMMON = 0.6


@dataclass(frozen=True, slots=True)
class Group:
    """One group of unlearned samples.

    Attributes:
        number: from 1, the largest first.
        parent: number of the group that it is a part of; 0 for a group of its own.
        title: what its samples ask and how they answer, in one line.
        terms: the words that set it apart, strongest first.
        size: number of its samples.
        region: number of samples of the whole run in its region, learned ones included.
        lift: share unlearned in the region divided by the share unlearned in the run.
    """

    number: int
    parent: int
    title: str
    terms: tuple[str, ...]
    size: int
    region: int
    lift: float


@dataclass(frozen=True, slots=True)
class Grouping:
    """All groups; and for each of m unlearned samples its group and part (0: none) and its place on the map."""

    groups: tuple[Group, ...]
    group: np.ndarray
    part: np.ndarray
    x: np.ndarray
    y: np.ndarray


def tfidf(texts: Sequence[str]) -> np.ndarray:
    """(n, d) float32 unit vectors from the words of each text: the strongest directions of their TF-IDF."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    listed = [pattern_words(t) for t in texts]
    if not any(listed):
        return np.zeros((len(texts), 1), dtype=np.float32)
    weights = TfidfVectorizer(analyzer=_grams, sublinear_tf=True, max_features=50_000).fit_transform(listed)
    width = min(WIDTH, min(weights.shape) - 1)
    if width < 1:
        return _unit(weights.toarray())
    return _unit(TruncatedSVD(width, n_iter=5, random_state=0).fit_transform(weights))


def _grams(words: Sequence[str]) -> list[str]:
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def find_groups(
    vectors: np.ndarray, texts: Sequence[str], unlearned: np.ndarray, pairs: Sequence[tuple[str, str]] = ()
) -> Grouping:
    """Groups among the unlearned samples.

    Args:
        vectors: (n, d) unit vectors of all samples. The lift of a group needs the learned ones too.
        texts: (n,) their texts.
        pairs: (n,) what each sample asks and its answer, for titles; without them titles are words that set apart.
        unlearned: (m,) places of the unlearned samples, ascending.
    """
    own = np.asarray(vectors[unlearned], dtype=np.float64)
    group = _ranked(_dense(own, _least(len(own))))
    part = np.zeros(len(own), dtype=np.int64)
    for number in range(1, int(group.max(initial=0)) + 1):
        inside = np.flatnonzero(group == number)
        parts = _ranked(_dense(own[inside], max(3, _least(len(inside)))))
        if parts.max(initial=0) > 1:
            part[inside] = parts
    rest = np.setdiff1d(np.arange(len(vectors)), unlearned)
    overall = len(own) / max(1, len(vectors))
    others = np.asarray(vectors[rest], dtype=np.float64)
    groups = []
    for number, parent, inside in _memberships(group, part):
        region = len(inside) + _near(others, own[inside])
        lift = (len(inside) / region) / overall
        groups.append(Group(number, parent, "", (), len(inside), region, float(lift)))
    titled = _titled(
        groups, [(inside, parent) for _, parent, inside in _memberships(group, part)], texts, unlearned, rest, pairs
    )
    x, y = _map(own)
    return Grouping(tuple(titled), group, part, x, y)


def _least(n: int) -> int:
    """The fewest samples that make a group among n."""
    return max(4, round(math.sqrt(n) / 2))


def _dense(vectors: np.ndarray, least: int) -> np.ndarray:
    """(m,) the label of each sample's dense region; -1 for none."""
    from sklearn.cluster import HDBSCAN

    n = len(vectors)
    out = np.full(n, -1)
    if n < 2 * least:
        return out
    flat = _components(vectors, DENSE)
    # Evenly spread, the same every time.
    subset = np.unique(np.linspace(0, n - 1, min(n, MOST)).round().astype(np.int64))
    least = max(3, round(least * len(subset) / n))
    labels = HDBSCAN(min_cluster_size=least, min_samples=max(2, least // 3), copy=True).fit_predict(flat[subset])
    out[subset] = labels
    left = np.setdiff1d(np.arange(n), subset)
    if left.size and (labels >= 0).any():
        from sklearn.neighbors import NearestNeighbors

        near = NearestNeighbors(n_neighbors=1).fit(flat[subset]).kneighbors(flat[left], return_distance=False)[:, 0]
        out[left] = labels[near]
    return out


def _ranked(labels: np.ndarray) -> np.ndarray:
    """Labels as numbers from 1, the largest region first, ties by first sample; 0 for none."""
    regions = [label for label in dict.fromkeys(labels.tolist()) if label >= 0]
    regions.sort(key=lambda label: -int((labels == label).sum()))
    out = np.zeros(len(labels), dtype=np.int64)
    for number, label in enumerate(regions, 1):
        out[labels == label] = number
    return out


def _memberships(group: np.ndarray, part: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Number, parent and places of the samples of every group, each group followed by its parts."""
    out = []
    for number in range(1, int(group.max(initial=0)) + 1):
        inside = np.flatnonzero(group == number)
        out.append((number, 0, inside))
        for piece in range(1, int(part[inside].max(initial=0)) + 1):
            out.append((piece, number, inside[part[inside] == piece]))
    return out


def _near(others: np.ndarray, members: np.ndarray) -> int:
    """How many other samples lie within the radius that holds nine tenths of the group's members."""
    if not len(others):
        return 0
    middle = members.mean(axis=0)
    radius = np.quantile(np.linalg.norm(members - middle, axis=1), 0.9)
    return int((np.linalg.norm(others - middle, axis=1) <= radius).sum())


def _map(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) the first and the second principal component."""
    flat = np.hstack([_components(vectors, 2), np.zeros((len(vectors), 2))])
    return flat[:, 0], flat[:, 1]


def _components(vectors: np.ndarray, most: int) -> np.ndarray:
    """(m, up to ``most``) principal components, the strongest first, with fixed signs."""
    if not len(vectors):
        return np.zeros((0, most))
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :most]
    largest = np.abs(directions).argmax(axis=0)
    return np.asarray(centred @ (directions * np.sign(directions[largest, np.arange(directions.shape[1])])))


# --------------------------------------------------------------------------------------------------------- titles


def _titled(
    groups: Sequence[Group],
    inside: Sequence[tuple[np.ndarray, int]],
    texts: Sequence[str],
    unlearned: np.ndarray,
    rest: np.ndarray,
    pairs: Sequence[tuple[str, str]],
) -> list[Group]:
    """The groups with titles. A group is compared with all other samples, a part with the rest of its group."""
    grams = {int(i): Counter(set(_grams(pattern_words(texts[i])))) for i in (*unlearned, *rest[: 4 * MOST])}
    everywhere = _summed(grams.values())
    common = frozenset(t for t, n in everywhere.items() if n > COMMON * len(grams))
    totals = [_summed(grams[int(unlearned[i])] for i in places) for places, _ in inside]
    whole = {g.number: t for g, t in zip(groups, totals, strict=True) if not g.parent}
    sizes = {g.number: g.size for g in groups if not g.parent}
    out = []
    for group, counts, (places, _) in zip(groups, totals, inside, strict=True):
        around = whole[group.parent] if group.parent else everywhere
        n_around = sizes[group.parent] if group.parent else len(grams)
        terms = _terms(counts, group.size, around, n_around, common)
        asked, answers = zip(*(pairs[int(unlearned[i])] for i in places), strict=True) if pairs else ((), ())
        title = title_of(asked, answers) or " · ".join(terms) or "no words set it apart"
        out.append(Group(group.number, group.parent, title, terms, group.size, group.region, group.lift))
    return out


def _summed(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _terms(
    counts: Counter[str], size: int, around: Counter[str], n_around: int, common: frozenset[str]
) -> tuple[str, ...]:
    """The terms with the highest product of two numbers: the share of the group's samples that have the term, and
    log(1 + how much rarer the term is around the group).

    English function words (the, of, what) are terms only if there is no other.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    outside = max(1, n_around - size)
    scored = []
    for term, n in counts.items():
        share = n / size
        elsewhere = (around[term] - n) / outside
        if share < SHARED or n < 2 or share <= elsewhere or common.issuperset(term.split()):
            continue
        # Samples are counted, not words. Half a sample is added, so that a term that occurs nowhere else stays finite.
        empty = ENGLISH_STOP_WORDS.issuperset(term.split())
        scored.append((empty, -share * math.log(1 + share / (elsewhere + 0.5 / outside)), term))
    chosen: list[str] = []
    for empty, _, term in sorted(scored):
        if empty and chosen:
            break
        words = set(term.split())
        if any(words <= set(c.split()) or set(c.split()) <= words for c in chosen) or len(term) < 2:
            continue
        chosen.append(term)
        if len(chosen) == TERMS:
            break
    return tuple(chosen)
