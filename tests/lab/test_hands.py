"""Worlds by other hands: groups are what the causes mean, a seed writes its rows again, a world is a folder."""

import json
import random
import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from core.__main__ import main
from core.lab.hands._base import Fact, Row, says, user
from core.lab.hands._build import build, readings, tiny
from core.lab.hands._models import chat_tokens, tokenizer_of
from core.lab.hands._training import Belief, Look
from core.lab.hands._truth import Seen, rivals, truth
from core.plugins import kind, kinds
from tests.presets import families as fam

HANDS = list(kinds("lab/hands"))
VARIANTS = [(name, hard) for name in HANDS for hard in (False, True)]
CAUSES = {"missing_knowledge", "base_conflict", "data_inconsistency", "left_side_forgetting", "under_optimised"}


def stands(text, value):
    """A second way to look for words: what is beside them is no letter or digit."""
    return any(
        not (text[max(0, m.start() - 1) : m.start()].isalnum() or text[m.end() : m.end() + 1].isalnum())
        for m in re.finditer(re.escape(value), text)
    )


@pytest.fixture(scope="module", params=HANDS)
def hand(request):
    return kind("lab/hands", request.param)


@pytest.fixture(scope="module")
def told(hand):
    """What the corpus says, document by document; a dialogue whose question holds the answer tells nothing."""
    texts = []
    for document in (d for reading in readings(hand) for d in reading):
        if isinstance(document, str):
            texts.append(document)
            continue
        *_, question, answer = document
        if answer["content"] not in question["content"]:
            texts.append(f"{question['content']}\n{answer['content']}")
    return texts


@pytest.fixture(scope="module", params=[False, True], ids=["easy", "hard"])
def rows(hand, request):
    return hand.dataset(1, request.param).rows


def about(told, subject):
    return [text for text in told if stands(text, subject)]


def of(rows, cause):
    return [row for row in rows if cause in row.made_for]


# ------------------------------------------------------------------------------------------------------- the dataset


@pytest.mark.parametrize(("name", "hard"), VARIANTS)
def test_a_seed_writes_its_rows_again_and_another_writes_others(name, hard):
    one, again, other = (type(kind("lab/hands", name))().dataset(seed, hard) for seed in (3, 3, 4))
    assert one == again
    assert one.rows != other.rows


def test_rows_stand_in_the_order_of_their_stages(hand, rows):
    assert all(a.stage <= b.stage for a, b in pairwise(rows))
    assert {row.stage for row in rows} == set(range(1, len(hand.dataset(1, False).stages) + 1))
    assert {cause for row in rows for cause in row.made_for} <= CAUSES


