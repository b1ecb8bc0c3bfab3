"""Pairs of rows that ask the same question, gathered into groups whose sides agree."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

# A chain of rewordings drifts. A larger group stays in parts, each joined where that is most certain.
MOST_MEMBERS = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contents, ``a`` < ``b``. All in [0, 1].

    Attributes:
        same: how sure it is that they ask the same.
        differ: how sure it is that their answers say different things.
        valid: how sure it is that both may be right.
    """

    a: int
    b: int
    same: float
    differ: float
    valid: float

    @property
    def contradiction(self) -> float:
        return self.same * self.differ * (1.0 - self.valid)


@dataclass(frozen=True, slots=True)
class Group:
    """One question with its sides, the heaviest side first. Ties go by the first member.

    Attributes:
        sides: members of each side, ascending.
        sure: for each member, the surest contradiction with a member of another side.
        valid: for each member, the surest "both may be right" with a member of another side.
        strength: the largest of ``sure``.
    """

    sides: tuple[tuple[int, ...], ...]
    sure: Mapping[int, float]
    valid: Mapping[int, float]
    strength: float


class _Sets:
    """Disjoint sets of at most ``most`` members."""

    def __init__(self, most: int) -> None:
        self._up: dict[Hashable, Hashable] = {}
        self._size: dict[Hashable, int] = {}
        self._most = most

    def find(self, x: Hashable) -> Hashable:
        self._up.setdefault(x, x)
        self._size.setdefault(x, 1)
        while self._up[x] != x:
            self._up[x] = self._up[self._up[x]]
            x = self._up[x]
        return x

    def join(self, x: Hashable, y: Hashable) -> None:
        x, y = self.find(x), self.find(y)
        if x == y or self._size[x] + self._size[y] > self._most:
            return
        self._up[y] = x
        self._size[x] += self._size[y]


def grouped(pairs: Iterable[Pair], weights: Mapping[int, float], cut: float = 0.5) -> list[Group]:
    """Groups with at least two sides, ordered by their first member.

    A pair is joined if it asks the same with at least ``cut``, surest pairs first. Within a group, members whose
    answers agree form a side.

    Args:
        weights: how often each content occurs.
    """
    same = sorted((p for p in pairs if p.same >= cut), key=lambda p: (-p.same, p.a, p.b))
    sets = _Sets(MOST_MEMBERS)
    for p in same:
        sets.join(p.a, p.b)
    inside: dict[Hashable, list[Pair]] = {}
    for p in same:
        if sets.find(p.a) == sets.find(p.b):
            inside.setdefault(sets.find(p.a), []).append(p)
    groups = [g for members in inside.values() if (g := _sides(members, weights, cut)) is not None]
    return sorted(groups, key=lambda g: min(min(side) for side in g.sides))


def _sides(pairs: list[Pair], weights: Mapping[int, float], cut: float) -> Group | None:
    sides = _Sets(MOST_MEMBERS)
    members = sorted({m for p in pairs for m in (p.a, p.b)})
    # Answers that agree most come first. Two that disagree never end on one side through a third one.
    apart = {(p.a, p.b) for p in pairs if p.differ >= cut}
    for p in sorted(pairs, key=lambda p: (p.differ, p.a, p.b)):
        if p.differ >= cut:
            break
        left = [m for m in members if sides.find(m) == sides.find(p.a)]
        right = [m for m in members if sides.find(m) == sides.find(p.b)]
        if not any((min(x, y), max(x, y)) in apart for x in left for y in right):
            sides.join(p.a, p.b)
    of = {m: sides.find(m) for m in members}
    sure = dict.fromkeys(members, 0.0)
    valid = dict.fromkeys(members, 0.0)
    for p in pairs:
        if of[p.a] == of[p.b] or p.differ < cut:
            continue
        for m in (p.a, p.b):
            sure[m] = max(sure[m], p.contradiction)
            valid[m] = max(valid[m], p.valid)
    clusters: dict[Hashable, list[int]] = {}
    for m in members:
        clusters.setdefault(of[m], []).append(m)
    if len(clusters) < 2:
        return None
    ordered = sorted(clusters.values(), key=lambda side: (-sum(weights[m] for m in side), side[0]))
    return Group(tuple(map(tuple, ordered)), sure, valid, max(sure.values()))
