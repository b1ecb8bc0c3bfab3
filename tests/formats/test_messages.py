"""OpenAI chat rows: roles, parts, tool calls, loss flags, and what is refused."""

from __future__ import annotations

import json

import pytest

from core.formats._cells import RowError
from core.formats.messages import KIND
from core.types import Message

MAPPING = {"messages": "messages", "tools": "tools"}


def parse(*turns, **row):
    return KIND.parse({"messages": list(turns), **row}, MAPPING)


def only(turn):
    (message,) = parse(turn).messages
    return message


def answer(content, **more):
    return {"role": "assistant", "content": content, **more}


def test_turns_are_kept_as_they_are():
    parsed = parse(
        {"role": "system", "content": " s\n"},
        {"role": "user", "content": "u", "name": "ann"},
        answer("a", name=None, tool_calls=[]),
    )
    assert parsed.messages == (Message("system", " s\n"), Message("user", "u", name="ann"), Message("assistant", "a"))
    assert (parsed.shape, parsed.tools, parsed.notes) == ("chat", None, ())


def test_tool_calls_are_kept_as_json_in_their_order():
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"z": 1, "a": 1.5}'}}]
    message = only(answer(None, tool_calls=calls))
    assert message.content == ""
    assert message.tool_calls == json.dumps(calls)
    assert message.as_dict() == {"role": "assistant", "content": "", "tool_calls": calls}
    assert only(answer("x", tool_calls=json.dumps(calls))).tool_calls == json.dumps(calls)
    legacy = only(answer(None, function_call={"name": "f", "arguments": "{}"}))
    assert json.loads(legacy.tool_calls) == [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_content_without_text_needs_calls():
    for content in ({"content": None}, {}):
        with pytest.raises(RowError, match="no tool calls") as caught:
            parse({"role": "user", "content": "u"}, {"role": "assistant"} | content)
        assert caught.value.field == "messages[1].content"


def test_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, "b", {"text": "c"}, {"type": "text", "value": "d"}]
    assert only(answer(parts)).content == "abcd"
    thinking = only(answer([{"type": "reasoning", "value": "hm"}, {"type": "text", "text": "yes"}]))
    assert (thinking.content, thinking.reasoning) == ("yes", "hm")
    call = only(answer([{"type": "tool_call", "value": '{"name": "f", "arguments": {}}'}]))
    assert json.loads(call.tool_calls) == [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    assert call.content == ""


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_is_a_field_of_its_own_under_each_of_its_names(name):
    message = only(answer("yes", **{name: "hm"}))
    assert (message.content, message.reasoning) == ("yes", "hm")
    expected = {"role": "assistant", "content": "yes", "reasoning_content": "hm", "thinking": "hm"}
    assert message.as_dict() == expected
    assert message != only(answer("yes"))
    with pytest.raises(RowError, match=f"{name}: is a list, not text"):
        parse(answer("yes", **{name: ["hm"]}))


def test_a_system_column_goes_before_the_turns():
    row = {"system": "Be a pirate.", "messages": [{"role": "user", "content": "Hi"}, answer("Arr!")]}
    parsed = KIND.parse(row, KIND.detect({name: [value] for name, value in row.items()})[1])
    assert [(m.role, m.content) for m in parsed.messages] == [
        ("system", "Be a pirate."), ("user", "Hi"), ("assistant", "Arr!"),
    ]  # fmt: skip


def test_openais_older_function_calling_is_read_as_tools():
    definition = {"name": "weather", "parameters": {"type": "object"}}
    turns = [{"role": "function", "name": "weather", "content": "4"}, answer("It is 4 degrees.")]
    row = {"messages": turns, "functions": [definition]}
    parsed = KIND.parse(row, KIND.detect({name: [value] for name, value in row.items()})[1])
    assert json.loads(parsed.tools) == [{"type": "function", "function": definition}]
    assert (parsed.messages[0].role, parsed.messages[0].name) == ("tool", "weather")


@pytest.mark.parametrize("kind", ["image", "image_url", "input_audio", "video", "file"])
def test_what_is_not_text_is_refused(kind):
    with pytest.raises(RowError, match=f"type '{kind}'; only text") as caught:
        parse({"role": "user", "content": [{"type": "text", "text": "what is"}, {"type": kind, kind: {}}]})
    assert caught.value.field == "messages[0].content[1]"


def test_roles_are_not_renamed_here_but_noted():
    parsed = parse({"role": "human", "content": "u"}, {"role": "developer", "content": "d"}, answer("a"))
    assert [m.role for m in parsed.messages] == ["human", "developer", "assistant"]
    assert len(parsed.notes) == 2
    assert "'developer' is not system, user, assistant or tool" in parsed.notes[1]


@pytest.mark.parametrize(
    ("flags", "train"),
    [
        ({}, None),
        ({"weight": 0}, False),
        ({"weight": 1}, True),
        ({"loss_weight": 0.0}, False),
        ({"weight": 0.5}, True),
        ({"train": False}, False),
        ({"train": True, "weight": 0}, True),
        ({"train": None, "weight": None}, None),
        ({"train": 1}, True),
        ({"training": False}, False),
        ({"loss": 0}, False),
        ({"loss": 0.37}, None),
    ],
)
def test_the_rows_own_word_on_loss(flags, train):
    assert only(answer("a", **flags)).train is train


@pytest.mark.parametrize("flags", [{"train": "yes"}, {"train": 2}, {"training": 0.5}, {"weight": "1"}, {"weight": -1}])
def test_a_loss_flag_of_another_type_is_refused(flags):
    with pytest.raises(RowError, match=r"messages\[0\]\.(train|training|weight)"):
        parse(answer("a", **flags))


def test_fields_of_a_turn_that_are_not_read_are_noted():
    parsed = parse(answer("a", refusal=None, audio="7"))
    assert parsed.notes == ("the field 'audio' of a turn is not read",)


def test_which_call_a_tool_answers_is_kept():
    parsed = parse({"role": "tool", "content": "5", "tool_call_id": "call-7"}, answer("a"))
    assert parsed.messages[0].as_dict() == {"role": "tool", "content": "5", "tool_call_id": "call-7"}
    with pytest.raises(RowError, match=r"messages\[0\]\.tool_call_id"):
        parse({"role": "tool", "content": "5", "tool_call_id": 7}, answer("a"))


def test_results_of_tools_may_be_json():
    parsed = parse({"role": "tool", "content": {"celsius": 4}, "name": "weather"}, answer("4"))
    assert parsed.messages[0] == Message("tool", '{"celsius": 4}', name="weather")
    assert "not text is kept as its JSON" in parsed.notes[0]


def test_tools_are_json_text_whatever_they_came_as():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}]
    for given in (tools, json.dumps(tools), json.dumps(tools, indent=3), tools[0]):
        assert parse(answer("a"), tools=given).tools == json.dumps(tools)
    for given in (None, "", [], "[]", "null"):
        assert parse(answer("a"), tools=given).tools is None
    with pytest.raises(RowError, match="cannot be read as JSON"):
        parse(answer("a"), tools="a calculator")
    with pytest.raises(RowError, match="a number, not a list of tools"):
        parse(answer("a"), tools="7")


