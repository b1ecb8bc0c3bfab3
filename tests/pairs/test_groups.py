"""Groups and their sides, against a small independent twin."""

import itertools
import random

from core.pairs.groups import MOST_MEMBERS, Pair, grouped


def twin(pairs, cut=0.5):
    """Connected components over pairs that ask the same, by flooding."""
    near = {}
    for p in pairs:
        if p.same >= cut:
            near.setdefault(p.a, set()).add(p.b)
            near.setdefault(p.b, set()).add(p.a)
    seen, out = set(), []
    for start in sorted(near):
        if start in seen:
            continue
        flood, wave = {start}, [start]
        while wave:
            wave = [y for x in wave for y in near[x] if y not in flood and not flood.add(y)]
        seen |= flood
        out.append(flood)
    return out


def test_members_are_connected_components_and_order_does_not_matter():
    rng = random.Random(3)
    for _ in range(50):
        answers = {i: rng.randrange(3) for i in range(14)}
        chosen = rng.sample(list(itertools.combinations(range(14), 2)), 12)
        pairs = [Pair(a, b, rng.choice([0.2, 0.9]), float(answers[a] != answers[b]), 0.0) for a, b in chosen]
        found = grouped(pairs, dict.fromkeys(range(14), 1.0))
        members = [{m for side in g.sides for m in side} for g in found]
        expected = [c for c in twin(pairs) if len({answers[m] for m in c}) > 1]
        assert members == expected
        for g in found:
            assert all(len({answers[m] for m in side}) == 1 for side in g.sides)
        rng.shuffle(pairs)
        assert grouped(pairs, dict.fromkeys(range(14), 1.0)) == found


def test_the_heavier_side_comes_first_and_copies_count():
    pairs = [Pair(0, 1, 0.9, 1.0, 0.0), Pair(0, 2, 0.9, 1.0, 0.0), Pair(1, 2, 1.0, 0.0, 0.0)]
    assert grouped(pairs, {0: 1.0, 1: 1.0, 2: 1.0})[0].sides == ((1, 2), (0,))
    assert grouped(pairs, {0: 5.0, 1: 1.0, 2: 1.0})[0].sides == ((0,), (1, 2))


def test_rows_that_agree_make_no_group():
    assert grouped([Pair(0, 1, 1.0, 0.0, 0.0)], {0: 1.0, 1: 1.0}) == []


def test_two_that_disagree_are_not_brought_together_by_a_third():
    pairs = [Pair(0, 1, 1.0, 0.1, 0.0), Pair(1, 2, 1.0, 0.2, 0.0), Pair(0, 2, 1.0, 1.0, 0.0)]
    (group,) = grouped(pairs, dict.fromkeys(range(3), 1.0))
    assert group.sides == ((0, 1), (2,))
    assert group.sure[2] == 1.0 and group.strength == 1.0


def test_a_long_chain_stays_in_parts():
    pairs = [Pair(i, i + 1, 0.6, float(i % 2), 0.0) for i in range(300)]
    found = grouped(pairs, dict.fromkeys(range(301), 1.0))
    assert found and all(sum(map(len, g.sides)) <= MOST_MEMBERS for g in found)
