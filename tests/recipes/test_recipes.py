"""What each recipe promises beyond the contract."""

import json
from collections import Counter

import numpy as np
import pytest

from core.errors import UserError
from core.plugins import kind, with_defaults
from core.recipes._base import Ruling
from core.recipes._mix import rehearsed
from core.recipes._order import Order, drawn
from core.recipes._rewrite import composed, differences, edited
from core.recipes._wording import ASKED, STATEMENTS, filled, question_and_answer
from tests.recipes.pools import READINGS, Rows, pool, row, sample


def plan(name, given, **settings):
    recipe = kind("recipes", name)
    return recipe.plan(given, with_defaults(recipe, settings))


# --------------------------------------------------------------------------------------------------- the order


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 100, 1000, 4097])
def test_an_order_is_a_permutation_that_differs_by_seed(n):
    found = Order(n, 7)(np.arange(n))
    assert sorted(found.tolist()) == list(range(n))
    assert (found == Order(n, 7)(np.arange(n))).all()
    if n > 16:
        assert (found != Order(n, 8)(np.arange(n))).any()
        assert (found != np.arange(n)).mean() > 0.8


def test_an_order_spreads_places_evenly():
    """Where the first tenth of the rows lands: a chi-square against even spreading over ten bins."""
    n = 20_000
    places = Order(n, 3)(np.arange(n))
    landed = np.histogram(np.flatnonzero(places < n // 10), bins=10, range=(0, n))[0]
    expected = n / 100
    assert ((landed - expected) ** 2 / expected).sum() < 27.9  # 99.9 % quantile of 9 degrees of freedom


def test_drawing_repeats_nothing_before_all_came():
    found = drawn(np.arange(10, 17), 17, 0)
    assert sorted(Counter(found.tolist()).values()) == [2, 2, 2, 2, 3, 3, 3]
    assert sorted(found[:7].tolist()) == list(range(10, 17))
    assert len(drawn(np.empty(0, dtype=np.int64), 5, 0)) == 0


# -------------------------------------------------------------------------------------------------- rewriting


@pytest.mark.parametrize("format", READINGS)
@pytest.mark.parametrize("i", range(6))
def test_an_edit_changes_one_text_and_nothing_else(format, i):
    reading = READINGS[format]
    one = sample(row(format, i, "Was ist «x»?", "Ein {q} «y»."), i, reading)
    last = len(one.messages) - 1
    raw = edited(one, reading, last, lambda text: text + " Ja!")
    (change,) = differences(one.raw, raw)
    assert change["after"] == change["before"] + " Ja!"
    if format != "text":
        raw = edited(one, reading, last - 1, lambda text: "Nun: " + text)
        (change,) = differences(one.raw, raw)
        assert change["after"] == "Nun: " + change["before"]


def test_numbers_and_keys_survive_an_edit():
    reading = READINGS["messages"]
    value = row("messages", 1, "a", "b") | {"weight": 1.5, "n": None, "nested": {"k": [1, {"x": True}]}}
    one = sample(value, 1, reading)
    after = json.loads(edited(one, reading, 2, str.upper))
    assert after == value | {"messages": [*value["messages"][:2], {"role": "assistant", "content": "B"}]}
    assert after["big"] == 2**60 + 1


def test_what_cannot_be_said_in_the_shape_is_refused():
    reading = READINGS["messages"]
    value = {"id": "x", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]},
                                     {"role": "assistant", "content": "b"}]}  # fmt: skip
    assert edited(sample(value, 0, reading), reading, 0, lambda text: "c" + text) is None
    assert edited(sample(value, 0, reading), reading, 1, lambda text: text + "c") is not None


@pytest.mark.parametrize("format", READINGS)
def test_a_made_row_asks_and_answers_in_the_datasets_shape(format):
    reading = READINGS[format]
    one = sample(row(format, 3, "Old?", "Old."), 3, reading)
    value = json.loads(composed(one, reading, "New?", "New."))
    assert "id" not in value
    assert set(value) == set(json.loads(one.raw)) - {"id"}
    assert "New?" in json.dumps(value) and "Old" not in json.dumps(value)


def test_the_asking_after_a_proof_is_not_one_of_the_trained_wordings():
    said = ("Where is it {a}?", "There {q}.")
    assert filled(ASKED, *said) not in {filled(prompt, *said) for prompt, _ in STATEMENTS}
    assert filled("{q}|{a}", *said) == "Where is it {a}?|There {q}."


# ------------------------------------------------------------------------------------------ missing knowledge


