"""Every derivation: pure, in the order of its rows, exactly the columns it declares, NaN where nothing was measured."""

import numpy as np
import pytest

from core.judge.columns import columns_of
from core.plugins import kinds
from core.signals._plan import plan
from core.types import Checkpoint, RunSpec, SignalTable

NAMES = sorted(kinds("derived"))
N = 60


def checkpoint(step, fingerprint):
    return Checkpoint(f"/w/{fingerprint}", None, step, fingerprint, fingerprint)


SPEC = RunSpec(
    1, "data", checkpoint(40, "final"), checkpoint(None, "base"), tuple(checkpoint(s, f"t{s}") for s in (10, 20, 30))
)


def random_table(seed=0, n=N):
    """Values for every column that signals of such a run have, a tenth of them not measured; rows with copies."""
    rng = np.random.default_rng(seed)
    columns = {}
    for measure in plan(SPEC):
        for column in kinds("signals")[measure.signal].columns:
            name = measure.column(column.name)
            values = rng.integers(0, 2, n) if column.kind == "flag" else rng.integers(0, 40, n) / 8
            columns[name] = np.where(rng.random(n) < 0.1, np.nan, values.astype(np.float64))
    for name in ("greedy_exact", "t0_greedy_exact", "t1_greedy_exact", "t2_greedy_exact", "base_greedy_exact"):
        columns[name] = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 2, n))
    columns["position"] = np.arange(n) / (n - 1)
    columns["stage_index"] = np.floor(np.arange(n) / 20)
    columns["copies"] = np.ones(n)
    return SignalTable(tuple(f"k{i // 2}" for i in range(n)), columns)


def taken(table, places):
    return SignalTable(tuple(table.keys[i] for i in places), {k: v[places] for k, v in table.columns.items()})


@pytest.fixture(params=NAMES)
def derivation(request):
    return kinds("derived")[request.param]


def test_exactly_the_declared_columns_of_the_right_shape(derivation):
    found = derivation.derive(SPEC, random_table())
    assert set(found) == {c.name for c in derivation.columns}
    assert {(v.shape, v.dtype) for v in found.values()} == {((N,), np.dtype(np.float64))}
    assert any(np.isfinite(v).any() for v in found.values())
    assert not any(np.isinf(v).any() for v in found.values())


def test_the_order_of_rows_makes_no_difference(derivation):
    table, order = random_table(), np.random.default_rng(1).permutation(N)
    straight, mixed = derivation.derive(SPEC, table), derivation.derive(SPEC, taken(table, order))
    for name, values in straight.items():
        np.testing.assert_allclose(mixed[name], values[order], rtol=1e-12, err_msg=name)


def test_inputs_are_left_alone(derivation):
    table = random_table()
    before = {k: v.copy() for k, v in table.columns.items()}
    for values in table.columns.values():
        values.setflags(write=False)
    derivation.derive(SPEC, table)
    assert set(table.columns) == set(before)
    for name, values in before.items():
        np.testing.assert_array_equal(table.columns[name], values)


def test_nothing_measured_gives_nothing(derivation):
    empty = SignalTable(tuple("abc"), {})
    for name, values in derivation.derive(SPEC, empty).items():
        assert np.isnan(values).all(), name


def test_flags_are_flags(derivation):
    found = derivation.derive(SPEC, random_table(2))
    for column in derivation.columns:
        if column.kind == "flag":
            assert set(np.unique(found[column.name][np.isfinite(found[column.name])])) <= {0.0, 1.0}


def test_no_two_kinds_fill_one_column():
    names = [c.name for c in columns_of(SPEC)]
    assert len(names) == len(set(names))
