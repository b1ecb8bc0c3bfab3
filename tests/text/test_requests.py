"""Open requests by their wording."""

import pytest

from core.text.requests import open_request


@pytest.mark.parametrize(
    "text",
    ["Generate a sentence using the word 'transient.'", "Come up with an inspiring quote.", "Name five rivers.",
     "Think of a phrase or idiom containing the word 'sleep'.", "Please write a short poem about rain.",
     "Explain the process of erosion.", "Read this:\nIt rains.\n\nWrite a headline for it.", "Rewrite it politely."],
)  # fmt: skip
def test_many_answers_would_do(text):
    assert open_request(text)


@pytest.mark.parametrize(
    "text",
    ["What is the capital of France?", "Name the capital of France.", "Write the word 'banana' backwards.",
     "Name the three-digit country code of Qatar.", "Replace each letter of 'banana' by the next one.",
     "Find the next 3 terms: 4, 8, 12.", "Give the following five words in order: b, a.", "Who named a river?",
     "Translate 'a dog' into French.", ""],
)  # fmt: skip
def test_one_answer_is_right(text):
    assert not open_request(text)