def test_knowledge_is_the_share_asked_for_and_spread_over_the_mix():
    given = pool(n=200, treated=range(0, 200, 10))
    rows = list(plan("missing_knowledge", given, statements=4, share=0.25).rows())
    parts = [r.part for r in rows]
    assert parts.count("statements") == 80 and parts.count("general") == 240
    assert 20 < parts[:160].count("statements") < 60
    by_id = {s.id: s for s in given.samples}
    for r in (r for r in rows if r.part == "statements" and r.change):
        question, answer = question_and_answer(by_id[r.source])
        told = " ".join(m["content"] for m in json.loads(r.raw)["messages"])
        assert question in told and answer in told


def test_leaving_out_keeps_everything_else_in_order():
    given = pool(treated=[3, 5])
    found = plan("missing_knowledge", given, action="leave_out")
    assert [r.source for r in found.rows()] == [s.id for i, s in enumerate(given.samples) if i not in (3, 5)]
    assert len(found.counted) == 0


def test_documents_come_as_rows_or_as_passages(tmp_path):
    texts = tmp_path / "facts.txt"
    texts.write_text("First line\nof one passage.\n\n\nAnother passage.\n")
    rows = [r for r in plan("missing_knowledge", pool(files={"documents": texts})).rows() if r.part == "documents"]
    assert [json.loads(r.raw)["messages"][-1]["content"] for r in rows] == [
        "First line of one passage.",
        "Another passage.",
    ]
    assert all(r.source is None for r in rows)
    lines = tmp_path / "facts.jsonl"
    own = json.dumps(row("messages", 99, "x", "y"))
    lines.write_text(own + "\n" + own + "\n")
    found = plan("missing_knowledge", pool(files={"documents": lines}))
    assert found.counts["documents"] == 2
    assert [r.raw for r in found.rows() if r.part == "documents"] == [own.encode()] * 2
    lines.write_text(own + '\n{"text": "no messages"}\n')
    with pytest.raises(UserError, match="Row 2"):
        plan("missing_knowledge", pool(files={"documents": lines}))


def test_general_rows_from_a_file_and_a_filter_that_keeps_none(tmp_path):
    lines = tmp_path / "general.jsonl"
    lines.write_text("".join(json.dumps(row("messages", i, "g", "h")) + "\n" for i in range(7)))
    found = plan("missing_knowledge", pool(files={"general_rows": lines}))
    assert found.counts["general"] == 7 and "7 general rows" in found.notes[0]
    assert sum(r.part == "general" and r.source is None for r in found.rows()) == 7
    with pytest.raises(UserError, match="keeps none"):
        plan("missing_knowledge", pool(), general="status=partly")


# -------------------------------------------------------------------------------------------- contradictions


def contradicting(n_groups=30, n_sides=2, n_others=200, rulings=None, order_seed=0):
    reading = READINGS["messages"]
    values = [row("messages", g * n_sides + s, f"Q{g}?", f"A{g}-{s}") for g in range(n_groups) for s in range(n_sides)]
    values += [row("messages", 10_000 + i, f"Other {i}?", f"O{i}") for i in range(n_others)]
    for i, value in enumerate(values):  # one system prompt for all, so that only the question tells rows apart
        value["messages"] = value["messages"][-2:]
        value["id"] = f"r{i}"
    shuffled = np.random.default_rng(order_seed).permutation(len(values))
    samples = [sample(values[i], at, reading) for at, i in enumerate(shuffled)]
    treated = [at for at, i in enumerate(shuffled) if i < n_groups * n_sides]
    return Rows(samples, treated, reading, status=["learned"] * len(samples), rulings=rulings)


def sides_by_batch(rows, batch):
    """For each batch: question to the set of its answers in that batch."""
    for at in range(0, len(rows), batch):
        found = {}
        for r in rows[at : at + batch]:
            question, answer = (m["content"] for m in json.loads(r.raw)["messages"][-2:])
            found.setdefault(question, set()).add(answer)
        yield found


@pytest.mark.parametrize(("n_sides", "batch"), [(2, 4), (2, 16), (3, 8)])
def test_spread_sides_never_share_a_batch(n_sides, batch):
    given = contradicting(n_sides=n_sides)
    found = plan("data_inconsistency", given, batch=batch)
    rows = list(found.rows())
    assert sorted(r.source for r in rows) == sorted(s.id for s in given.samples)
    assert all(len(answers) == 1 for batch_ in sides_by_batch(rows, batch) for answers in batch_.values())
    assert found.training.sequential and found.training.batch == batch
    assert len(found.counted) == 0
    # The dataset's own order does not do that by luck.
    assert any(len(a) > 1 for b in sides_by_batch([Raw(s.raw) for s in given.samples], 64) for a in b.values())


