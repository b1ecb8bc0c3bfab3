"""Agreement, the exact need, early stopping over every sequence of answers, and chance."""

import itertools
import math
from collections import Counter

import pytest

from core.egrm.consensus import chance_of_votes, consensus, early_stop, need


def test_need_is_exact():
    assert need(0.56, 25) == 14
    assert math.ceil(0.56 * 25) == 15  # why floating point will not do
    assert need(0.8, 5) == 4 and need(0.61, 5) == 4 and need(0.6, 5) == 3 and need(1.0, 5) == 5
    for percent in range(1, 101):
        for m in range(1, 65):
            wanted = next(k for k in range(m + 1) if 100 * k >= percent * m)
            assert need(percent / 100, m) == wanted == need(f"{percent / 100:.2f}", m)


def restricted_growth(m):
    """Every sequence of m answers up to renaming: the first answer is 0, each new one the next number."""

    def grow(prefix, top):
        if len(prefix) == m:
            yield prefix
            return
        for value in range(top + 2):
            yield from grow([*prefix, value], max(top, value))

    yield from grow([], -1)


@pytest.mark.parametrize("m", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_early_stop_never_changes_the_route(m):
    """Over all answer sequences. Names do not matter, so each is taken once up to renaming."""
    names = [chr(97 + i) for i in range(m)]
    n = 0
    for sequence in restricted_growth(m):
        keys = [names[v] for v in sequence]
        n += 1
        top = max(Counter(keys).values())
        for votes in range(1, m + 1) if m == 5 else (4, 6, 8, 10):
            found, drawn = early_stop(keys, votes)
            assert found == ("short" if top >= votes else "long")
            # No earlier: one answer before, both routes were still open.
            if drawn:
                before = Counter(keys[: drawn - 1])
                most = max(before.values(), default=0)
                assert most < votes <= most + m - drawn + 1
    assert n == {5: 52, 10: 115975}[m]


def test_unreadable_answers_agree_with_nobody_and_early_stop_knows():
    for keys in itertools.product(["a", "b", None], repeat=5):
        top = max(Counter(k for k in keys if k is not None).values(), default=0)
        found = consensus(keys)
        assert (found.votes, found.m) == (top, 5)
        for votes in range(1, 6):
            assert early_stop(keys, votes)[0] == ("short" if top >= votes else "long")
    assert consensus([None] * 5).answer is None
    assert early_stop([None] * 5, 4) == ("long", 2)
    assert early_stop(["a", "b", "c", "a", "a"], 4) == ("long", 3)
    assert early_stop(["a", "a", "b", "b", "a"], 4) == ("long", 4)
    assert early_stop(["a", "a", "a", "a", "b"], 4) == ("short", 4)


def test_consensus_takes_the_first_of_equals_and_measures_entropy():
    assert consensus(["b", "a", "a", "b"]).answer == "b"
    assert consensus(["a"] * 5).entropy == 0
    assert consensus(list("abcde")).entropy == pytest.approx(1)
    assert consensus(["a", "a", None, None, None]).entropy == pytest.approx(
        -(0.4 * math.log(0.4) + 3 * 0.2 * math.log(0.2)) / math.log(5)
    )
    assert consensus(["a"]).entropy == 0


@pytest.mark.parametrize(("m", "options"), [(5, 2), (4, 3), (3, 4), (6, 2)])
def test_chance_equals_counting(m, options):
    counts = Counter(max(Counter(s).values()) for s in itertools.product(range(options), repeat=m))
    assert list(chance_of_votes(m, options)) == pytest.approx([counts[t] / options**m for t in range(m + 1)])


def test_two_coins_agree_more_than_people_think():
    assert sum(chance_of_votes(5, 2)[4:]) == pytest.approx(0.375)
