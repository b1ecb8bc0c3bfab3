"""Open requests by their wording."""

import pytest

from core.text.requests import open_request


@pytest.mark.parametrize(
    "text",
    ["Generate a sentence using the word 'transient.'", "Come up with an inspiring quote.", "Name five rivers.",
     "Think of a phrase or idiom containing the word 'sleep'.", "Please write a short poem about rain.",
     "Explain the process of erosion.", "Read this:\nIt rains.\n\nWrite a headline for it.", "Rewrite it politely.",
     "Please, write a poem.", "Can you please write a letter?", "Please explain erosion.", "Name 5 large rivers."],
)  # fmt: skip
def test_many_answers_would_do(text):
    assert open_request(text)


@pytest.mark.parametrize(
    "text",
    ["What is the capital of France?", "Name the capital of France.", "Write the word 'banana' backwards.",
     "Name the three-digit country code of Qatar.", "Replace each letter of 'banana' by the next one.",
     "Find the next 3 terms: 4, 8, 12.", "Give the following five words in order: b, a.", "Who named a river?",
     "Translate 'a dog' into French.", "", "What does this print?\n# Create a list\nprint(1)", "Find 15% of 80.",
     "Log:\nBuild 1234 failed\nWhich build failed?", "Write 12 in Roman numerals.", "Give 3/4 as a decimal.",
     "Rewrite 0.75 as a fraction.", "State\nA", "Name a country whose capital is Paris.",
     "Give an entry for Fogleitus.", "Write an SQL insert for apples."],
)  # fmt: skip
def test_one_answer_is_right(text):
    assert not open_request(text)


@pytest.mark.parametrize("line", ["\n", "-\n", "| |\n", ".", "a", "write ", "write a", "write a poem "])
def test_a_hostile_prompt_costs_one_walk(line):
    """A walk of each part by each other one would take hours."""
    assert open_request(line * 200_000) == (line == "write a poem ")
