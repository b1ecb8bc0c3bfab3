"""Rows that begin alike: grouped for the fewest tokens, and the same numbers as without sharing."""

from itertools import combinations

import numpy as np
import pytest

from core.backends._base import ScoreRow
from core.backends._prefix import SHORTEST, shared
from core.types import Decoding
from tests.backends import small_models as sm

RNG = np.random.default_rng(11)


def alike(n_prefixes, each, length=20, rest=12):
    """Rows of ``n_prefixes`` beginnings, shuffled; some end right behind their beginning, some repeat another row."""
    rows = []
    for _ in range(n_prefixes):
        begin = RNG.integers(0, sm.VOCAB, length)
        for _ in range(each):
            rows.append(np.concatenate([begin, RNG.integers(0, sm.VOCAB, RNG.integers(1, rest))]))
    rows += [rows[0].copy(), rows[-1].copy(), RNG.integers(0, sm.VOCAB, 5)]
    return [rows[i] for i in RNG.permutation(len(rows))]


def read(groups, rows):
    """Tokens read: each group's beginning once, and what is left of each row."""
    return sum(g.length + sum(len(rows[i]) - g.length for i in g.rows) for g in groups)


def test_every_row_is_in_one_group_and_begins_as_it_says():
    rows = alike(3, 5)
    limits = np.array([len(r) - 1 for r in rows])
    groups = shared(rows, limits, overhead=4)
    assert sorted(i for g in groups for i in g.rows) == list(range(len(rows)))
    for group in groups:
        assert group.length == 0 or group.length >= SHORTEST
        assert group.length <= limits[group.rows].min()
        assert all((rows[i][: group.length] == rows[group.rows[0]][: group.length]).all() for i in group.rows)
    assert read(groups, rows) <= sum(map(len, rows)) - 3 * 4 * 20


def partitions(items):
    """Every way to cut a list into runs."""
    for k in range(len(items)):
        for cuts in combinations(range(1, len(items)), k):
            yield [items[a:b] for a, b in zip((0, *cuts), (*cuts, len(items)), strict=True)]


def test_no_partition_into_runs_reads_fewer_tokens():
    rows = [np.repeat(RNG.integers(0, 2, 4), 5)[: RNG.integers(9, 20)] for _ in range(8)]
    rows.sort(key=lambda row: row.tolist())
    limits = np.array([len(r) - 1 for r in rows])

    def cost(run):
        length = min(min(limits[i] for i in run), *(common(rows[run[0]], rows[i]) for i in run))
        whole = sum(len(rows[i]) for i in run)
        return min(whole, whole - (len(run) - 1) * length + 4) if length >= SHORTEST and len(run) > 1 else whole

    best = min(sum(map(cost, runs)) for runs in partitions(list(range(len(rows)))))
    groups = shared(rows, limits, overhead=4)
    assert read(groups, rows) + 4 * sum(g.length > 0 for g in groups) == best


def common(one, other):
    n = min(len(one), len(other))
    return next((i for i in range(n) if one[i] != other[i]), n)


@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("family", sm.FAMILIES)
def test_scores_are_those_of_whole_rows(family, kind, backend, monkeypatch):
    opened = backend(family, kind)
    rows = [ScoreRow(ids, np.arange(max(1, len(ids) - 3), len(ids))) for ids in alike(4, 6)]
    together = opened.score(rows)
    monkeypatch.setattr(opened, "_sharing", None)
    for one, other in zip(together, opened.score(rows), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4, rtol=0)
        np.testing.assert_allclose(one.margin, other.margin, atol=1e-4, rtol=0)
        np.testing.assert_allclose(one.lognorm, other.lognorm, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("family", sm.FAMILIES)
def test_answers_are_those_of_whole_prompts(family, kind, backend, monkeypatch):
    opened = backend(family, kind)
    prompts = alike(3, 5)
    decodings = [Decoding(0.0 if i % 2 else 0.8, 9, seed=i) for i in range(len(prompts))]
    together = opened.generate(prompts, decodings, [3])
    monkeypatch.setattr(opened, "_sharing", None)
    apart = opened.generate(prompts, decodings, [3])
    assert [g.tokens.tolist() for g in together] == [g.tokens.tolist() for g in apart]


def test_plain_models_share_and_read_fewer_tokens(backend):
    opened, seen = backend("llama", "full"), []
    hook = opened._scorer.decoder.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["input_ids"].numel()), with_kwargs=True
    )
    rows = [ScoreRow(ids, np.array([len(ids) - 1])) for ids in alike(2, 8, length=40, rest=3)]
    opened.score(rows)
    hook.remove()
    assert sum(seen) < sum(len(r.ids) for r in rows) / 3
