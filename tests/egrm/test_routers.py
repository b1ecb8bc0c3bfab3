"""Signals as routers against a twin that sends items one by one."""

import math
import random

import numpy as np
import pytest

from core.egrm.items import load
from core.egrm.policies import policies
from core.egrm.replay import Setting, replay
from core.egrm.routers import routers, sent, shared_words, signals
from tests.egrm.test_replay import item, made, said

SETTING = Setting.of(0.8, 5, 4, "vote")


def grouped(n=120, groups=3):
    """Items whose margin says exactly whether the direct vote is right; consensus says little."""
    rng, rows = random.Random(3), []
    for i in range(n):
        right = rng.random() < 0.5
        answers = ["7" if right else "8"] * rng.choice([3, 4, 5])
        answers += [str(j) for j in range(5 - len(answers))]
        margin = (2.0 if right else -2.0) + rng.random()
        probes = [said(a, margin=margin, logp=-rng.random()) for a in answers]
        rows.append(item(f"i{i}", "7", probes, [said("7", 20)] * 4, group=f"g{i % groups}"))
    return rows


def twin(signal, direct, path, share):
    """Accuracy where the least trusted ``share`` reasons, ties shared out, told one level after another."""
    left, right = share * len(signal), 0.0
    for level in sorted(set(signal)):
        here = [i for i, v in enumerate(signal) if v == level]
        part = min(1.0, max(0.0, left / len(here)))
        right += sum(part * path[i] + (1 - part) * direct[i] for i in here)
        left -= len(here)
    return right / len(signal)


def test_a_curve_is_the_twins_at_every_share():
    items = load(made(80), "numeric")
    seen = replay(items, SETTING)
    found, _ = signals(items, seen)
    drawn = {r.name: r for r in routers(items, seen).routers}
    assert set(drawn) == set(found)
    for name, values in found.items():
        for share in (0.0, 0.2, 0.37, 0.5, 0.9, 1.0):
            wanted = twin(values.tolist(), seen.direct_right, seen.path_right, share)
            assert np.interp(share, drawn[name].shares, drawn[name].accuracy) == pytest.approx(wanted)
            chance = sent(values, share)
            assert chance.mean() == pytest.approx(share)
        assert drawn[name].shares[0] == 0 and drawn[name].shares[-1] == pytest.approx(1)
        assert all(0 <= a <= 1 for a in drawn[name].accuracy)


def test_the_ends_are_the_fixed_policies_and_egrm_lies_on_the_line_of_consensus():
    items = load(made(200), "numeric")
    seen = replay(items, SETTING)
    by = {p.name: p for p in policies(items, seen)}
    for router in routers(items, seen).routers:
        assert router.accuracy[0] == pytest.approx(by["direct_m"].accuracy.value)
        assert router.accuracy[-1] == pytest.approx(by["path_vote"].accuracy.value)
        assert router.tokens[0] == pytest.approx(by["direct_m"].tokens)
        assert router.tokens[-1] == pytest.approx(by["direct_m"].tokens + by["path_vote"].tokens)
    consensus = next(r for r in routers(items, seen).routers if r.name == "consensus")
    assert consensus.at.value == pytest.approx(by["egrm"].accuracy.value)
    assert consensus.points.value == pytest.approx(0) and consensus.points.high == pytest.approx(0)


def test_a_signal_that_knows_is_the_oracle_and_the_mix_learns_it_from_other_groups():
    items = load(grouped(), "numeric")
    seen = replay(items, SETTING)
    found = routers(items, seen)
    by = {r.name: r for r in found.routers}
    assert by["margin"].auroc == 1.0 and by["mix"].auroc > 0.95 and by["consensus"].auroc < 0.8
    assert by["margin"].area == max(r.area for r in found.routers) > found.random
    assert by["margin"].points.low > 0
    assert found.fitted == "fitted on the other 2 groups of items" and not found.missing


def test_the_mix_sees_no_item_of_the_group_it_judges():
    rows = grouped()
    changed = [r | {"gold": "9"} if r["group"] == "g0" else r for r in rows]
    one, other = (load(x, "numeric") for x in (rows, changed))
    mixes = [signals(x, replay(x, SETTING))[0]["mix"] for x in (one, other)]
    own = np.array([g == "g0" for g in one.groups])
    assert np.array_equal(mixes[0][own], mixes[1][own]) and not np.array_equal(mixes[0][~own], mixes[1][~own])


def test_what_was_not_measured_is_named_and_no_zero():
    rows = grouped(20, 1)
    for row in rows:
        row["probes"] = [p | {"logp": None, "margin": None} for p in row["probes"]]
    items = load(rows, "numeric")
    found = routers(items, replay(items, SETTING))
    assert [r.name for r in found.routers] == ["consensus", "entropy", "words"]
    assert set(found.missing) == {
        "Mean log-probability of the answers", "Mean margin of the answers", "Mix of all of them",
    }  # fmt: skip
    none = load([r | {"gold": None} for r in rows], "numeric")
    empty = routers(none, replay(none, SETTING))
    assert empty.routers == () and math.isnan(empty.random)


def test_shared_words_count_wording_and_agreement():
    probes = [said("the red house"), said("the blue house"), said(None)]
    items = load([item("a", "x", probes, [said("x")]), item("b", "x", [said("x")] * 3, [said("x")])], "words")
    assert shared_words(items, 3).tolist() == pytest.approx([2 * 2 / 6 / 3, 1.0])
    assert shared_words(items, 1).tolist() == [1.0, 1.0]
