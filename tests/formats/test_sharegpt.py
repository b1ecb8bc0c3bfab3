"""ShareGPT rows: role names, function calls, the system column."""

from __future__ import annotations

import json

import pytest

from core.formats._cells import RowError
from core.formats.sharegpt import KIND
from core.types import Message

MAPPING = {"conversations": "conversations", "system": "system", "tools": "tools"}


def turn(role, text):
    return {"from": role, "value": text}


def parse(*turns, **row):
    return KIND.parse({"conversations": list(turns), **row}, MAPPING)


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("human", "user", "Human"), "user"),
        (("gpt", "assistant", "bot", "model", "GPT"), "assistant"),
        (("system",), "system"),
        (("observation", "tool", "function_response"), "tool"),
    ],
)
def test_role_names(names, role):
    for name in names:
        assert parse(turn(name, "x")).messages == (Message(role, "x"),)
        assert parse({"role": name, "content": "x"}).messages == (Message(role, "x"),)


def test_an_unknown_role_is_kept_and_noted():
    parsed = parse(turn("narrator", "x"), turn("gpt", "y"))
    assert parsed.messages[0].role == "narrator"
    assert "'narrator'" in parsed.notes[0]


def test_a_function_call_is_an_assistant_turn_with_calls():
    parsed = parse(turn("human", "q"), turn("function_call", '{"name": "f", "arguments": {"b": 1, "a": [2]}}'))
    assert parsed.messages[1].role == "assistant"
    assert parsed.messages[1].content == ""
    wanted = [{"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": [2]}}}]
    assert parsed.messages[1].tool_calls == json.dumps(wanted)
    two = parse(turn("function_call", '[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]'))
    assert [c["function"]["name"] for c in json.loads(two.messages[0].tool_calls)] == ["f", "g"]


def test_a_function_call_that_is_no_call_stays_text():
    for text in ("f(1)", '{"city": "Oslo"}', "[]"):
        parsed = parse(turn("function_call", text))
        assert parsed.messages == (Message("assistant", text),)
        assert "kept as the assistant's text" in parsed.notes[0]
    with pytest.raises(RowError, match="is null"):
        parse(turn("function_call", None))


def test_the_system_column():
    assert parse(turn("human", "x"), system="s").messages[0] == Message("system", "s")
    assert [m.role for m in parse(turn("human", "x"), system="").messages] == ["user"]
    same = parse(turn("system", "s"), turn("gpt", "x"), system="s")
    assert ([m.content for m in same.messages], same.notes) == (["s", "x"], ())
    other = parse(turn("system", "own"), turn("gpt", "x"), system="column")
    assert [m.content for m in other.messages] == ["own", "x"]
    assert "system column is not" in other.notes[0]


def test_errors_name_the_keys_of_the_row():
    with pytest.raises(RowError, match="is null or missing") as caught:
        parse(turn("human", "x"), turn("gpt", None))
    assert caught.value.field == "conversations[1].value"


def test_detection():
    sharegpt = [turn("human", "x"), turn("gpt", "y")]
    assert KIND.detect({"conversations": [sharegpt]}) == (1.0, {"conversations": "conversations"})
    renamed = [{"role": "human", "content": "x"}, {"role": "gpt", "content": "y"}]
    assert KIND.detect({"messages": [renamed], "system": ["s"]}) == (
        0.9,
        {"conversations": "messages", "system": "system"},
    )
    assert KIND.detect({"conversations": [[{"role": "user", "content": "x"}]]}) == (0.0, {})
    assert KIND.detect({"conversations": [sharegpt[:1]], "chosen": ["a"], "rejected": ["b"]}) == (0.0, {})


def test_an_answer_is_not_composed_as_a_call():
    call = {"from": "function_call", "value": '{"name": "f", "arguments": {}}'}
    row = {"conversations": [{"from": "human", "value": "q"}, call, {"from": "gpt", "value": "a"}]}
    assert KIND.compose(row, {"conversations": "conversations"}, "new", "answer")
    assert row["conversations"] == [{"from": "human", "value": "new"}, {"from": "gpt", "value": "answer"}]
