"""Data that is not SFT data is told by its values, and the message says what to do with it."""

import json

import pytest

from core.errors import UserError
from core.intake.datasets import read, scan

CHAT = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]


def lines(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(path):
    with pytest.raises(UserError) as caught:
        scan([path])
    return caught.value


@pytest.mark.parametrize("column", ["label", "kto_tag"])
@pytest.mark.parametrize("row", [{"messages": CHAT}, {"prompt": "2+2?", "completion": "4"}])
def test_answers_that_were_trained_away_from_are_no_targets(tmp_path, row, column):
    many = [row | {column: True} for _ in range(300)]
    error = refused(lines(tmp_path, *many, row | {column: False}))
    assert "KTO" in error.what and column in error.what
    assert f"{column} = true" in error.todo


def test_a_label_that_is_never_no_is_a_column_like_any_other(tmp_path):
    path = lines(tmp_path, *({"messages": CHAT, "label": True} for _ in range(3)))
    assert all("the column 'label' is not read" in sample.notes for sample in read([path], scan([path]).reading))


@pytest.mark.parametrize("label", [["B-PER", "O"], {"name": "spam"}, 3, "spam", "false alarm"])
def test_a_label_that_is_no_flag_is_a_column_like_any_other(tmp_path, label):
    path = lines(tmp_path, {"messages": CHAT, "label": label}, {"messages": CHAT, "label": False})
    assert all("the column 'label' is not read" in sample.notes for sample in read([path], scan([path]).reading))


def test_openais_preference_pairs(tmp_path):
    answer = [{"role": "assistant", "content": "4"}]
    row = {"input": {"messages": CHAT[:1]}, "preferred_output": answer, "non_preferred_output": answer}
    error = refused(lines(tmp_path, row))
    assert "preference pairs (the columns preferred_output and non_preferred_output)" in error.what
    assert "'preferred_output'" in error.todo


def test_python_literals_are_named_as_what_they_are(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('n,messages\n0,"' + str(CHAT).replace('"', '""') + '"\n', encoding="utf-8")
    error = refused(path)
    assert "'messages' of rows.csv holds Python literals" in error.what
    assert "json.dumps" in error.todo


def test_text_that_only_looks_like_a_literal_is_not_taken_for_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("n,messages\n0,\"[see above] __import__('os')\"\n", encoding="utf-8")
    assert "Python" not in refused(path).what


def test_one_object_of_columns(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"instruction": {"0": "a", "1": "b"}, "output": {"0": "c", "1": "d"}}))
    error = refused(path)
    assert "one object of columns" in error.what
    assert "orient='records'" in error.todo


def test_rankings(tmp_path):
    error = refused(lines(tmp_path, {"instruction": "Name one.", "input": "", "output": ["a", "b"]}))
    assert "rankings: 'output' is a list of 2 answers" in error.what


def test_a_list_of_lists_of_turns_says_how_to_wrap_them(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([[{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]] * 2))
    assert 'wrap it as {"messages": [...]}' in refused(path).why


@pytest.mark.parametrize(
    ("no", "yes"), [(0, 1), ("0", "1"), ("undesirable", "desirable"), ("False", "True"), (0.0, 1.0)]
)
def test_unwanted_answers_in_every_spelling_of_no(tmp_path, no, yes):
    rows = [{"prompt": "2+2?", "completion": "4", "label": yes} for _ in range(60)]
    error = refused(lines(tmp_path, *rows, rows[0] | {"label": no}))
    assert "KTO" in error.what


def test_classes_of_texts_are_no_flags(tmp_path):
    for labels in ((0, 1, 2), (0, 0)):
        path = lines(tmp_path, *({"prompt": "2+2?", "completion": "4", "label": label} for label in labels))
        assert len(list(read([path], scan([path]).reading))) == len(labels)


@pytest.mark.parametrize(
    "columns",
    [
        {"conversation_a": CHAT, "conversation_b": CHAT, "winner": "tie"},
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "a"},
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
    ],
)
def test_two_answers_of_which_one_is_better(tmp_path, columns):
    assert "holds preference data: the answers" in refused(lines(tmp_path, columns)).what


def test_preference_pairs_under_longer_names(tmp_path):
    error = refused(lines(tmp_path, {"prompt": "q", "chosen_response": "a", "rejected_response": "b"}))
    assert "preference pairs (the columns chosen_response and rejected_response)" in error.what
    assert "completion = 'chosen_response'" in error.todo


@pytest.mark.parametrize(
    "columns",
    [
        {"query": "q", "responses": ["a", "b"]},
        {"instruction": "q", "completions": [{"response": "a"}, {"response": "b"}]},
    ],
)
def test_rankings_under_other_names(tmp_path, columns):
    assert "holds rankings" in refused(lines(tmp_path, columns)).what


def test_stepwise_rewards(tmp_path):
    row = {"prompt": "q", "completions": ["first", "then"], "labels": [True, False]}
    assert "stepwise rewards" in refused(lines(tmp_path, row)).what


@pytest.mark.parametrize(
    "whole",
    [
        {"prompt": ["a", "b"], "completion": ["c", "d"]},
        {"columns": ["prompt"], "index": [0, 1], "data": [["a"], ["b"]]},
    ],
)
def test_columns_in_other_layouts(tmp_path, whole):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(whole))
    assert "one object of columns" in refused(path).what


def test_rows_that_python_printed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{ {'prompt': str(i), 'completion': 'a', 'more': None} }\n" for i in range(5)))
    assert "holds Python literals" in refused(path).what


@pytest.mark.parametrize("column", ["content", "raw_content"])
def test_texts_for_pre_training_name_the_way(tmp_path, column):
    assert f"text = {column!r}" in refused(lines(tmp_path, {column: "Once upon a time.", "meta": {"n": 1}})).todo
