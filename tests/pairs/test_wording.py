"""Words, rarity, differences, and what is embedded of a long text."""

import math
import random

import pytest

from core.pairs.wording import Rarity, difference, number, stem, trimmed, words


@pytest.mark.parametrize(
    ("a", "b"),
    [("1,000", "1000"), ("1,000.0", "1000"), ("12.50", "12.5"), ("007", "7"), ("−3", "-3"), ("１２", "12")],
)
def test_equal_numbers_are_one_word(a, b):
    assert words(f"It is {a} today").stems == words(f"It is {b} today").stems


@pytest.mark.parametrize(("a", "b"), [("1.5", "15"), ("volume 1", "volume 2"), ("3 + 4", "3 - 4"), ("x > 5", "x < 5")])
def test_what_differs_in_a_number_or_operator_is_seen(a, b):
    texts = [words(f"What is {t} of this?") for t in (a, b)]
    assert difference(*texts, Rarity(texts)).numbers == 1.0


def test_numbers_that_are_none():
    assert number("1,00") is None and number("1.2.3") is None and number("abc") is None and number("9" * 80) is None


def test_inflections_meet_and_names_do_not():
    assert stem("founded") == stem("founder") == stem("founding")
    texts = [words(f"Who knows {n} in town?") for n in ("Kaeler", "Kaeled")]
    found = difference(*texts, Rarity(texts))
    assert (found.names == 1.0 and set(found.left) != set(found.right)) or found.left


def test_a_name_at_the_beginning_is_known_from_elsewhere():
    one, two, other = words("Brista lies where?"), words("Where does Brista lie?"), words("Where does Kulm lie?")
    rarity = Rarity([one, two, other])
    assert difference(one, two, rarity).names == 0.0
    assert difference(one, other, rarity).names == 1.0


def test_rarity_is_that_of_the_formula():
    texts = [words(f"alpha beta{i}x" if i % 2 else "alpha gamma") for i in range(100)]
    rarity = Rarity(texts)
    assert rarity.weight("alpha") == pytest.approx((math.log(101) - math.log(100)) / math.log(101))
    assert rarity.weight("beta1x") == 1.0 and rarity.weight("never seen") == 1.0
    assert rarity.weight("the") == pytest.approx(0.1)


def test_texts_without_spaces_have_words():
    assert len(words("东京在哪里").forms) == 5
    found = difference(words("东京在哪里"), words("北京在哪里"), Rarity([words("东京在哪里"), words("北京在哪里")]))
    assert found.left == ("东",) and found.right == ("北",)


def slow_shared(texts, m, least):
    """For each text the longest beginning that m texts have, by trying all."""
    out = []
    for t in texts:
        parts = t.split()
        n = max((k for k in range(len(parts) + 1) if sum(u.split()[:k] == parts[:k] for u in texts) >= m), default=0)
        out.append(n if n >= least else 0)
    return out


def test_shared_beginnings_are_those_of_a_search_through_all():
    rng = random.Random(1)
    for _ in range(60):
        texts = [" ".join(rng.choice("ab") for _ in range(rng.randint(1, 6))) + f" z{i}" for i in range(12)]
        texts = list(dict.fromkeys(texts))
        expected = [" ".join(t.split()[n:]) for t, n in zip(texts, slow_shared(texts, 3, 2), strict=True)]
        assert trimmed(texts, 3, 2) == expected


def test_boilerplate_goes_and_short_frames_stay():
    system = "You are a careful assistant and you answer every question in one short sentence. "
    tail = " Answer only with what is asked and write nothing else at all please."
    texts = [f"{system}{q}{tail}" for q in ("Who?", "Where is Ulm?", "What now?")] + ["What is Ulm?", "What is Bonn?"]
    assert trimmed(texts, 3) == ["Who?", "Where is Ulm?", "What now?", "What is Ulm?", "What is Bonn?"]
    assert trimmed(["a b c d e f g h i j"] * 3, 3) == ["a b c d e f g h i j"] * 3


def test_hostile_text_is_only_text():
    for text in ("", "\x00\x1b[31m\u202e", "a" * 200_000, "<script>", "1" * 5000, "’’''--++", "\ud800"):
        found = words(text)
        assert difference(found, found, Rarity([found])).overlap == 1.0
