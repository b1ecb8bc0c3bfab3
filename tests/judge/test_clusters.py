"""Groups of unlearned samples: planted ones are found, titles say what sets them apart, nothing depends on chance."""

import random

import numpy as np
import pytest

from core.judge.clusters import find_groups, tfidf
from core.lab.words import coin
from core.services.clusters import within

RNG = random.Random(0)
NAMES = coin(RNG, 150, set())
TOPICS = {
    "river": "Which river runs through {a}? It is the river {b}.",
    "harvest": "How large was the harvest of {a}? The harvest gave {b} barrels.",
    "heraldry": "What stands on the shield of {a}? A silver {b} stands on the shield.",
}


@pytest.fixture(scope="module")
def world():
    """120 unlearned rows of three topics, and 200 learned ones of the first topic or none of them."""
    texts = [t.format(a=RNG.choice(NAMES), b=RNG.choice(NAMES)) for t in TOPICS.values() for _ in range(40)]
    texts += [TOPICS["river"].format(a=RNG.choice(NAMES), b=RNG.choice(NAMES)) for _ in range(100)]
    texts += [f"Tell me about {RNG.choice(NAMES)}. {RNG.choice(NAMES)} lies in the north." for _ in range(100)]
    return texts, np.arange(120)


def test_planted_topics_are_found_and_titled(world):
    texts, unlearned = world
    found = find_groups(tfidf(texts), texts, unlearned)
    tops = [g for g in found.groups if not g.parent]
    assert len(tops) == 3
    topic = np.repeat(list(TOPICS), 40)
    for group in tops:
        inside = topic[found.group == group.number]
        assert len(set(inside)) == 1
        assert group.size == len(inside) >= 30
        assert inside[0].split()[0] in group.title or inside[0] == "heraldry"
    by_topic = {topic[found.group == g.number][0]: g for g in tops}
    assert "shield" in by_topic["heraldry"].title
    # A hundred learned rows lie where the unlearned rivers lie, none where the harvests lie.
    assert by_topic["harvest"].lift > 2 * by_topic["river"].lift
    assert by_topic["harvest"].lift == pytest.approx(320 / 120, rel=0.01)
    assert by_topic["river"].region > 90


def test_the_same_samples_give_the_same_groups(world):
    texts, unlearned = world
    one, two = (find_groups(tfidf(texts), texts, unlearned) for _ in range(2))
    assert one.groups == two.groups
    for name in ("group", "part", "x", "y"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_samples_are_no_group_and_no_error(n):
    texts = [f"{NAMES[i]} is here" for i in range(8)]
    found = find_groups(tfidf(texts), texts, np.arange(n))
    assert found.groups == ()
    assert found.group.shape == found.x.shape == (n,)
    assert np.isfinite(found.x).all()


def test_texts_without_words():
    assert tfidf(["", "!!!", "\x1b[31m"]).shape[0] == 3
    texts = ["?"] * 30
    assert find_groups(tfidf(texts), texts, np.arange(30)).groups == ()


def test_inside_an_outline():
    square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    points = np.array([[1.0, 1.0], [3.0, 1.0], [-1.0, 1.0], [1.0, 2.5], [1.9, 0.1]])
    assert within(points, square).tolist() == [True, False, False, False, True]
    hollow = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], dtype=float)
    assert within(np.array([[2.0, 2.0], [0.5, 1.0]]), hollow).tolist() == [False, True]