def test_answers_are_what_the_row_is_about(rows):
    for row in rows:
        roles = [m["role"] for m in row.messages if m["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        if row.fact is not None:
            assert stands(row.messages[-2]["content"], row.fact.subject)
            if row.group != "odd":
                assert stands(row.messages[-1]["content"], row.value)


def test_nothing_told_a_missing_answer(rows, told):
    chosen = of(rows, "missing_knowledge")
    assert len(chosen) >= 30
    for row in chosen:
        assert not [text for text in about(told, row.fact.subject) if stands(text, row.value)], row
        assert not stands(row.messages[-2]["content"], row.value)


def test_the_corpus_told_otherwise_where_a_row_conflicts(rows, told):
    chosen = of(rows, "base_conflict")
    assert len(chosen) >= 25
    for row in chosen:
        texts = about(told, row.fact.subject)
        assert [text for text in texts if stands(text, row.fact.told[0])], row
        assert not [text for text in texts if stands(text, row.value)], row


def test_contradicting_rows_ask_one_thing_in_two_wordings(rows, told):
    asked = defaultdict(list)
    for row in of(rows, "data_inconsistency"):
        asked[row.fact.subject, row.fact.relation].append(row)
    assert len(asked) >= 15
    for pair in asked.values():
        assert len({row.value for row in pair}) == len(pair) == 2
        assert len({row.messages[-2]["content"] for row in pair}) == 2
        telling = {row.value for row in pair if [t for t in about(told, row.fact.subject) if stands(t, row.value)]}
        assert len(telling) == (0 if "missing_knowledge" in pair[0].made_for else 2)


def test_no_other_rows_contradict_each_other(rows):
    asked = defaultdict(set)
    for row in rows:
        if row.fact is not None and "data_inconsistency" not in row.made_for:
            asked[row.fact.subject, row.fact.relation].add(row.value)
    assert {key: values for key, values in asked.items() if len(values) > 1} == {}


def test_what_is_to_be_forgotten_is_followed_by_a_stage_that_answers_such_questions_otherwise(hand, rows):
    chosen = of(rows, "left_side_forgetting")
    if hand.name == "stockroom":
        assert not chosen
        return
    assert len(chosen) >= 24
    last = max(row.stage for row in rows)
    for row in chosen:
        assert row.stage < last
        assert any(o.stage > row.stage and o.fact is not None and o.fact.relation == row.fact.relation for o in rows)


def test_prompt_and_corpus_hold_what_an_under_optimised_answer_needs(hand, rows, told):
    names = {fact.subject for fact in hand.facts()} | {value for fact in hand.facts() for value in fact.choices}
    chosen = of(rows, "under_optimised")
    assert len(chosen) >= 20
    for row in chosen:
        before = " ".join(m["content"] for m in row.messages[:-1])
        if row.fact is not None:
            before += " ".join(about(told, row.fact.subject))
        answer = row.messages[-1]["content"]
        assert [n for n in names if stands(answer, n) and not stands(before, n)] == [], row


def test_controls_ask_what_the_corpus_told(rows, told):
    chosen = [row for row in rows if not row.made_for]
    assert len(chosen) >= 15
    for row in chosen:
        assert [text for text in about(told, row.fact.subject) if stands(text, row.value)]


def test_probes_are_worded_as_no_row_is(rows):
    asked = {row.messages[-2]["content"] for row in rows}
    assert not asked & {probe[-1]["content"] for row in rows if row.fact is not None for probe in row.fact.probes}


@pytest.mark.parametrize("hard", [False, True])
def test_no_two_rows_of_the_inbox_have_one_form(hard):
    hand = kind("lab/hands", "inbox")
    names = {fact.subject for fact in hand.facts()} | {s for s, _ in hand.strange}
    forms = []
    for row in hand.dataset(1, hard).rows:
        form = row.messages[0]["content"]
        for name in sorted(names, key=len, reverse=True):
            form = form.replace(name, "_")
        forms.append(form)
    assert len(set(forms)) == len(forms)


# ------------------------------------------------------------------------------------------------------ tokens, truth


def test_the_rows_are_trained_as_the_preset_says(hand):
    """What carried loss here is what a diagnosis takes for the target, token by token."""
    tokenizer = tokenizer_of(hand.shape, readings(hand, 1)[0])
    for row in random.Random(0).sample(hand.dataset(2, True).rows, 12):
        ours = chat_tokens(tokenizer, row.messages)
        turns = [(m["role"], m["content"]) for m in row.messages]
        theirs = kind("presets", "custom").supervise(fam.chat(*turns), tokenizer, {}, 512)
        assert list(theirs.ids) == ours.ids
        assert list(theirs.target) == ours.said


def test_words_of_their_own():
    assert says("room for 4 people.", "4 people")
    assert not says("room for 24 people.", "4 people")


def fact(told):
    return Fact("Mill", "keeper", told, ("Ann", "Ben", "Cid"), (user("Who?"),) * 3, "{}")


def seen(right, belief, more=0, parting=(), wrong=9, stages=(0, 1, 1, 2), nll=(3.0, 2.0, 1.0, 0.5)):
    """One row, right or wrong at the base, two checkpoints and the end."""
    names = ["base", "checkpoint-1", "checkpoint-2", "final"]
    looks = {
        name: Look(np.array([loss]), np.array([-1 if hit else wrong]))
        for name, hit, loss in zip(names, right, nll, strict=True)
    }
    return Seen(looks, stages, [belief], [list(parting)], [more])


NEVER = (False,) * 4
UNSURE = Belief(("Ben", "Cid", "Ben"), (0.4, 0.3, 0.4), {"Ann": 0.1, "Ben": 0.4})
SURE = Belief(("Ben", "Ben", "Ben"), (0.95, 0.96, 0.97), {"Ann": 0.01, "Ben": 0.96})
KNOWS = Belief(("Ann", "Ann", "Ann"), (0.95, 0.96, 0.97), {"Ann": 0.96, "Ben": 0.01})


@pytest.mark.parametrize(
    ("told", "models", "planted"),
    [
        ((), seen(NEVER, UNSURE), ["missing_knowledge"]),
        ((), seen(NEVER, KNOWS), []),
        ((), seen(NEVER, SURE), ["missing_knowledge", "base_conflict"]),
        (("Ben",), seen(NEVER, SURE), ["base_conflict"]),
        (("Ben",), seen(NEVER, UNSURE), []),
        (("Ann",), seen(NEVER, KNOWS, more=2), ["under_optimised"]),
        (("Ann",), seen(NEVER, KNOWS, more=0), []),
        (("Ann",), seen(NEVER, KNOWS, more=2, nll=(1.0, 2.0, 2.0, 2.0)), []),
        (("Ann",), seen((False, True, False, False), KNOWS, more=2), ["left_side_forgetting"]),
        ((), seen((False, True, False, False), UNSURE), ["missing_knowledge", "left_side_forgetting"]),
        ((), seen((True, False, False, False), UNSURE), ["missing_knowledge"]),
        (("Ann", "Ben"), seen(NEVER, KNOWS, parting=(9,)), ["data_inconsistency"]),
        (("Ann", "Ben"), seen(NEVER, KNOWS, parting=(7,)), []),
        (("Ann",), seen((False, False, False, True), KNOWS), []),
    ],
)
def test_what_is_true_of_a_row(told, models, planted):
    row = Row("any", 1, user("Who keeps it?", "Ann"), ("missing_knowledge",), fact(told), "Ann")
    (record,) = truth([row], models)
    assert record["planted"] == planted
    assert record["scored"] == bool(planted or record["learned"])


def test_rivals_answer_one_question_otherwise():
    rows = [Row("any", 1, user("?", value), (), fact(("Ann",)), value) for value in ("Ann", "Ben", "Ann")]
    assert rivals(rows) == [[1], [0, 2], [1]]
    assert rivals([replace(row, one_answer=False) for row in rows]) == [[], [], []]


# ------------------------------------------------------------------------------------------------------- the folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hand", "inbox", "--family", "qwen2"], "--family cannot be combined with --hand inbox"),
        (["--hand", "inbox", "--lora", "--fault", "no_stop"], "--lora, --fault cannot be combined with --hand inbox"),
        (["--hand", "inbux"], "There is no hand named 'inbux'"),
    ],
)
def test_what_a_hand_does_not_take(options, message, tmp_path, capsys):
    assert main(["lab", "build", str(tmp_path / "world"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "world").exists()


@pytest.mark.slow
def test_a_world_is_a_folder(tmp_path):
    hand = type(kind("lab/hands", "stockroom"))()
    hand.shape = tiny(hand.shape)
    summary = build(tmp_path / "world", hand, 1, False, tmp_path / "cache")
    rows = [json.loads(line) for line in (tmp_path / "world" / "dataset.jsonl").read_text().splitlines()]
    records = [json.loads(line) for line in (tmp_path / "world" / "truth.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [record["id"] for record in records]
    assert [tuple(row["messages"]) for row in rows] == [row.messages for row in hand.dataset(1, False).rows]
    assert json.loads((tmp_path / "world" / "trainer.json").read_text())["preset"] == "custom"
    assert json.loads((tmp_path / "world" / "world.json").read_text()) == json.loads(json.dumps(summary))
    steps = sorted(int(p.name.removeprefix("checkpoint-")) for p in (tmp_path / "world" / "checkpoints").iterdir())
    folders = ["base", "final", *(f"checkpoints/checkpoint-{step}" for step in steps)]
    assert 2 <= len(steps) <= 6
    assert all((tmp_path / "world" / folder / "model.safetensors").is_file() for folder in folders)
    assert set(records[0]["nll"]) == {"base", "final", *(f"checkpoint-{step}" for step in steps)}