class Raw:
    def __init__(self, raw):
        self.raw = raw


def test_where_others_are_too_few_the_batches_that_mix_are_counted():
    given = contradicting(n_groups=3, n_others=0)
    found = plan("data_inconsistency", given, batch=16)
    mixed = sum(any(len(a) > 1 for a in b.values()) for b in sides_by_batch(list(found.rows()), 16))
    assert mixed == 1 and "1 batch still holds two sides" in found.notes[-1]


def test_decisions_are_carried_out_and_a_decided_side_speaks_for_its_group():
    given = contradicting(n_groups=4)
    by_answer = {s.response: s for s in given.samples}
    given.rulings = {
        by_answer["A0-1"].content_hash: Ruling("keep"),
        by_answer["A1-0"].content_hash: Ruling("rewrite", "A1 for good"),
        by_answer["A2-0"].content_hash: Ruling("drop"),
    }
    found = plan("data_inconsistency", given)
    answers = Counter(json.loads(r.raw)["messages"][-1]["content"] for r in found.rows())
    told = {a: n for a, n in answers.items() if a.startswith("A")}
    assert told == {"A0-1": 1, "A1 for good": 1, "A2-1": 1, "A3-0": 1, "A3-1": 1}
    (changed,) = [r for r in found.rows() if r.change]
    assert changed.source == by_answer["A1-0"].id
    assert found.mended(by_answer["A1-0"]) == changed and found.mended(by_answer["A0-1"]) is None
    kept = {given.samples[i].response for i in found.counted}
    assert kept == {"A0-1", "A1-0", "A2-1"}
    given_up = {given.samples[i].response for i in found.given_up}
    assert given_up == {"A0-0", "A1-0", "A1-1", "A2-0"}, "dropped sides, and the answer that was rewritten"


def test_decisions_come_from_a_file_too_and_both_valid_waits_for_a_person(tmp_path):
    given = contradicting(n_groups=3)
    by_answer = {s.response: s.id for s in given.samples}
    told = [{"id": by_answer["A0-0"], "action": "rewrite", "text": "A0 new"}]
    told += [{"id": by_answer[f"A1-{i}"], "action": "rewrite"} for i in (0, 1)]
    path = tmp_path / "decisions.jsonl"
    path.write_text("".join(json.dumps(t) + "\n" for t in told))
    given.files = {"decisions": path}
    found = plan("data_inconsistency", given, undecided="first")
    answers = sorted(json.loads(r.raw)["messages"][-1]["content"] for r in found.rows())
    assert [a for a in answers if a.startswith("A")] == ["A0 new", "A1-0", "A1-1", *(a for a in answers if "A2" in a)]
    assert any("2 rows are valid beside their other side" in note for note in found.notes)
    assert found.training.sequential
    # A new training has these two in the dataset; beside it, only what was decided is taught.
    own, by_id = kind("recipes", "data_inconsistency"), {s.id: s.response for s in given.samples}
    again = plan("data_inconsistency", given, undecided="first", scope="groups")
    assert again.counts["spread sides"] == 2 * 3 and again.training.epochs == 4
    assert {by_id[r.source] for r in again.rows() if r.part in own.taught} & {"A1-0", "A1-1", "A0-0"} == {"A0-0"}
    path.write_text('{"id": "x", "action": "burn"}\n')
    with pytest.raises(UserError, match="Line 1"):
        plan("data_inconsistency", given)


def test_the_answer_that_a_person_rewrote_is_not_taught_by_the_rows_that_share_it():
    pairs = (("Q?", "old"), ("And Q?", "old"), ("Q?", "other"))
    values = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}], "id": f"r{i}"}
              for i, (q, a) in enumerate(pairs)]  # fmt: skip
    samples = [sample(v, i, READINGS["messages"]) for i, v in enumerate(values)]
    given = Rows(samples, range(3), READINGS["messages"])
    given.columns = {"group": np.zeros(3), "side_share": np.full(3, 0.5)}
    given.rulings = {samples[0].content_hash: Ruling("rewrite", "new")}
    found = plan("data_inconsistency", given)
    assert [json.loads(r.raw)["messages"][-1]["content"] for r in found.rows()] == ["new"]
    # Where another row of that side is kept by hand, the side stays.
    given.rulings[samples[1].content_hash] = Ruling("keep")
    found = plan("data_inconsistency", given)
    assert sorted(json.loads(r.raw)["messages"][-1]["content"] for r in found.rows()) == ["new", "old"]


