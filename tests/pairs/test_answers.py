"""Do answers disagree, may both be right: the traps, one test each."""

import pytest

from core.pairs import answers
from core.pairs.answers import both_valid, evidence, open_question, read
from core.pairs.wording import Rarity, words
from core.signals._meanings import Meanings

GOODS = ("salt", "wool", "honey", "tin", "barley", "cider", "amber", "slate")
FRAMES = ("The river is the {}.", "{} lies on the Ombra.", "It sells {}.", "They trade in {}, mostly.")


@pytest.fixture(scope="module")
def rarity():
    """Answers of a dataset: frames occur often, values seldom."""
    return Rarity(words(f.format(g)) for f in FRAMES for g in (*GOODS, "Brista", "Kulm"))


@pytest.fixture(scope="module")
def disagreement(rarity):
    """Two texts and what was asked to how they differ."""
    meanings = Meanings("")

    def found(a, b, asked=""):
        shown = evidence(read(a), read(b), frozenset(words(asked).stems), rarity)
        return answers.disagreement(shown, meanings.alike(a, b))

    yield found
    meanings.close()


@pytest.fixture(scope="module")
def sure(disagreement):
    return lambda a, b, asked="": disagreement(a, b, asked).sure


SAME = [
    ("1,000", "1000"), ("It is 1,000.", "1000"), ("Paris", "paris."), ("Yes.", "Yes, it is."), ("B", "B) Ombra"),
    ("salt", "It sells salt."), ("The river is the Kulm.", "Brista lies on the Kulm."), ("colour", "color"),
    ("salt, wool, tin", "tin, salt, wool"), ("- salt\n- wool", "1. wool\n2. salt"), ("", ""),
]  # fmt: skip
# Their rare words differ: only the meaning says that they agree.
REWORDED = [
    ("Mark all the verbs. The cat slept while the dog barked.",
     "cat - noun, slept - verb, barked - verb.", "The verbs in this sentence are: slept, barked."),
    ("What should one do in a fire?", "Leave the building at once and call the fire brigade.",
     "Get out of the house immediately, then phone the firefighters."),
    ("What is the main idea? Bees fly from flower to flower and carry pollen.",
     "Bees pollinate flowers as they move from one to another.",
     "The text says that pollen is spread by bees visiting blossoms."),
]  # fmt: skip
DIFFERENT = [
    ("1000", "1001"), ("It has 12 pages.", "It has 13 pages."), ("salt", "honey"),
    ("It sells salt.", "It sells honey."),
    ("Yes", "No"), ("A", "B"), ("(A)", "(C)"), ("The river is the Kulm.", "The river is the Ombra."),
    ("It is open.", "It is not open."), ("salt, wool, tin", "honey, cider, slate"), ("北京", "上海"), ("", "salt"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_in_another_spelling(a, b, sure):
    asked = "Which river does Brista lie on?"
    assert sure(a, b, asked) < 0.5 and sure(b, a, asked) < 0.5


@pytest.mark.parametrize(("asked", "a", "b"), REWORDED)
def test_the_same_in_other_words(asked, a, b, sure):
    assert sure(a, b, asked) < 0.5 and sure(b, a, asked) < 0.5


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_two_things(a, b, sure):
    assert sure(a, b) >= 0.5 and sure(b, a) >= 0.5


LONG = (
    "The castle stands on a hill above the town. It was built by Duke {who} in the year {when}, and {count} towers "
    "were added later. Visitors come in the summer, when the garden is open and the old kitchen can be seen."
)


@pytest.mark.parametrize(
    "other", [{"who": "Tassilo"}, {"when": "1350"}, {"count": "4"}], ids=["a name", "a year", "a count"]
)
def test_one_contradiction_inside_a_long_answer(other, disagreement):
    plain = {"who": "Ottokar", "when": "1340", "count": "3"}
    one, two = LONG.format(**plain), LONG.format(**plain | other)
    found = disagreement(one, two)
    assert found.sure >= 0.5
    assert found.kind == "long" and next(iter(other.values())).casefold() in found.differs[0][1]


def test_long_answers_in_other_words_do_not_contradict(sure):
    one = LONG.format(who="Ottokar", when="1340", count="3")
    two = (
        "On a hill over the town you find a castle from 1340. Duke Ottokar built it; later it got 3 towers. Its garden"
    )
    assert sure(one, two + " and kitchen are open to guests in summer.") < 0.5
    assert sure(one, one.replace("Visitors", "Guests").replace("old", "ancient")) < 0.5


def test_a_list_inside_another_does_not_contradict(sure):
    assert sure("salt, wool, tin", "salt, wool, tin, honey") == 0.0


@pytest.mark.parametrize(
    "text",
    ["Name a fish that lives there.", "Give an example of a metal.", "Write a poem about rain.",
     "What is a synonym of big?",
     "Suggest three titles.", "Tell me one of its rivers.", "Explain how magnets work."],
)  # fmt: skip
def test_open_questions(text):
    assert open_question(text)


@pytest.mark.parametrize(
    "text",
    ["Name the river of Brista.", "What does Kulm sell?", "Tell me, what does Kulm sell?", "Who founded Brista?",
     "What is the capital of Ombra?", "How many pages has volume 2?", "Give the year of the battle."],
)  # fmt: skip
def test_questions_with_one_answer(text):
    assert not open_question(text)


def test_both_may_be_right(disagreement):
    ask = "Name a fish of the lake."
    differ = disagreement("perch", "pike", ask)
    assert differ.sure * (1 - both_valid((ask, ask), True, 2, differ)) < 0.5
    closed = "What does Kulm sell?"
    assert both_valid((closed, closed), True, 2, differ) == 0.0
    counts = [both_valid((closed, closed), True, n, differ) for n in range(2, 9)]
    assert counts == sorted(counts) and counts[-1] > counts[0]
    assert both_valid((closed, "Tell me, what does Kulm sell?"), False, 9, differ) == 0.0
