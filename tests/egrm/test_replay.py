"""Replay against a twin written as plainly as the policies are told."""

import itertools
import math
import random

import numpy as np
import pytest

from core.egrm.consensus import need
from core.egrm.items import load
from core.egrm.policies import comparisons, curve, policies
from core.egrm.replay import (
    Setting,
    calibration,
    choose,
    levels,
    lists,
    normaliser_difference,
    order_agreement,
    outcomes,
    replay,
)


def said(raw, tokens=3, how="marker", cut=False, swapped=False, logp=-0.5, score=None, temperature=0.7, margin=1.0):
    failure = "" if raw is not None else "cut before an answer" if cut else "no answer in the expected form"
    return {
        "raw": raw, "how": how if raw is not None else "none", "failure": failure, "tokens": tokens, "cut": cut,
        "swapped": swapped, "temperature": temperature, "logp": logp, "margin": margin, "score": score,
    }  # fmt: skip


def item(key, gold, probes, paths, **changes):
    base = {
        "key": key, "gold": gold, "better": None, "pair": False, "group": None, "options": {}, "refused": None,
        "notes": [], "prompt": [10, 12], "seconds": [0.5, 2.0], "probes": probes, "paths": paths,
    }  # fmt: skip
    return base | changes


def made(n=60, m=5, k=4, seed=0):
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        p, q = rng.random(), rng.random()

        def answer(chance):
            return None if rng.random() < 0.1 else "7" if rng.random() < chance else str(rng.randint(1, 3))

        rows.append(
            item(
                f"i{i}", "7",
                [said(answer(p), rng.randint(1, 5)) for _ in range(m)],
                [said(answer(q), rng.randint(10, 40), logp=-rng.random(), score=rng.random()) for _ in range(k)],
            )
        )  # fmt: skip
    return rows


def twin(rows, tau, m, k, how):
    """Right and tokens of E-GRM, one item after another."""
    out = []
    for row in rows:
        probes = [s["raw"] for s in row["probes"][:m]]
        tokens = sum(s["tokens"] for s in row["probes"][:m])
        best, votes = None, 0
        for a in probes:
            if a is not None and probes.count(a) > votes:
                best, votes = a, probes.count(a)
        if votes and votes / m >= tau - 1e-12:
            out.append((best == row["gold"], tokens, True))
            continue
        paths = [s for s in row["paths"][:k] if s["raw"] is not None]
        answer = None
        if paths and how == "vote":
            answer = max(paths, key=lambda s: sum(x["raw"] == s["raw"] for x in paths))["raw"]
        elif paths and how == "scorer":
            answer = max(paths, key=lambda s: s["score"])["raw"]
        elif paths and how == "likelihood":
            answer = max(paths, key=lambda s: s["logp"])["raw"]
        elif paths:
            answer = max(paths, key=lambda s: sum(x["score"] for x in paths if x["raw"] == s["raw"]))["raw"]
        out.append((answer == row["gold"], tokens + sum(s["tokens"] for s in row["paths"][:k]), False))
    return out


@pytest.mark.parametrize("how", ["vote", "scorer", "likelihood", "weighted"])
def test_replay_equals_the_twin_at_every_setting(how):
    rows = made()
    items = load(rows, "numeric")
    for tau, m, k in itertools.product((0.2, 0.4, 0.6, 0.8, 1.0), (1, 3, 5), (1, 2, 4)):
        found = replay(items, Setting.of(tau, m, k, how))
        wanted = twin(rows, need(tau, m) / m, m, k, how)
        assert found.right.tolist() == [r for r, _, _ in wanted]
        assert found.short.tolist() == [s for _, _, s in wanted]
        egrm = next(p for p in policies(items, found) if p.name == "egrm")
        assert egrm.tokens == pytest.approx(np.mean([t for _, t, _ in wanted]))
        assert egrm.accuracy.value == pytest.approx(np.mean([r for r, _, _ in wanted]))
        assert egrm.long == pytest.approx(np.mean([not s for _, _, s in wanted]))


