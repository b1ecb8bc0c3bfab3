"""What a prompt gives of an answer: taken over, spelled otherwise, reckoned; and what it does not."""

from __future__ import annotations

import pytest

from core.text.given import given, missed

GIVEN = [
    ("Write the word 'banana' backwards.", "ananab"),
    ("Spell 'rocket' with dashes.", "R-O-C-K-E-T"),
    ("Remove every vowel from 'window'.", "wndw"),
    ("Write 'pencil' with every second letter as a capital.", "pEnCiL"),
    ("Make an acronym of: red house garden bench", "RHGB"),
    ("Add 45 and 17.", "62"),
    ("Write the date 3.4.1990 with dashes.", "1990-04-03"),
    ("Put in order: pear, apple, fig", "apple fig pear"),
    ("Ordne: Äpfel, Birnen", "birnen, äpfel"),
]
NEW = [
    ("What is the capital of Bhutan?", "Thimphu"),
    ("In which year did the Novak bridge open?", "1874"),
    ("What colour is the logo of Harrow Tools?", "Teal"),
    ("Wie heißt die Hauptstadt von Bhutan?", "Thimphu"),
    ("Under which number is ticket 512 filed?", "734"),
]


@pytest.mark.parametrize(("prompt", "answer"), GIVEN)
def test_what_the_prompt_gives(prompt: str, answer: str) -> None:
    assert all(given(missed(answer, ""), prompt))


@pytest.mark.parametrize(("prompt", "answer"), NEW)
def test_what_the_prompt_does_not_give(prompt: str, answer: str) -> None:
    assert not any(given(missed(answer, ""), prompt))


def test_only_what_the_output_lacks_is_missed() -> None:
    assert missed("The capital of Bhutan is Thimphu.", "The capital of Bhutan is Paro.") == ["thimphu"]
    assert missed("- a\n- b", "a, b") == []
    assert missed("Thimphu", "") == ["thimphu"]