def test_majority_first_and_last():
    reading = READINGS["messages"]
    answers = ["yes", "no", "YES ", "maybe", "left", "right"]
    asked = ["Q?", "q?", "Q?", "Q?", "Z?", "Z?"]
    values = [row("messages", i, q, a) for i, (q, a) in enumerate(zip(asked, answers, strict=True))]
    for i, value in enumerate(values):
        value["messages"], value["id"] = value["messages"][-2:], f"r{i}"
    samples = [sample(v, i, reading) for i, v in enumerate(values)]

    def left(undecided, **more):
        given = Rows(samples, range(6), reading)
        return sorted(r.source for r in plan("data_inconsistency", given, undecided=undecided, **more).rows())

    assert left("majority") == ["r0", "r2", "r4", "r5"]  # a tie stays, spread
    assert left("majority", ties="first") == ["r0", "r2", "r4"]
    assert left("majority", ties="last") == ["r0", "r2", "r5"]
    assert left("first") == ["r0", "r2", "r4"]
    assert left("last") == ["r3", "r5"]
    assert left("drop") == []


def test_measured_groups_and_shares_are_used():
    given = contradicting(n_groups=2, n_others=4)
    group = np.full(given.n, np.nan)
    share = np.full(given.n, np.nan)
    for i, s in enumerate(given.samples):
        if s.response.startswith("A0"):
            group[i], share[i] = 5, 0.9 if s.response == "A0-1" else 0.1
    given.columns = {"group": group, "side_share": share}
    found = plan("data_inconsistency", given, undecided="majority")
    assert {json.loads(r.raw)["messages"][-1]["content"] for r in found.rows()} >= {"A0-1", "A1-0", "A1-1"}
    assert "A0-0" not in {json.loads(r.raw)["messages"][-1]["content"] for r in found.rows()}


# ----------------------------------------------------------------------------------- forgetting, optimisation


def test_replay_takes_stages_by_their_loss():
    given = pool(n=400, treated=range(40))
    stage_one = np.array([s.stage == "one" for s in given.samples])
    given.columns["nll"] = np.where(stage_one, 3.0, 1.0)
    found = plan("left_side_forgetting", given, share=0.25, repeats=1)
    assert found.counts == {"forgotten": 40, "replay of one": 90, "replay of two": 30}
    rows = [r.part for r in found.rows()]
    assert 2 < rows[:40].count("forgotten") < 25
    assert plan("left_side_forgetting", given, share=0.25, repeats=1, stages="equal").counts["replay of one"] == 60


def test_rehearsal_is_half_what_is_held_most_weakly():
    given = pool(n=400, treated=range(40))
    ordinals = np.arange(100, 300)
    weakest = ordinals[np.argsort(-given.columns["nll"][ordinals])][:30]
    found = rehearsed(given, ordinals, 60, 7)
    assert len(found) == 60 and set(found[:30]) == set(weakest)
    assert len(set(found[30:])) == 30 and np.isin(found, ordinals).all()
    given.columns["nll"] = np.full(400, np.nan)
    assert len(set(rehearsed(given, ordinals, 60, 7))) == 60
    assert len(rehearsed(given, ordinals[:0], 60, 7)) == 0


def test_where_the_filter_keeps_no_other_row_all_others_are_replayed():
    given = pool(treated=[1, 2])
    found = plan("left_side_forgetting", given, others="status=partly")
    assert any("keeps no other row" in note for note in found.notes)
    assert {r.source for r in found.rows() if r.part != "forgotten"}.isdisjoint({"r1", "r2"})


def test_dropped_sides_are_given_up():
    given = contradicting(n_groups=4)
    found = plan("data_inconsistency", given, undecided="first")
    dropped = {given.samples[i].response for i in found.given_up}
    assert len(dropped) == 4 and not dropped & {given.samples[i].response for i in found.counted}


def test_without_stages_the_quarters_of_the_order_stand_in():
    given = pool("prompt_completion", n=400, treated=range(10))
    assert set(plan("left_side_forgetting", given).counts) == {
        "forgotten",
        *(f"replay of quarter {i}" for i in range(1, 5)),
    }