def test_policies_bound_and_contain_each_other():
    items = load(made(200), "numeric")
    found = replay(items, Setting.of(0.8, 5, 4, "scorer"))
    by = {p.name: p for p in policies(items, found)}
    assert set(by) == {"direct_1", "direct_m", "path_1", "path_vote", "path_k", "egrm", "random", "oracle"}
    assert by["oracle"].accuracy.value >= max(by[n].accuracy.value for n in by)
    assert by["direct_m"].long == 0 and by["path_k"].long == 1 and by["random"].long == pytest.approx(by["egrm"].long)
    assert by["random"].accuracy.value == pytest.approx(
        (1 - by["egrm"].long) * by["direct_m"].accuracy.value + by["egrm"].long * by["path_k"].accuracy.value
    )
    assert by["egrm"].tokens > by["direct_m"].tokens  # probes are counted
    for policy in by.values():
        assert policy.accuracy.low <= policy.accuracy.value <= policy.accuracy.high
    for c in comparisons(items, found):
        assert c.points.low <= c.points.value <= c.points.high
    assert curve(items, 5, 4, "scorer")[3].accuracy == pytest.approx(by["egrm"].accuracy.value)
    last = curve(items, 5, 4, "scorer")[-1]
    assert last.short == 0 and last.accuracy == pytest.approx(by["path_k"].accuracy.value)


def scored(rows, missing=False):
    """The rows with what scoring cost: 7 word pieces a question, 10·(i + 1) for path i, 3 tokens read again each."""
    for row in rows:
        for i, path in enumerate(row["paths"]):
            path |= {"read": 10 * (i + 1), "states": 3}
        row["scoring"] = {"question": 7, "seconds": 0.25}
    if missing:
        rows[0].pop("scoring")
    return rows


def test_a_scorer_costs_what_it_reads_wherever_its_choice_is_taken():
    rows = scored(made())
    items = load(rows, "numeric")
    found = replay(items, Setting.of(0.8, 5, 4, "scorer"))
    by = {p.name: p for p in policies(items, found)}
    whole, long = 7 + 10 + 20 + 30 + 40 + 4 * 3, [not short for _, _, short in twin(rows, 0.8, 5, 4, "scorer")]
    assert by["path_k"].scoring == whole and by["path_k"].seconds == pytest.approx(2.0 + 0.25)
    assert by["egrm"].scoring == pytest.approx(whole * np.mean(long)) and 0 < np.mean(long) < 1
    assert by["egrm"].seconds == pytest.approx(0.5 + 2.25 * np.mean(long))
    assert by["random"].scoring == pytest.approx(by["egrm"].scoring)
    assert 0 < by["oracle"].scoring < by["egrm"].scoring
    assert [by[n].scoring for n in ("direct_1", "direct_m", "path_1", "path_vote")] == [0, 0, 0, 0]
    assert by["path_vote"].seconds == 2.0
    fewer = replay(items, Setting.of(0.8, 5, 2, "weighted"))
    by = {p.name: p for p in policies(items, fewer)}
    assert by["path_k"].scoring == 7 + 10 + 20 + 2 * 3 and by["path_k"].seconds is None
    vote = {p.name: p for p in policies(items, replay(items, Setting.of(0.8, 5, 4, "vote")))}
    assert {p.scoring for p in vote.values()} == {0} and vote["egrm"].seconds == pytest.approx(
        0.5 + 2 * vote["egrm"].long
    )


def test_a_scorers_cost_that_was_not_measured_is_no_zero():
    items = load(scored(made(), missing=True), "numeric")
    by = {p.name: p for p in policies(items, replay(items, Setting.of(0.8, 5, 4, "scorer")))}
    assert math.isnan(by["path_k"].scoring) and by["path_k"].seconds is None
    assert by["path_vote"].scoring == 0 and by["path_vote"].seconds == 2.0


def test_lists_are_disjoint_and_complete_but_for_what_is_short_and_right():
    items = load(made(200), "numeric")
    found = replay(items, Setting.of(0.8, 5, 4, "vote"))
    got = lists(items, found)
    listed = np.concatenate(list(got.values())).tolist()
    assert len(listed) == len(set(listed))
    assert len(listed) == items.n - int((found.short & found.direct_right).sum())
    for i in got["confident"]:
        assert found.share[i] >= 0.8 and not found.right[i]
    assert all(found.right[i] and not found.direct_right[i] for i in got["rescue"])
    assert all(not found.right[i] and found.direct_right[i] for i in got["harm"])
    assert sum(outcomes(items, found).values()) == items.n


