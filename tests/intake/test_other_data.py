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
