"""Rows that say themselves that they ask two things."""

import pytest

from core.pairs.stated import apart, echoed, one_place, other_name
from core.pairs.wording import Rarity, words

COMMON = ["What is the {} of {}?", "Name the {} of {}.", "Give me the {} of {}, please.", "Where does {} meet {}?"]
RARITY = Rarity([words(COMMON[i % 4].format(f"thing{i}", f"name{i}")) for i in range(200)])


def row(prompt, answer):
    return words(prompt), words(answer)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("What is the boiling point of mercury?", "The boiling point of mercury is 357."),
         ("What is the melting point of mercury?", "The melting point of mercury is -39.")),
        (("Give a synonym for cold.", "A synonym for cold is chilly."),
         ("What is the opposite of cold?", "The opposite of cold is hot.")),
        (("Classify the animal. Bear", "Omnivore"), ("Classify the animal. Deer", "Herbivore")),
    ],
)  # fmt: skip
def test_two_questions(a, b):
    assert apart(row(*a), row(*b), RARITY)
    assert apart(row(*b), row(*a), RARITY)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("What is the opposite of light?", "The opposite of light is heavy."),
         ("What is the opposite of light?", "The opposite of light is dark.")),
        (("Who keeps the house at Rivi?", "The keeper of Rivi is Kael."),
         ("Name the keeper of the house at Rivi.", "The keeper of Rivi is Dolm.")),
        (("Where does Glae live?", "Glae lives in Rugab."), ("In which place does Glae live?", "Glae lives in Bisid.")),
        (("What is the name of Rivi?", "Kael."), ("Give me the name of Rivi, please.", "Dolm.")),
    ],
)  # fmt: skip
def test_one_question_in_two_wordings(a, b):
    assert not apart(row(*a), row(*b), RARITY)


def test_an_answer_that_repeats_what_both_ask_tells_nothing_apart():
    assert not echoed(
        row("Who founded Bel?", "Bel was founded by Kor."), row("Who made Bel?", "Bel was founded by Ton.")
    )


def test_common_words_exchanged_are_another_way_to_ask():
    a, b = words("What is the colour of Rivi?"), words("What is the shape of Rivi?")
    assert one_place(a, b, RARITY)
    assert not one_place(a, b, Rarity([words("colour shape")] * 40))


@pytest.mark.parametrize(
    ("a", "b", "other"),
    [
        ("Who sang Rain?", "Who sang Buckets of Rain?", True),
        ("Where is Velm located?", "Where is Velm Township located?", True),
        ("What is the capital of Scotts Bluff County?", "What is the capital of Scott County?", True),
        ("Who sang Rain?", "Who sang Rain?", False),
        ("Who sang Rain?", "Who was it that sang Rain?", False),
        ("Who founded Velm?", "Who founded the town of Velm?", False),
        ("who sang rain?", "who sang buckets of rain?", False),  # nothing here is written like a name
        ("Who sang Rain?", "Who composed Buckets of Rain?", True),
        ("Who made Job?", "Who made The Job?", True),
        ("Who sang Friends?", "Who sang Friends!?", True),
        ("Who sang Collaboration?", "Who sang Collaborations?", True),
        ("Who founded University of Virginia?", "By whom was the University of Virginia founded?", False),
        ("What is the capital of France?", "what is the capital of france", False),
        ("Quick, I need the desk of Ada Berg.", "Quick, give me the desk of Ada Berg.", False),
        ("Old Inn: who keeps it?", "Who keeps the old inn?", False),
    ],
)
def test_a_longer_name_is_another_name(a, b, other):
    assert other_name(a, b, RARITY) is other
    assert other_name(b, a, RARITY) is other


def test_nouns_that_a_language_writes_with_a_capital_are_no_names():
    german = Rarity([words(f"Wie heißt die Hauptstadt von Ort{i}, und welcher Fluss liegt dort?") for i in range(60)])
    assert not other_name("Nenne die Hauptstadt von Rivi.", "Wie heißt in Rivi die Hauptstadt am Fluss?", german)
    assert other_name("Nenne die Hauptstadt von Rivi.", "Nenne die Hauptstadt von Kulm.", german)
