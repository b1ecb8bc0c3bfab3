"""The four readers of words: what each takes for one word, over scripts, digits, apostrophes and hyphens."""

import pytest

from core.text.words import answer_words, letter_words, normalised, pattern_words, question_words

TEXTS = {
    "Bob's 1,5 well-known 北京.": (
        ["bob's", "1,5", "well-known", "北京"],
        ["bob's", "1", "5", "well-known", "北京"],
        ["bob", "s", "1,5", "well", "known", "北", "京"],
        {"bob", "s", "well", "known", "北京"},
    ),
    "«Straße» 3/4 ＡＢＣ": (
        ["strasse", "3/4", "abc"],
        ["straße", "3", "4", "ａｂｃ"],
        ["straße", "3/4", "ａｂｃ"],
        {"straße", "ａｂｃ"},
    ),
    "C# -5 50% x_1 v2": (
        ["c#", "-5", "50%", "x_1", "v2"],
        ["c", "5", "50", "x_1", "v2"],
        ["c", "5", "50", "x_1", "v2"],
        {"c", "x", "v"},
    ),
    "नमस्ते สวัสดี": (
        ["नमस्ते", "สวัสดี"],
        None,  # \\w breaks at vowel signs
        ["नमस्ते", "ส", "วั", "ส", "ดี"],
        None,
    ),
    "...": ([], [], [], set()),
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_each_reader_takes_for_a_word(text):
    readers = (answer_words, question_words, pattern_words, letter_words)
    for reader, expected in zip(readers, TEXTS[text], strict=True):
        if expected is not None:
            assert reader(text) == expected, reader.__name__


def test_an_answer_is_never_normalised_to_nothing():
    assert normalised("  The  END. ") == "the end" and normalised(" ?! ") == "?!"