@pytest.mark.parametrize(
    ("value", "field", "why"),
    [
        ([], "messages", "empty list"),
        ("hello", "messages", "cannot be read as a JSON list"),
        ("[{'role': 'user'}]", "messages", "cannot be read as a JSON list"),
        (None, "messages", "null, not a list"),
        (["hi"], "messages[0]", "text, not a turn"),
        ([{"content": "x"}], "messages[0]", "neither role nor from; it has 'content'"),
        ([{"role": None, "content": "x"}], "messages[0].role", "null"),
        ([{"role": "user", "content": True}], "messages[0].content", "true or false, not text"),
        ([{"role": "user", "content": "x", "name": 5}], "messages[0].name", "a number, not text"),
        ([{"role": "assistant", "content": "", "tool_calls": "{"}], "messages[0].tool_calls", "not valid JSON"),
        ([{"role": "assistant", "content": "", "tool_calls": ["f"]}], "messages[0].tool_calls", "not a list of calls"),
        ([{"role": "user", "content": [{"type": "poll", "text": "x"}]}], "messages[0].content[0]", "unknown type"),
    ],
)
def test_what_a_bad_row_is_told(value, field, why):
    with pytest.raises(RowError, match=why) as caught:
        KIND.parse({"messages": value}, MAPPING)
    assert caught.value.field == field