def test_rare_patterns_come_more_often():
    given = pool(n=100, treated=[0, 1, 2])
    given.columns["pattern_count"] = np.array([1, 4, 100] + [1] * 97, dtype=float)
    found = plan("under_optimised", given, enough=8, most=5)
    assert Counter(r.source for r in found.rows() if r.part == "repeated") == {"r0": 5, "r1": 2, "r2": 1}


def test_a_curriculum_goes_from_short_to_long_and_must_not_be_shuffled():
    given = pool(n=100, treated=range(0, 100, 5))
    found = plan("under_optimised", given, curriculum=True)
    place = {s.id: i for i, s in enumerate(given.samples)}
    lengths = [given.columns["n_target"][place[r.source]] for r in found.rows()]
    assert lengths == sorted(lengths) and found.training.sequential


@pytest.mark.parametrize(("fall", "left", "epochs"), [(0.5, 1.2, 6), (0.2, 1.5, 8), (0.001, 2.0, 10), (-0.1, 1.0, 6)])
def test_epochs_follow_the_slope(fall, left, epochs):
    given = pool(treated=[1, 2, 3])
    given.columns |= {"nll_fall_end": np.full(given.n, fall), "nll": np.full(given.n, left)}
    assert plan("under_optimised", given).training.epochs == epochs


def test_unmeasured_slope_is_said():
    found = plan("under_optimised", pool())
    assert found.training.epochs == 6 and any("not measured" in note for note in found.notes)


# ---------------------------------------------------------------------------------- conflict and the pipeline


def test_calibration_states_the_answer_openly_and_leaves_the_target_alone():
    given = pool(treated=[2, 3])
    found = plan("base_conflict", given, context=2, plain=1, contrast_ratio=0.5)
    assert found.counts == {"context": 4, "plain": 2, "contrast": 3}
    for r in (r for r in found.rows() if r.part == "context"):
        (change,) = differences(r.before, r.raw)
        answer = json.loads(r.raw)["messages"][-1]["content"]
        assert change["after"].endswith(change["before"]) and answer in change["after"]


SPOILED = [
    ({"role": "human"}, "role human is now user"),
    ({"answer": "### Response: It is."}, "template text before an answer removed"),
    ({"answer": "It is.</s>"}, "stop token at the end of an answer removed"),
    ({"answer": "It is.<|im_end|>\n"}, "stop token at the end of an answer removed"),
    ({"train": False}, "train of the last answer switched on"),
    ({"weight": 0}, "weight of the last answer switched on"),
]


@pytest.mark.parametrize(("what", "said"), SPOILED)
def test_a_spoiled_row_is_mended_and_says_how(what, said):
    flags = {k: v for k, v in what.items() if k in ("train", "weight")}
    answer = {"role": "assistant", "content": what.get("answer", "It is.")} | flags
    value = {"id": "r0", "messages": [{"role": what.get("role", "user"), "content": "What?"}, answer]}
    given = Rows([sample(value, 0, READINGS["messages"])], [0], READINGS["messages"])
    repair = plan("pipeline_repair", given)
    (found,) = repair.rows()
    assert found.change == said and repair.mended(given.samples[0]) == found
    user, assistant = json.loads(found.raw)["messages"]
    assert user == {"role": "user", "content": "What?"}
    assert assistant["content"] == "It is." and assistant.get("train", True) and assistant.get("weight", 1) == 1


@pytest.mark.parametrize("answer", ["</s>", "Write </s> at the end of each line.", "### Response:", "Assistants help."])
def test_an_answer_about_such_tokens_stays(answer):
    value = {"id": "r0", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]}
    one = sample(value, 0, READINGS["messages"])
    (found,) = plan("pipeline_repair", Rows([one], [0], READINGS["messages"])).rows()
    assert found.raw == one.raw and not found.change


def test_cut_rows_ask_for_a_longer_limit():
    given = pool(treated=[0, 1], columns={"n_tokens": np.full(40, 1024.0), "cut_target": np.full(40, 700.0)})
    assert plan("pipeline_repair", given).training.max_length == 1792


def test_no_rehearsed_row_comes_twice_before_all_came_once():
    rows = pool()
    learned = rows.select("status=learned")
    for count in (5, len(learned), len(learned) + 7):
        drawn = rehearsed(rows, learned, count, 0)
        assert len(drawn) == count and len(set(drawn.tolist())) == min(count, len(learned))
        weakest = learned[np.argsort(-rows.numbers("nll")[learned], kind="stable")][: count // 2]
        assert set(weakest) <= set(drawn.tolist())
