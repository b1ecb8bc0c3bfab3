"""Rows of token ids: what carried loss, what is left out, and what is refused with its reason."""

from __future__ import annotations

import pytest

from core.formats._cells import RowError
from core.formats.token_ids import KIND
from core.intake.detection import candidates
from core.types import Message, Tokens

MAPPING = {
    "ids": "input_ids", "labels": "labels", "mask": "completion_mask", "attention": "attention_mask",
    "positions": "position_ids",
}  # fmt: skip


def parse(**row):
    return KIND.parse({"input_ids": [5, 6, 7, 8]} | row, MAPPING)


@pytest.mark.parametrize(
    ("row", "trained"),
    [
        ({"labels": [-100, -100, 7, 8]}, (False, False, True, True)),
        ({"completion_mask": [0, 1, 0, 1]}, (False, True, False, True)),
        ({"labels": [-100, 6, 7, 8], "completion_mask": [0, 0, 0, 1]}, (False, True, True, True)),
        ({"labels": "[-100, -100, -100, 8]"}, (False, False, False, True)),
        ({}, (True, True, True, True)),
    ],
)
def test_labels_and_masks_say_what_carried_loss(row, trained):
    assert parse(**row).tokens == Tokens((5, 6, 7, 8), trained)
    assert parse(**row).shape == "tokens"


def test_runs_with_and_without_loss_are_turns():
    assert parse(completion_mask=[0, 1, 0, 1]).messages == (
        Message("user", "5"), Message("assistant", "6"), Message("user", "7"), Message("assistant", "8"),
    )  # fmt: skip
    assert parse().messages == (Message("text", "5 6 7 8"),)


def test_padding_is_left_out_with_a_note():
    parsed = parse(labels=[-100, -100, 7, -100], attention_mask=[0, 1, 1, 0])
    assert parsed.tokens == Tokens((6, 7), (False, True))
    assert "padding is left out" in parsed.notes


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"labels": [-100, 7, 8, -100]}, "shifted by one"),
        ({"labels": [-100, -100, 3, 8]}, "holds 3 at position 2; it must be 7"),
        ({"labels": [7, 8]}, "has 2 entries, the ids have 4"),
        ({"input_ids": [5, -3]}, "-3, which is no token id"),
        ({"input_ids": [5, 2**40]}, "which is no token id"),
        ({"input_ids": [5, "x"]}, "not only whole numbers"),
        ({"input_ids": [5, 1.5]}, "not only whole numbers"),
        ({"input_ids": []}, "is empty"),
        ({"attention_mask": [0, 0, 0, 0]}, "is empty"),
        ({"position_ids": [0, 1, 0, 1]}, "before packing"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(row, text):
    with pytest.raises(RowError, match=text):
        parse(**row)


def test_rows_with_turns_beside_their_ids_are_read_as_turns():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    best = candidates({"messages": [turns], "input_ids": [[1, 2]], "labels": [[-100, 2]]})[0]
    assert best.format == "messages"
    assert candidates({"input_ids": [[1, 2]], "labels": [[-100, 2]]})[0].format == "token_ids"


def test_ids_under_another_name_and_no_word_on_turns():
    columns = {"tokens": [[5, 6, 7]], "loss_mask": [[0, 1, 1]]}
    assert candidates(columns)[0].mapping == {"ids": "tokens", "mask": "loss_mask"}
    assert candidates({"tokens": [["A", "word"]], "tags": [["O", "O"]]}) == ()
    assert KIND.parse({"tokens": [5, 6]}, {"ids": "tokens"}).notes == (
        "neither labels nor a loss mask: every token carried loss",
    )


def test_a_row_without_loss_says_so():
    row = {"input_ids": [5, 6], "labels": [-100, -100]}
    assert "no token carried loss" in KIND.parse(row, {"ids": "input_ids", "labels": "labels"}).notes
