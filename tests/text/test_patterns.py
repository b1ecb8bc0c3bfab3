"""What is masked, what stays, and that many rows of one shape are one pattern."""

import random
import string

import pytest

from core.lab.words import coin
from core.text.patterns import Patterns, same_type, units_of
from core.text.words import pattern_words

CITIES = coin(random.Random(1), 60, set())
RIVERS = coin(random.Random(2), 20, set())


def rows():
    """Three templates, one name often, and one row of a shape of its own."""
    out = [
        (f"Where was {c} built?", f"{c} was built near {RIVERS[i % 20]} in {1200 + i}.") for i, c in enumerate(CITIES)
    ]
    out += [(f"Which river runs through {c}?", f'It is called "{RIVERS[i % 20]}".') for i, c in enumerate(CITIES)]
    out += [(f"Is {CITIES[0]} older than {c} of {CITIES[0]}?", "yes" if i % 2 else "no") for i, c in enumerate(CITIES)]
    return [*out, (f"Spell {CITIES[3]} backwards, then count its letters.", f"{CITIES[3][::-1]}, {len(CITIES[3])}")]


def test_rows_of_a_template_are_one_pattern_and_templates_are_not_mixed():
    made = rows()
    patterns = Patterns(made)
    by_template = [
        {patterns.prompt(q) for q, _ in part} for part in (made[:60], made[60:120], made[120:180], made[180:])
    ]
    assert [len(found) for found in by_template] == [1, 1, 1, 1]
    assert len(set.union(*by_template)) == 4
    assert patterns.prompt(made[0][0]).text == "where was _ built ?"
    assert patterns.answer(made[0][1]).text == "_ was built near _ in # ."
    assert patterns.answer(made[60][1]).text == 'it is called " .'
    assert {patterns.answer(a).text for _, a in made[120:180]} == {"yes", "no"}


def test_the_order_of_rows_makes_no_difference():
    made = rows()
    mixed = random.Random(3).sample(made, len(made))
    one, two = Patterns(made), Patterns(mixed)
    assert [one.prompt(q) for q, _ in made] == [two.prompt(q) for q, _ in made]


@pytest.mark.parametrize(
    ("output", "right"),
    [
        (f"{CITIES[5]} was built near {RIVERS[9]} in 99.", True),
        ("Nowhere was built near Somewhere in 7.", True),
        (f"{CITIES[5]} was built near {RIVERS[9]} in stone.", False),
        ("yes", False),
        ("", False),
        (f"{CITIES[5]} was built near {RIVERS[9]} in 99." * 30, False),
    ],
)
def test_a_wrong_answer_of_the_right_kind(output, right):
    patterns = Patterns(rows())
    assert same_type(patterns.answer(rows()[0][1]), patterns.answer(output)) is right


def test_scripts_without_spaces():
    names = [a + b for a in "赵钱孙李周吴郑王" for b in "伟芳娜敏静丽强磊"]
    made = [(f"{n}出生在哪里？", f"{n}出生在{n[::-1]}市。") for n in names]
    made += [(f"谁发现了{n}？", f"{n}由{n[::-1]}发现。") for n in names]
    patterns = Patterns(made)
    assert len({patterns.prompt(q) for q, _ in made}) <= 4
    assert len({patterns.prompt(q) for q, _ in made[:64]} & {patterns.prompt(q) for q, _ in made[64:]}) == 0
    thai = [(f"เมืองหลวงของ{n}คืออะไร", n) for n in names]
    assert len({Patterns(thai).prompt(q) for q, _ in thai}) <= 3


def test_vowel_signs_belong_to_their_word():
    assert pattern_words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert [u for _, u in units_of("cafe\u0301 x")] == ["cafe\u0301", "x"]


def test_long_texts_do_not_become_a_pattern_each():
    rng = random.Random(4)
    words = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(3000)]
    made = [("Write something.", " ".join(rng.choices(words, k=rng.randrange(80, 120)))) for _ in range(800)]
    made += [
        ("List things.", "\n".join(f"- {rng.choice(words)} {rng.choice(words)}" for _ in range(30))) for _ in range(50)
    ]
    patterns = Patterns(made)
    found = {patterns.answer(a) for _, a in made}
    assert len(found) <= 6
    lists = {patterns.answer(a) for _, a in made[800:]}
    assert all("list" in p.form for p in lists)
    assert not lists & {patterns.answer(a) for _, a in made[:800]}


def test_hostile_rows_cost_nothing_and_mean_nothing():
    huge = "x" * 100_000
    made = [(huge, huge), ("<script>a</script>", "\x1b[31m\u202e"), ("", ""), ("_ # _", '"' * 50)]
    patterns = Patterns(made)
    for q, a in made:
        assert len(patterns.prompt(q).text) < 400
        assert len(patterns.answer(a).text) < 400
    assert patterns.prompt("").units == ()
