"""Alpaca rows: input joined, system and history first."""

from __future__ import annotations

import pytest

from core.formats._cells import RowError
from core.formats.alpaca import KIND
from core.intake.detection import candidates
from core.types import Message

MAPPING = {name: name for name in ("instruction", "input", "output", "system", "history", "tools")}


def parse(**row):
    return KIND.parse({"instruction": "do", "output": "done"} | row, MAPPING)


def test_input_is_joined_by_a_line_feed():
    parsed = parse(input=" it ")
    assert parsed.messages == (Message("user", "do\n it "), Message("assistant", "done"))
    assert parsed.notes == ("input is added to the instruction on a new line",)
    for nothing in ("", None):
        assert parse(input=nothing).messages[0].content == "do"
    assert parse(instruction="", input="it").messages[0].content == "it"
    assert parse(instruction="", input="it").notes == ()


def test_system_and_history_come_first():
    for history in ([["a", "b"], ["c", "d"]], '[["a", "b"], ["c", "d"]]'):
        parsed = parse(system="s", history=history)
        assert [(m.role, m.content) for m in parsed.messages] == [
            ("system", "s"),
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
            ("assistant", "d"),
            ("user", "do"),
            ("assistant", "done"),
        ]


def test_numbers_are_read_as_text_with_a_note():
    parsed = parse(output=12345678901234567890)
    assert parsed.messages[-1].content == "12345678901234567890"
    assert parsed.notes == ("a number is read as text",)


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        ({"output": None}, "output", "null, text is needed"),
        ({"instruction": ["x"]}, "instruction", "a list, not text"),
        ({"output": True}, "output", "true or false, not text"),
        ({"history": [["a"]]}, "history[0]", "not a pair"),
        ({"history": {"a": "b"}}, "history", "an object, not a list"),
        ({"history": [["a", None]]}, "history[0]", "null"),
    ],
)
def test_what_a_bad_row_is_told(row, field, why):
    with pytest.raises(RowError, match=why) as caught:
        parse(**row)
    assert caught.value.field == field


def test_detection_of_other_names():
    assert KIND.detect({"instruction": ["x"], "output": ["y"]})[0] == 1.0
    dolly = {"instruction": ["x"], "context": ["c"], "response": ["y"], "category": ["k"]}
    assert KIND.detect(dolly) == (0.9, {"instruction": "instruction", "input": "context", "output": "response"})
    assert KIND.detect({"Instruction": ["x"], "Output": ["y"]})[1] == {"instruction": "Instruction", "output": "Output"}
    assert KIND.detect({"instruction": ["x"]}) == (0.0, {})


def test_long_texts_are_no_source_or_stage():
    columns = {"instruction": ["x"], "output": ["y"], "source": ["w" * 201], "stage": ["one"], "id": [1, "b"]}
    mapping = KIND.detect(columns)[1]
    assert "source" not in mapping
    assert (mapping["stage"], mapping["id"]) == ("stage", "id")


@pytest.mark.parametrize("pair", [("query", "response"), ("question", "response"), ("prompt", "response")])
@pytest.mark.parametrize("beside", [{"system": "Be brief."}, {"history": [["q", "a"]]}, {"system_prompt": "Be brief."}])
def test_pairs_beside_a_system_prompt_or_earlier_turns_are_chats(pair, beside):
    row = dict(zip(pair, ("2+2?", "4"), strict=True)) | beside
    best = candidates({name: [value] for name, value in row.items()})[0]
    assert best.format == "alpaca"
    assert len(KIND.parse(row, best.mapping).messages) == (4 if "history" in beside else 3)
    assert KIND.unread(row, best.mapping) == []


def test_pairs_alone_and_trls_own_stay_prompt_and_completion():
    for empty in ({}, {"system": []}, {"system": [""], "history": [[]]}):
        assert candidates({"query": ["2+2?"], "response": ["4"], **empty})[0].format == "prompt_completion"
    assert candidates({"prompt": ["2+2?"], "completion": ["4"], "system": ["s"]})[0].format == "prompt_completion"
