"""Which answer a text gives, and when two are the same."""

import pytest

from core.egrm.answers import CUT, NO_ANSWER, boxed, extract, key, options_of, suggest_normaliser


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("Half of 10 is 5.\nAnswer: 5", "5"),
        ("The answer is 5. This is because 2 + 3 = 5.", "5"),
        ("Answer: 3\nNo, wait.\nAnswer: 4", "4"),
        ("First 48/2 = 24.\n#### 72", "72"),
        ("so it follows that \\boxed{\\frac{1}{2}} holds", "\\frac{1}{2}"),
        ("He makes $18.\nA: 18", "18"),
        ("Therefore, the heron", "the heron"),
        ("**Answer:** Paris", "Paris"),
        ("Answer: 1.5 litres. It is warm.", "1.5 litres"),
    ],
)
def test_announced_answers(text, raw):
    for complete in (True, False):
        found = extract(text, complete)
        assert (found.raw, found.how, found.failure) == (raw, "marker", "")


def test_an_answer_nobody_announced_is_the_last_line_of_a_whole_text_only():
    assert extract("I think so\n\n 42 \n", True).raw == "42"
    assert extract("I think so\n 42", True).how == "last line"
    assert extract("I think so\n 42", False).failure == CUT
    assert extract("I think so\n 42", True, strict=True).failure == NO_ANSWER
    assert extract(" \n", True).raw is None
    assert extract("Answer:", True).raw == "Answer:"
    assert extract("", False).failure == CUT


def test_braces_that_never_close():
    assert boxed("\\boxed{a{b}c} and \\boxed{d") == "a{b}c"
    assert boxed("\\boxed{d") is None
    assert boxed("boxed{d}") is None


@pytest.mark.parametrize(
    ("normaliser", "same", "other"),
    [
        ("exact", ["Paris", " paris.", "PARIS!"], ["the paris", "par is"]),
        ("words", ["Paris", "paris.", "  “Paris”  "], ["Paris France"]),
        ("numeric", ["1/2", "0.5", "$0.50", "\\frac{1}{2}", "50%", "\\(0.5\\)", "1/4 + 1/4 = 0.5"], ["2", "5"]),
        ("numeric", ["1200", "1,200", "1\u00a0200.0", "1200 apples for 3 days", "1.2e3"], ["12", "1201"]),
        ("choice", ["B", "(B)", "B) Rome", "The answer is B", "b.".upper(), "Rome", "rome."], ["A", "Paris"]),
    ],
)  # fmt: skip
def test_same_answers_share_a_key(normaliser, same, other):
    options = {"A": "Paris", "B": "Rome"}
    keys = {key(text, normaliser, options) for text in same}
    assert len(keys) == 1 and None not in keys
    assert not keys & {key(text, normaliser, options) for text in other}


def test_an_answer_of_another_form_has_no_key():
    assert key("many", "numeric") is None
    assert key("both", "choice", {"A": "Paris", "B": "Rome"}) is None
    assert key("Z", "choice") is None
    assert key("E", "choice", {"A": "x", "B": "y"}) is None
    assert key(None, "words") is None
    assert key("...", "exact") is None


def test_options_of_a_question():
    assert options_of("Which?\nA) Rome\nB) Paris is big\n(C) Bern") == {"A": "Rome", "B": "Paris is big", "C": "Bern"}
    assert options_of("A) alone") == {}
    assert options_of("Which is it?\nB) Rome\nC) Bern") == {}


def test_the_suggested_normaliser():
    assert suggest_normaliser(["12", "3/4", "$5", "7 apples"]) == "numeric"
    assert suggest_normaliser(["A", "B", "(C)"]) == "choice"
    assert suggest_normaliser(["Paris", "12"]) == "words"
    assert suggest_normaliser([]) == "words"
