"""Every row in one batch, none too large, little padding."""

import numpy as np
import pytest

from core.backends._batching import plan_batches

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 200, 500)


def padding(batches, lengths):
    return sum(len(b) * lengths[b].max() for b in batches) - lengths.sum()


@pytest.mark.parametrize(("budget", "overhead"), [(512, 16), (512, 0), (64, 1000), (8192, 256)])
def test_every_row_once_within_the_budget(budget, overhead):
    batches = plan_batches(LENGTHS, budget, overhead)
    assert sorted(np.concatenate(batches)) == list(range(len(LENGTHS)))
    for batch in batches:
        longest = LENGTHS[batch].max()
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert len(batch) * longest - LENGTHS[batch].sum() <= overhead
    assert [LENGTHS[b].max() for b in batches] == sorted((LENGTHS[b].max() for b in batches), reverse=True)


def test_short_rows_are_hardly_padded():
    assert padding(plan_batches(LENGTHS, 512, 16), LENGTHS) < 0.02 * LENGTHS.sum()
    in_order = [np.arange(i, min(i + 5, 500)) for i in range(0, 500, 5)]
    assert padding(in_order, LENGTHS) > 0.3 * LENGTHS.sum()


def test_most_rows_and_boundary():
    assert max(len(b) for b in plan_batches(LENGTHS, 10**6, 10**6, most=7)) == 7
    batches = plan_batches(LENGTHS, 10**6, 10**6, boundary=100)
    assert len(batches) == 2
    assert all(len(set(LENGTHS[b] > 100)) == 1 for b in batches)


def test_no_rows():
    assert plan_batches(np.empty(0, np.int64), 10, 1) == []
