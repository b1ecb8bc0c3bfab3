"""Values that cross borders."""

import numpy as np

from core.types import BASE, FINAL, Checkpoint, Role, RunSpec, SignalTable

STEPS = [Role("checkpoint", i) for i in (2, 10)]


def test_a_role_names_columns_and_reads_them_back():
    columns = {role.column("nll"): role for role in (FINAL, *reversed(STEPS), BASE)}
    assert list(columns) == ["nll", "t10_nll", "t2_nll", "base_nll"]
    others = ["t2_nll_trained", "t_nll", "t3_greedy_exact", "target_nll", "xt4_nll"]
    assert Role.steps([*columns, *others], "nll") == STEPS
    assert sorted(columns.values()) == [BASE, *STEPS, FINAL]


def test_a_table_gives_a_column_under_each_checkpoint():
    table = SignalTable(("a",), {"nll": np.ones(1), "base_nll": np.ones(1), "t10_nll": np.full(1, 5.0)})
    assert {role: values.tolist() for role, values in table.steps("nll").items()} == {STEPS[1]: [5.0]}


def test_checkpoints_stand_along_the_training():
    def checkpoint(name):
        return Checkpoint(name, None, None, name, name)

    spec = RunSpec(1, "data", checkpoint("final"), checkpoint("base"), tuple(map(checkpoint, "abc")))
    assert [c.label for c in spec.checkpoints.values()] == ["base", "a", "b", "c", "final"]
    assert list(spec.checkpoints) == sorted(spec.checkpoints)