def test_a_row_without_the_column_names_those_it_has():
    with pytest.raises(RowError, match="the row has 'a', 'b'"):
        KIND.parse({"a": 1, "b": 2}, MAPPING)


def test_remarks_on_answers():
    assert parse({"role": "user", "content": ""}, answer("")).notes == ("an empty answer is kept",)
    assert parse({"role": "user", "content": "u"}).notes == ("no turn of the assistant",)


def test_detection_by_the_turns_not_the_name():
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert KIND.detect({"messages": [turns]}) == (1.0, {"messages": "messages"})
    assert KIND.detect({"conversations": [turns], "tools": [[]]})[1] == {"messages": "conversations", "tools": "tools"}
    assert KIND.detect({"x": [json.dumps(turns)], "y": ["text"]})[1] == {"messages": "x"}
    assert KIND.detect({"messages": [[{"from": "human", "value": "x"}]]}) == (0.0, {})
    assert KIND.detect({"messages": ["text"]}) == (0.0, {})
    assert KIND.detect({"messages": [turns[:1]], "chosen": [turns], "rejected": [turns]}) == (0.0, {})


def vertex(*turns, **row):
    mapping = {"messages": "contents", "system": "systemInstruction", "tools": "tools"}
    return KIND.parse({"contents": list(turns), **row}, mapping)


def test_geminis_contents_are_turns():
    row = {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "How warm"}, {"text": " is it?"}]},
            {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "4 °C"}]},
        ],
    }
    score, mapping = KIND.detect({name: [value] for name, value in row.items()})
    assert (score > 0.5, mapping) == (True, {"messages": "contents", "system": "systemInstruction"})
    system, user, model = KIND.parse(row, mapping).messages
    assert (system, user) == (Message("system", "Be brief."), Message("user", "How warm is it?"))
    assert (model.role, model.content, model.reasoning) == ("assistant", "4 °C", "hm")
    assert KIND.describe is not None and KIND.describe(row, mapping) is None


def test_geminis_calls_results_and_tools():
    parsed = vertex(
        {"role": "user", "parts": [{"text": "q"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"y": 2}}}]},
        tools=[{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
    )
    _, call, result = parsed.messages
    assert json.loads(call.tool_calls) == [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    assert (result.role, result.name, result.content) == ("tool", "f", '{"y": 2}')
    assert [tool["function"]["name"] for tool in json.loads(parsed.tools)] == ["f", "g"]


def test_geminis_media_are_refused():
    with pytest.raises(RowError, match="image/png"):
        vertex({"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]})
    with pytest.raises(RowError, match="unknown type 'executableCode'"):
        vertex({"role": "model", "parts": [{"executableCode": {}}]})


def test_parts_beside_content_are_only_named():
    parsed = parse({"role": "user", "content": "u", "parts": [{"text": "v"}]})
    assert parsed.messages[0].content == "u"
    assert "the field 'parts' of a turn is not read" in parsed.notes


def test_a_turn_of_the_role_tool_call_is_a_call():
    message = only({"role": "tool_call", "content": '{"name": "f", "arguments": {}}'})
    assert message.role == "assistant"
    assert json.loads(message.tool_calls)[0]["function"]["name"] == "f"


@pytest.mark.parametrize("marker", ["<image>", "<video>", "<|image_pad|>", "<|audio_1|>", "<start_of_image>"])
def test_markers_of_images_and_sound_are_named(marker):
    notes = parse({"role": "user", "content": f"{marker}\nWhat is this?"}, answer("A fox.")).notes
    assert f"the text holds the marker {marker}; what a trainer put in its place is not read" in notes
    assert not parse({"role": "user", "content": "<img src='x'> in HTML"}, answer("Yes.")).notes


def test_a_system_prompt_in_parts_is_read():
    turns = [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}]
    row = {"system": [{"text": "Be "}, {"text": "brief."}], "messages": turns}
    assert KIND.parse(row, {"messages": "messages", "system": "system"}).messages[0] == Message("system", "Be brief.")


@pytest.mark.parametrize("column", ["image_file", "image_urls", "video_path", "audio_path", "pixel_values"])
def test_media_in_columns_of_longer_names_reject_the_row(column):
    with pytest.raises(RowError, match="only text can be diagnosed"):
        parse({"role": "user", "content": "u"}, answer("a"), **{column: ["x"]})
