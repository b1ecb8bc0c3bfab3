"""A click becomes a filter."""

from core.services.views import Breakdown, Histogram
from core.types import Filter, Term
from ui import selecting
from ui.selecting import between, one_of

STAGES = Breakdown("stage", "Stage", (("one", {"learned": 3}), (None, {"unlearned": 2}), ("b,c", {"partly": 1})))
LENGTHS = Breakdown("n_target", "Target tokens", (("1–4", {}), ("5–9", {}), ("10", {})), ((1, 4), (5, 9), (10, 10)))


def click(*data):
    return {"selection": {"points": [{"customdata": list(d)} for d in data], "box": []}}


def test_a_bar_is_its_value_and_its_status():
    assert selecting.from_bars(click((1, "unlearned", 2)), STAGES) == (
        one_of("stage", [None]), one_of("status", ["unlearned"]),
    )  # fmt: skip
    assert selecting.from_bars(click((0, "learned"), (2, "partly"), (0, "partly")), STAGES) == (
        one_of("stage", ["one", "b,c"]), one_of("status", ["learned", "partly"]),
    )  # fmt: skip


def test_a_bar_of_lengths_is_a_range():
    assert selecting.from_bars(click((1, "learned")), LENGTHS)[0] == between("n_target", 5, 9)
    assert selecting.from_bars(click((2, "learned"), (1, "learned")), LENGTHS)[0] == between("n_target", 5, 10)


def test_no_click_asks_for_nothing():
    for event in (None, {}, {"selection": {}}, {"selection": {"points": []}}, click(), {"selection": {"points": [{}]}}):
        assert selecting.from_bars(event, STAGES) == ()
    assert selecting.from_bars(click((9, "learned"), (-1, "learned")), STAGES) == ()


NLL = Histogram("nll", (0.0, 1.0, 2.0, 3.0), {}, 0)
TAIL = Histogram("nll", (0.0, 1.0, 2.0, 9.0), {}, 0)


def drawn(low, high):
    return {"selection": {"points": [], "box": [{"x": [high, low], "y": [0, 9]}]}}


def test_a_drawn_range_asks_for_the_bins_it_touches():
    assert selecting.from_range(drawn(1.2, 1.4), NLL) == (between("nll", 1.0, 2.0),)
    assert selecting.from_range(drawn(0.2, 1.4), NLL) == (between("nll", None, 2.0),)
    assert selecting.from_range(drawn(-5.0, 0.4), NLL) == (between("nll", None, 1.0),)
    assert selecting.from_range(drawn(1.0, 7.0), NLL) == (between("nll", 1.0, None),)
    for nothing in (drawn(-2, -1), drawn(4, 5), {"selection": {"box": []}}, None):
        assert selecting.from_range(nothing, NLL) == ()


def test_the_last_bin_stands_for_everything_above_when_it_is_wide():
    assert selecting.drawn_edges(NLL.edges) == [0, 1, 2, 3]
    assert selecting.drawn_edges(TAIL.edges) == [0, 1, 2, 3]
    assert selecting.from_range(drawn(2.1, 2.9), TAIL) == (between("nll", 2.0, None),)
    assert selecting.from_range(drawn(1.1, 1.9), TAIL) == (between("nll", 1.0, 2.0),)


def test_a_condition_replaces_the_one_of_its_column_and_nothing_else():
    standing = Filter((one_of("status", ["learned"]), between("nll", 1, None)), "word", "nll", True)
    found = selecting.with_terms(standing, [one_of("status", ["unlearned"]), one_of("stage", [None])])
    assert found.terms == (between("nll", 1, None), one_of("status", ["unlearned"]), one_of("stage", [None]))
    assert (found.text, found.sort, found.descending) == ("word", "nll", True)


def test_an_empty_condition_clears_its_column():
    standing = Filter((one_of("status", ["learned"]), between("nll", 1, None), Term("stage", "not_in", ("a",))))
    for empty in (one_of("status", []), between("nll", None, None), one_of("stage", [])):
        found = selecting.with_terms(standing, [empty])
        assert [t.column for t in found.terms] == [t.column for t in standing.terms if t.column != empty.column]


def test_what_stands_can_be_read_and_removed():
    standing = Filter((one_of("status", ["learned", "partly"]), between("nll", None, 2.0)))
    assert selecting.values_of(standing, "status") == ("learned", "partly")
    assert selecting.values_of(standing, "stage") == ()
    assert selecting.range_of(standing, "nll") == (None, 2.0)
    assert selecting.range_of(standing, "p_exact") == (None, None)
    assert selecting.without(standing, standing.terms[0]).terms == standing.terms[1:]
