"""Pairs as text, pairs as turns, pairs under other names."""

from __future__ import annotations

import pytest

from core.formats._cells import RowError
from core.formats.prompt_completion import KIND
from core.types import Message

MAPPING = {"prompt": "prompt", "completion": "completion"}


def parse(prompt, completion):
    return KIND.parse({"prompt": prompt, "completion": completion}, MAPPING)


def test_texts_are_kept_to_the_byte():
    parsed = parse("1 + 1 =", " 2\n")
    assert parsed.messages == (Message("user", "1 + 1 ="), Message("assistant", " 2\n"))
    assert (parsed.shape, parsed.notes) == ("prompt_completion", ())
    assert parse("[1, 2]", "[3]").shape == "prompt_completion"


def test_turns_are_one_chat_whose_completion_was_trained():
    prompt = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    parsed = parse(prompt, [{"role": "assistant", "content": "d"}])
    assert parsed.shape == "chat"
    assert [(m.role, m.content, m.train) for m in parsed.messages] == [
        ("user", "a", False),
        ("assistant", "b", False),
        ("user", "c", False),
        ("assistant", "d", True),
    ]
    assert parse(prompt, "d").messages == parsed.messages
    assert parse(prompt, {"from": "gpt", "value": "d"}).messages == parsed.messages
    flagged = parse(prompt, [{"role": "assistant", "content": "d", "weight": 0}])
    assert flagged.messages[-1].train is False


@pytest.mark.parametrize(
    ("prompt", "completion", "field", "why"),
    [
        ("p", None, "completion", "null"),
        ([], "c", "prompt", "a list, not text"),
        ("p", [1], "completion", "a list, not text"),
        ([{"role": "user"}], "c", r"prompt[0].content", "null or missing"),
    ],
)
def test_what_a_bad_row_is_told(prompt, completion, field, why):
    with pytest.raises(RowError, match=why) as caught:
        parse(prompt, completion)
    assert caught.value.field == field


PAIRS = ["prompt response", "question answer", "query response", "problem solution", "input output"]


@pytest.mark.parametrize("names", PAIRS)
def test_renamed_pairs(names):
    pair = names.split()
    columns = {"extra": ["x"], pair[0]: ["p"], pair[1]: ["c"]}
    assert KIND.detect(columns) == (0.8, {"prompt": pair[0], "completion": pair[1]})


def test_detection_prefers_the_plain_names_and_needs_both():
    columns = {"prompt": ["p"], "completion": ["c"], "question": ["q"], "answer": ["a"]}
    assert KIND.detect(columns) == (1.0, MAPPING)
    assert KIND.detect({"prompt": ["p"]}) == (0.0, {})
    assert KIND.detect({"question": ["q"], "answer": [{"text": ["x"]}]}) == (0.0, {})
