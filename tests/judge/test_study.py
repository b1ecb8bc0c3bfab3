"""The study's rules on tables made by hand."""

import numpy as np

from core.judge.study import ORDER, fits, label, unlearned
from core.types import SignalTable


def table(**columns):
    n = max(len(v) for v in columns.values())
    return SignalTable(tuple(map(str, range(n))), {k: np.array(v, dtype=float) for k, v in columns.items()})


def test_unlearned_is_none_of_five():
    found = unlearned(table(options_right=[0.0, 0.2, 1.0, np.nan]))
    np.testing.assert_array_equal(found, [1.0, 0.0, 0.0, np.nan])


def test_the_first_cause_of_the_text_is_taken():
    found = label(
        table(
            options_right=[0, 0, 0, 0, 0.4, np.nan],
            base_options_right=[0.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            base_options_best=[0.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            options_jsd=[0.6, 0.6, 0.1, 0.1, 0.6, 0.6],
            neighbour_similarity=[0.99, 0.99, 0.95, 0.2, 0.99, 0.99],
        )
    )
    assert found.tolist() == [
        "missing_knowledge", "base_conflict", "data_inconsistency", "under_optimised", None, None,
    ]  # fmt: skip


def test_a_rule_without_its_numbers_is_not_applied():
    found = fits(table(options_right=[0.0]))
    assert {c: np.isnan(v[0]) for c, v in found.items()} == {c: c != "under_optimised" for c in ORDER}
    assert label(table(options_right=[0.0])).tolist() == ["under_optimised"]


def test_forgetting_is_said_of_tenths_of_the_order():
    n = 40
    position = np.arange(n) / (n - 1)
    early = position < 0.1
    right = np.ones(n)
    final = np.where(early & (np.arange(n) % 2 == 0), 0.0, 1.0)
    whole = table(
        options_right=1 - (final == 0), position=position, t0_greedy_exact=right, t1_greedy_exact=right,
        greedy_exact=final, base_options_right=right, base_options_best=right, options_jsd=0 * right,
    )  # fmt: skip
    assert set(label(whole)[final == 0]) == {"left_side_forgetting"}
    assert fits(whole)["left_side_forgetting"].tolist() == early.astype(float).tolist()
    # The same samples by themselves, with the run beside them.
    some = np.flatnonzero(final == 0)
    part = SignalTable(("",) * len(some), {k: v[some] for k, v in whole.columns.items()})
    assert set(label(part, whole)) == {"left_side_forgetting"}
    steady = SignalTable(whole.keys, {**whole.columns, "t0_greedy_exact": final, "t1_greedy_exact": final})
    assert set(label(steady)[final == 0]) == {"under_optimised"}


def test_a_drop_of_a_twentieth_is_not_enough():
    n = 400
    position = np.arange(n) / (n - 1)
    lost = np.isin(np.arange(n), [0, 1])  # 2 of the 40 of the first tenth: exactly 5 %
    whole = table(
        options_right=np.zeros(n), position=position, t0_greedy_exact=np.ones(n), greedy_exact=np.where(lost, 0.0, 1.0)
    )
    assert not fits(whole)["left_side_forgetting"].any()
