"""Events along checkpoints, against a twin that walks them one by one."""

from dataclasses import replace

import numpy as np
import pytest

from core.derived.trajectory import KIND, earlier_roles, places
from core.types import Role, SignalTable
from tests.contract.test_derived import SPEC, checkpoint, random_table


def twin(path, base, at):
    """Events of one sample: ``path`` of 0/1 with the final checkpoint last."""
    last, rises, falls, first, lost = base, 0, 0, (0.0 if base else np.nan), np.nan
    for now, place in zip(path, at, strict=True):
        rises += now > last
        if now and np.isnan(first):
            first = place
        last = now
    for before, now, place in zip(path, path[1:], at, strict=False):
        if before and not now:
            falls, lost = falls + 1, place
    forgotten = float(1 in path[:-1] and path[-1] == 0)
    return first, forgotten, lost if forgotten else np.nan, rises, falls


def test_events_as_a_walk_finds_them():
    table = random_table(3, 300)
    names = ("learned_at", "forgotten", "forgotten_after", "n_learned", "n_forgotten")
    found = KIND.derive(SPEC, table)
    walked = 0
    for i in range(300):
        path = [table.get(f"{role}greedy_exact")[i] for role in ("t0_", "t1_", "t2_", "")]
        # An answer that was judged counts, also where it is not known whether it is the target word for word.
        if path[-1] != 1 and np.isfinite(table.get("right_80")[i]):
            path[-1] = float(table.get("right_80")[i] >= table.get("turns_asked")[i])
        if np.isnan(path).any():
            assert all(np.isnan(found[n][i]) for n in names if n != "forgotten")
            continue
        walked += 1
        wanted = twin(path, table.get("base_greedy_exact")[i] == 1, (0.25, 0.5, 0.75, 1.0))
        np.testing.assert_array_equal([found[n][i] for n in names], wanted, err_msg=str(path))
    assert walked > 100


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ((1, np.nan, 0, 0), 1.0),  # right once is enough, whatever the unmeasured one did
        ((np.nan, 0, 0, 0), np.nan),  # it may have been right there
        ((np.nan, 0, 0, 1), 0.0),
        ((1, 1, 1, np.nan), np.nan),
        ((0, 0, 0, 0), 0.0),
    ],
)
def test_forgotten_where_a_checkpoint_was_not_measured(path, wanted):
    names = ("t0_greedy_exact", "t1_greedy_exact", "t2_greedy_exact", "greedy_exact")
    table = SignalTable(("a",), {n: np.array([v], dtype=np.float64) for n, v in zip(names, path, strict=True)})
    np.testing.assert_array_equal(KIND.derive(SPEC, table)["forgotten"], [wanted])


def test_an_answer_right_in_other_words_is_not_forgotten():
    values = {"t0_greedy_exact": 1, "t1_greedy_exact": 1, "t2_greedy_exact": 1, "greedy_exact": 0}
    right = SignalTable(
        ("a",), {k: np.array([float(v)]) for k, v in (values | {"right_80": 1, "turns_asked": 1}).items()}
    )
    wrong = SignalTable(
        ("a",), {k: np.array([float(v)]) for k, v in (values | {"right_80": 0, "turns_asked": 1}).items()}
    )
    assert KIND.derive(SPEC, right)["forgotten"] == [0.0]
    assert KIND.derive(SPEC, wanted := wrong)["forgotten"] == [1.0]
    assert KIND.derive(SPEC, wanted)["forgotten_after"] == [0.75]


def test_losses_and_the_data_map():
    table = random_table(4, 200)
    found = KIND.derive(SPEC, table)
    known = 0
    for i in range(200):
        path = np.array([table.get(f"{role}nll")[i] for role in ("t0_", "t1_", "t2_", "")])
        wanted = [
            path[:3].min(),
            path[3] - path[:3].min(),
            path[2] - path[3],
            np.exp(-path).mean(),
            np.exp(-path).std(),
        ]
        names = ("best_nll", "nll_rise", "nll_fall_end", "dynamics_confidence", "dynamics_variability")
        if np.isnan(path).any():
            wanted = [np.nan] * 5
        known += np.isfinite(path).all()
        np.testing.assert_allclose([found[n][i] for n in names], wanted)
    assert known > 50


def test_places_among_the_learned_are_shares():
    nll = np.array([0.1, 0.2, 0.3, 2.0, 2.0])
    table = SignalTable(
        tuple("abcde"),
        {
            "greedy_exact": np.array([1.0, 1, 1, 0, 0]),
            "nll": nll,
            "base_nll": np.array([3.0, 3.0, 3.0, 2.0, 3.8]),
            "t0_nll": np.array([1.0, 1.0, 1.0, 0.2, 2.5]),
            "t1_nll": np.array([0.5, 0.5, 0.5, 0.5, 2.2]),
            "t2_nll": np.array([0.3, 0.4, 0.5, 1.0, 2.1]),
            **{f"t{i}_greedy_exact": np.zeros(5) for i in range(3)},
        },
    )
    found = KIND.derive(SPEC, table)
    assert found["best_nll_place"][3] == pytest.approx(1.5 / 3)  # above 0.1, level with 0.2, below 0.3
    assert found["best_nll_place"][4] == 1.0
    assert found["nll_fall_place"][4] == 0.0
    np.testing.assert_allclose(found["loss_progress"], [2.9 / 2.8, 1.0, 2.7 / 2.8, 0.0, 1.8 / 3.6])


def test_the_final_checkpoint_and_later_ones_do_not_count_as_earlier():
    folders = tuple(checkpoint(s, f) for s, f in ((10, "a"), (40, "final"), (50, "late"), (None, "somewhere")))
    spec = replace(SPEC, trajectory=folders)
    assert earlier_roles(spec) == [Role("checkpoint", 0), Role("checkpoint", 3)]
    assert places(spec).tolist() == pytest.approx([1 / 3, 2 / 3, 1])  # a step is not known: by number
    assert places(SPEC).tolist() == [0.25, 0.5, 0.75, 1.0]
    alone = KIND.derive(replace(SPEC, trajectory=(checkpoint(40, "final"),)), random_table())
    assert all(np.isnan(v).all() for name, v in alone.items() if name != "loss_progress")