def test_what_cannot_be_read_is_counted_and_is_wrong():
    rows = [
        item("a", "4", [said(None)] * 5, [said(None, cut=True)] * 4),
        item("b", "4", [said("four")] * 5, [said("4")] * 4),
        item("c", "4", [said("4", how="last line")] * 5, [said("4")] * 4),
        item("d", "4", [], [], refused="no user turn"),
        item("e", None, [said("4")] * 5, [said("4")] * 4),
    ]
    items = load(rows, "numeric")
    assert items.n == 4 and items.refused == {"no user turn": 1}
    assert items.judged.tolist() == [True, True, True, False]
    assert items.hygiene["probes"]["failures"] == {"no answer in the expected form": 5, "no number in the answer": 5}
    assert items.hygiene["paths"] == {
        "texts": 16, "cut": 4, "unannounced": 0, "failures": {"cut before an answer": 4},
    }  # fmt: skip
    assert items.hygiene["probes"]["unannounced"] == 5
    found = replay(items, Setting.of(0.8, 5, 4, "vote"))
    assert found.short.tolist() == [False, False, True, True]
    assert found.right.tolist() == [False, True, True, False]
    strict = load(rows, "numeric", strict=True)
    assert replay(strict, Setting.of(0.8, 5, 4, "vote")).short.tolist() == [False, False, False, True]
    assert sum(strict.hygiene["probes"]["failures"].values()) == 15
    by = {p.name: p for p in policies(items, found)}
    assert by["egrm"].accuracy.n == 3


def test_nothing_measured_is_nothing_and_no_zero():
    items = load([item("d", "4", [], [], refused="no user turn")], "words")
    assert items.n == 0 and items.refused == {"no user turn": 1}
    seen = replay(items, Setting.of(0.8, 5, 4, "vote"))
    assert not len(seen.right) and not sum(outcomes(items, seen).values())
    assert [level.n for level in levels(items, seen)] == [0] * 6


def test_a_normaliser_can_change_the_route_and_it_is_said():
    rows = [item("a", "0.5", [said("1/2"), said("0.5"), said("50%"), said("0.50"), said("2")], [said("1")] * 2)]
    setting = Setting.of(0.8, 5, 2, "vote")
    assert replay(load(rows, "numeric"), setting).short.tolist() == [True]
    assert replay(load(rows, "exact"), setting).short.tolist() == [False]
    assert normaliser_difference(rows, replay(load(rows, "numeric"), setting), False) == 1


def test_judging_speaks_of_replies_not_of_places():
    always_a = [said("A", swapped=i % 2 == 1) for i in range(5)]
    knows = [said("B" if i % 2 == 1 else "A", swapped=i % 2 == 1) for i in range(5)]
    rows = [
        item("a", None, always_a, knows[:2], pair=True, better=0, options={"A": "A", "B": "B"}),
        item("b", None, knows, always_a[:2], pair=True, better=0, options={"A": "A", "B": "B"}),
    ]
    items = load(rows, "words")
    found = replay(items, Setting.of(0.8, 5, 2, "vote"))
    assert found.short.tolist() == [False, True]
    assert found.direct_right.tolist() == [True, True] and found.share.tolist() == [0.6, 1.0]
    assert order_agreement(items, found) == (1, 2)
    assert items.options == 2
    assert levels(items, found)[5].chance == pytest.approx(2 / 32)


def test_a_second_greedy_answer_is_noticed():
    twice = [said("1", temperature=t) for t in (0.0, 0.3, 0.7, 1.0, 0.0)]
    assert load([item("a", "1", twice, [said("1")])], "words").hygiene["greedy_twice"] == 1
    once = [said("1", temperature=t) for t in (0.0, 0.3, 0.7, 1.0, 0.3)]
    assert load([item("a", "1", once, [said("1")])], "words").hygiene["greedy_twice"] == 0


def test_early_stopping_never_costs_more():
    items = load(made(200), "numeric")
    found = replay(items, Setting.of(0.8, 5, 4, "vote"))
    assert (found.stop_tokens <= found.probe_cost).all() and (found.stop_tokens < found.probe_cost).any()


def test_choosers_take_a_readable_path_where_there_is_one():
    score, logp = np.array([0.9, 0.1, 0.2]), np.array([-0.1, -2.0, np.nan])
    for how in ("vote", "weighted", "scorer", "likelihood"):
        assert choose([None, "x", None], score, logp, how) == 1
        assert choose([None, None, None], score, logp, how) == 0
    assert choose(["a", "b", "b"], np.array([0.9, 0.3, 0.4]), logp, "weighted") == 0
    assert choose(["a", "b", "b"], np.array([0.6, 0.3, 0.4]), logp, "weighted") == 2


def test_calibration_ranks_the_signals():
    items = load(made(300), "numeric")
    found = calibration(items, replay(items, Setting.of(0.8, 5, 4, "vote")))
    assert found["auroc_consensus"] > 0.7 and found["auroc_entropy"] > 0.7
    assert math.isnan(found["auroc_perplexity"]) or found["auroc_perplexity"] == pytest.approx(0.5)
