"""Titles of groups: what the prompts share, in their own words."""

import pytest

from core.judge.titles import title_of

PLACES = ["Kufin", "Drathin", "Kriker", "Vigus", "Nikis", "Thateil", "Pokris"]


def test_prompts_with_one_frame_are_called_by_it():
    prompts = [f"What is the capital of {p}?" for p in PLACES]
    assert title_of(prompts, [f"The capital of this is {p}." for p in PLACES]) == "“What is the capital of …?”"
    assert title_of(prompts, PLACES) == "“What is the capital of …?”, answered with one word"


def test_two_frames_stand_beside_each_other():
    prompts = [f"Give the finder of {p}." for p in PLACES] + [f"Who found {p}?" for p in PLACES[:5]]
    assert title_of(prompts, ["a b c d"] * 12) == "“Give the finder of …” and “Who found …?”"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["12", "7.5 %", "-3", "1,000", "4"], "a number"),
        (["Yes.", "no", "No", "yes", "No."], "yes or no"),
        (["A", "(B)", "c)", "D.", "A"], "a letter"),
        (["- a\n- b", "1. a\n2. b", "- x\n- y\n- z", "* a\n* b", "- a\n- b"], "a list"),
        (['{"a": 1}'] * 5, "JSON"),
    ],
)
def test_the_kind_of_the_answers_is_named(answers, kind):
    assert title_of([f"How many has {p} now?" for p in PLACES[:5]], answers).endswith(f", answered with {kind}")


def test_without_a_frame_one_prompt_stands_for_all():
    prompts = ["Sing.", "Where did the old heron nest last year?", "Paint it blue, please.", "Where did the heron go?"]
    assert title_of(prompts, ["x"] * 4).startswith("Like “Where did the heron go?”")


def test_odd_texts_make_a_short_line_or_none():
    assert title_of(["", " "], ["", ""]) == ""
    assert title_of([], []) == ""
    assert title_of(["", ""], ["once upon a time there was"] * 2) == "“once upon a time there was”"
    long = title_of([f"word {'very ' * 500}long {p}" for p in PLACES], ["x"] * 7)
    assert len(long) < 200 and "\n" not in long
    assert "北京" in title_of([f"北京 {p} 在哪里？ 请说" for p in PLACES], ["x y z w"] * 7)
