"""The filter survives the way into a URL and back, whatever the values are."""

import random
from urllib.parse import parse_qsl, urlencode

import pytest

from core.errors import UserError
from core.filters import describe, from_query, to_query, to_text
from core.types import Column, Filter, Term

COLUMNS = (
    Column("status", "category", "Status"),
    Column("stage", "category", "Stage"),
    Column("nll", "number", "Loss"),
    Column("greedy_exact", "flag", "Verbatim"),
)
NASTY = ["a,b", "100%", "~", "x=y&z", "ü 中", "..", "", "a%2Cb", "!", "?", "#", "<b>", "+", " ", "\n", "%7E"]


def test_every_value_survives_the_address():
    rng = random.Random(0)
    for _ in range(300):
        values = tuple(rng.sample([*NASTY, None], rng.randint(1, 5)))
        terms = [Term(rng.choice(["status", "stage"]), rng.choice(["in", "not_in"]), values)]
        if rng.random() < 0.5:
            low, high = sorted(rng.uniform(-5, 5) for _ in range(2))
            bounds = rng.choice([(low, high), (None, high), (low, None), (None, None)])
            terms.append(Term("nll", "range", tuple(None if b is None else float(f"{b:.6g}") for b in bounds)))
        if rng.random() < 0.5:
            terms.append(Term("greedy_exact", "in", rng.choice([(1,), (0, None), (None,)])))
        wanted = Filter(
            tuple(terms), rng.choice(["", "q&q=%", " héé"]), rng.choice(["nll", "ordinal"]), rng.random() < 0.5
        )
        sent = urlencode(to_query(wanted))
        assert from_query(dict(parse_qsl(sent, keep_blank_values=True)), COLUMNS) == wanted
        assert from_query("?" + to_text(wanted), COLUMNS) == wanted


def test_empty_filter_writes_nothing():
    assert to_query(Filter()) == {}
    assert describe(Filter()) == "all samples"


def test_page_keys_are_no_conditions():
    assert from_query("run=3&sample=x&status=learned", COLUMNS) == Filter((Term("status", "in", ("learned",)),))


def test_one_number_means_exactly_that():
    assert from_query("nll=2", COLUMNS).terms == (Term("nll", "range", (2.0, 2.0)),)


@pytest.mark.parametrize("query", ["statu=x", "sort=nope", "nll=abc..", "nll=nan", "greedy_exact=7", "nll=1..x"])
def test_what_is_wrong_is_named(query):
    with pytest.raises(UserError) as caught:
        from_query(query, COLUMNS)
    assert any(part in str(caught.value) for part in ("There are:", "is not a range", "is not a choice"))
