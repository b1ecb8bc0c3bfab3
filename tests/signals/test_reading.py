"""When two texts say the same: what is form, what is wording, what is another answer."""

import pytest

from core.signals._reading import same_but_form, same_meaning


@pytest.mark.parametrize(
    ("output", "target", "same"),
    [
        ("the river bran", "The river Bran.", True),
        ("Answer: Paris", "Paris", True),
        ("The answer is Paris.", "paris", True),
        ("**Paris**", "Paris", True),
        ("a heron", "the heron", True),
        ("Ｐａｒｉｓ", "Paris", True),
        ("Rome", "Paris", False),
        ("-5", "5", False),
        ("1.5", "15", False),
        ("3/4", "34", False),
        ("Paris and Rome", "Paris", False),
        ("not Paris", "Paris", False),
        ("", "Paris", False),
        ("...", "!", False),
    ],
)
def test_form(output, target, same):
    assert same_but_form(output, target) is same


ASK = "What colour is the flag of Bel?"


@pytest.mark.parametrize(
    ("output", "target", "same"),
    [
        ("Red.", "The flag of Bel is red.", True),
        ("Red is the colour of the flag.", "Bel has a red flag.", True),
        ("The flag of Bel is blue.", "The flag of Bel is red.", False),
        ("The flag is not red.", "The flag is red.", False),
        ("It isn't red.", "It is red.", False),
        ("Red and blue.", "Red.", False),
        ("The flag of Bel.", "The flag of Bel is red.", False),  # nothing beyond the question
        ("7", "17", False),
        ("Bel bought tin.", "Bel bought salt.", False),
        ("The founder is Kor Tan.", "Kor.", False),  # a name more
        ("Lem was founded by Kor.", "Bel was founded by Kor.", False),  # said of another subject
        ("Kor was founded by Kor.", "Bel was founded by Kor.", False),
        ("Bel has a bright red flag of silk.", "The flag is red.", False),
    ],
)
def test_meaning(output, target, same):
    assert same_meaning(output, target, ASK) is same
