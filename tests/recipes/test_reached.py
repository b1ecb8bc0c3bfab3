"""What only reasoning reaches: direct wordings, and the chains of thought of a routes run that are right."""

import json

import pytest

from core.egrm.settings import PATH_PROMPT
from core.errors import UserError
from core.plugins import kind, with_defaults
from core.recipes._wording import question_and_answer
from tests.recipes.pools import pool

RECIPE = kind("recipes", "reached_by_reasoning")


def made(given, **settings):
    return RECIPE.plan(given, with_defaults(RECIPE, settings))


@pytest.fixture
def given(tmp_path):
    """A pool of messages, and answers: the first treated sample has two right chains, the second only wrong ones."""
    held = pool("messages")
    one, other = (held.samples[i] for i in held.treated[:2])
    rows = []
    for sample, paths in ((one, ["Long way. Answer: {a}", "Answer: {a}", "Answer: no"]), (other, ["Answer: no"] * 3)):
        question, answer = question_and_answer(sample)
        paths = [{"text": p.replace("{a}", answer)} for p in paths]
        rows.append({"id": sample.id, "question": question, "reference": answer, "direct": ["no"], "paths": paths})
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    held.files = {"answers": path}
    return held, one, other


def test_right_chains_are_trained_behind_a_prompt_that_asks_for_them(given):
    held, one, other = given
    rows = [r for r in made(held, chains=2, wordings=1, share=1.0).rows() if r.part == "chains"]
    question, answer = question_and_answer(one)
    trained = [json.loads(r.raw)["messages"][-2:] for r in rows if r.source == one.id]
    assert sorted(turns[1]["content"] for turns in trained) == [f"Answer: {answer}", f"Long way. Answer: {answer}"]
    assert all(turns[0]["content"] == PATH_PROMPT.replace("{question}", question) for turns in trained)
    assert all(r.raw == other.raw and not r.change for r in rows if r.source == other.id)


def test_without_a_file_the_direct_answers_stand_alone_and_it_says_so():
    held = pool("messages")
    plan = made(held, wordings=3, share=1.0)
    assert plan.counts == {"direct": 3 * len(held.treated)}
    assert "No chains of thought are trained" in " ".join(plan.notes)
    answers = {s.id: question_and_answer(s)[1] for s in held.samples}
    for row in plan.rows():
        assert answers[row.source] in json.loads(row.raw)["messages"][-1]["content"]


def test_a_cut_chain_is_no_chain_and_a_damaged_file_is_refused(given, tmp_path):
    held, *_ = given
    rows = [json.loads(line) for line in held.files["answers"].read_text().splitlines()]
    for path in rows[0]["paths"]:
        path["complete"] = False
    held.files["answers"].write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert all(not r.change for r in made(held, wordings=1).rows() if r.part == "chains")
    held.files["answers"].write_text("{}")
    with pytest.raises(UserError, match="holds no answers"):
        made(held)
