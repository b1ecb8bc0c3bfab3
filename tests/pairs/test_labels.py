"""Labels of a closed set: nearly the same input with another label is another input."""

import pytest

from core.pairs.labels import Labels, other_input
from core.pairs.wording import words

LABELLED = [(f"Text: a film about thing{i}", "Good" if i % 2 else "Bad") for i in range(60)]
VALUES = [(f"What does place{i} sell?", f"ware{i % 12}") for i in range(60)]


def both(rows, a, b):
    return Labels([p for p, _ in rows], [words(r) for _, r in rows]).both(words(a), words(b))


def test_an_answer_to_many_prompts_is_a_label_and_a_value_of_a_relation_is_none():
    assert both(LABELLED, "Good", "Bad")
    assert not both(LABELLED, "Good", "A long film.")
    assert not both(VALUES, "ware1", "ware2")
    assert not both(LABELLED[:30], "Good", "Bad")  # too few to tell


def test_copies_of_one_prompt_do_not_make_a_label():
    assert not both([("Is it?", "Yes"), ("Is it?", "No")] * 40, "Yes", "No")


@pytest.mark.parametrize(
    ("a", "b", "other"),
    [
        ("Text: very smart", "Text: 's just not very smart", True),
        (
            "2 million people, 5.5 thousand soldiers: 5.5 million people",
            "2 million people, 5.5 thousand soldiers",
            True,
        ),
        ("first: how is it? second: what is it like?", "first: what is it like? second: how is it?", False),
        ("Text: watchable .", "Text: it is watchable", False),
    ],
)
def test_what_is_labelled_is_the_whole_input(a, b, other):
    assert other_input(words(a), words(b)) is other
