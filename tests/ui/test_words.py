"""Words that pages share: times, costs, shares."""

import time

import pytest

from ui import progress, routes_board, rowlist


def test_a_time_says_its_day():
    now = time.time()
    assert progress.when(now).startswith("today ") and len(progress.when(now)) == len("today 09:30")
    assert progress.when(now - 400 * 86400)[:5] in (f"{time.localtime(now).tm_year - n}-" for n in (1, 2))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.5, "50% of its generated tokens"),
        (0.98, "about as many generated tokens"),
        (1.04, "about as many generated tokens"),
        (2.61, "2.6 times its generated tokens"),
        (float("nan"), "tokens not comparable"),
    ],
)
def test_a_cost_is_never_one_time_another(ratio, words):
    assert routes_board._tokens(ratio) == words


def test_a_confidence_is_never_certain():
    assert [rowlist.sure(c) for c in (0.5, 0.943, 0.976, 0.9999)] == ["50%", "94%", "over 95%", "over 95%"]
