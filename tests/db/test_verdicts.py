"""Filters, pages and counts against naive twins over lists of dicts."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from sqlalchemy import event, inspect

from core.errors import UserError
from core.types import Column, Filter, Message, Status, Term
from db import runs, verdicts
from tests import postgresql

COLUMNS = (
    Column("status", "category", "Status", indexed=True),
    Column("nll", "number", "NLL", indexed=True),
    Column("length", "number", "Length"),
    Column("greedy", "flag", "Greedy", indexed=True),
    Column("note", "text", "Note"),
)
N = 240


@pytest.fixture
def rows():
    rng = random.Random(3)
    return [
        {
            "ordinal": i,
            "sid": f"id-{i}",
            "status": rng.choice(["learned", "unlearned", "partly", None]),
            "nll": rng.choice([None, 0.0, 0.5, 1.25, 1.25, 2.0, rng.random()]),
            "length": float(rng.randrange(1, 9)),
            "greedy": rng.choice([0, 1, None]),
            "note": rng.choice(["a", "B", "ä", None]),
        }
        for i in range(N)
    ]


@pytest.fixture
def run(db, rows, make_dataset, make_sample, make_run):
    dataset = make_dataset([make_sample(i, f"Question number {i}") for i in range(N)])
    made = make_run(dataset.id, COLUMNS)
    write(db, made, rows)
    return made


def write(db, run, rows):
    values = {c.name: [r[c.name] for r in rows] for c in run.columns}
    with db.writing() as conn:
        verdicts.write_verdicts(conn, run, values, [r["ordinal"] for r in rows], [r["sid"] for r in rows])


def kept(row, chosen):
    """The naive twin of a filter without text."""
    for term in chosen.terms:
        value = row[term.column]
        if term.op == "range":
            low, high = term.values
            if value is None or (low is not None and value < low) or (high is not None and value > high):
                return False
        elif (value in term.values) == (term.op == "not_in"):
            return False
    return True


def in_order(rows, chosen):
    """The naive twin of ORDER BY sort NULLS LAST, ordinal."""
    found = [r for r in rows if kept(r, chosen)]
    measured = [r for r in found if r[chosen.sort] is not None]
    absent = [r for r in found if r[chosen.sort] is None]
    measured.sort(key=lambda r: (r[chosen.sort], r["ordinal"]), reverse=chosen.descending)
    absent.sort(key=lambda r: r["ordinal"], reverse=chosen.descending)
    return [r["ordinal"] for r in measured + absent]


TERMS = [
    (),
    (Term("status", "in", ("unlearned",)),),
    (Term("status", "in", ("unlearned", None)),),
    (Term("status", "in", (None,)), Term("greedy", "in", (1,))),
    (Term("status", "in", ()),),
    (Term("status", "not_in", ("learned", "partly")),),
    (Term("status", "not_in", ("learned", None)),),
    (Term("status", "not_in", ()),),
    (Term("nll", "range", (0.5, 1.25)),),
    (Term("nll", "range", (None, 1.25)), Term("length", "range", (3, None))),
    (Term("nll", "range", (None, None)),),
    (Term("nll", "in", (1.25, None)),),
    (Term("greedy", "not_in", (0,)), Term("note", "in", ("ä", "B"))),
    (Term("ordinal", "range", (9.5, 99)), Term("sid", "not_in", ("id-30",))),
]


def test_filters_agree_with_the_twin(db, run, rows):
    for terms in TERMS:
        check_filter(db, run, rows, Filter(terms))


def check_filter(db, run, rows, chosen):
    expected = [r for r in rows if kept(r, chosen)]
    with db.reading() as conn:
        assert list(verdicts.ordinals(conn, run, chosen, batch=7)) == [r["ordinal"] for r in expected]
        assert verdicts.count(conn, run, chosen) == len(expected)
        counts = verdicts.group_counts(conn, run, ["status"], chosen)
        assert {status: n for (status,), n in counts} == Counter(r["status"] for r in expected)
        groups = verdicts.group_counts(conn, run, ["status", "greedy"], chosen)
        assert dict(groups) == Counter((r["status"], r["greedy"]) for r in expected)


@pytest.mark.parametrize("terms", [(), TERMS[5], TERMS[10], TERMS[4]], ids=["all", "some", "measured", "none"])
def test_pages_together_are_the_ordered_list(db, run, rows, terms):
    for sort in ("ordinal", "sid", "status", "nll", "length", "greedy", "note"):
        for descending in (False, True):
            chosen = Filter(terms, sort=sort, descending=descending)
            expected = in_order(rows, chosen)
            assert walked(db, run, chosen, False) == expected, chosen
            assert walked(db, run, chosen, True)[::-1] == expected, chosen


def walked(db, run, chosen, backwards):
    """Ordinals of all pages of 17 rows, in the order in which they are met."""
    met, cursor, first = [], None, True
    with db.reading() as conn:
        while first or cursor is not None:
            page, previous, following = verdicts.page(conn, run, chosen, cursor, 17, backwards)
            cursor, came_from = (previous, following) if backwards else (following, previous)
            assert (came_from is None) == (first or not page)
            assert len(page) == 17 or cursor is None
            met += [r["ordinal"] for r in (reversed(page) if backwards else page)]
            first = False
    return met


def test_there_and_back_again(db, run):
    chosen = Filter(sort="nll", descending=True)
    with db.reading() as conn:
        first, none, following = verdicts.page(conn, run, chosen, limit=20)
        second, previous, _ = verdicts.page(conn, run, chosen, following, limit=20)
        again, before, behind = verdicts.page(conn, run, chosen, previous, limit=20, backwards=True)
        assert none is None and again == first and before is None and behind == following
        assert not {r["sid"] for r in first} & {r["sid"] for r in second}


def test_a_row_holds_values_and_previews(db, run, rows):
    with db.reading() as conn:
        found = verdicts.row(conn, run, "id-7")
        assert {k: found[k] for k in rows[7]} == rows[7]
        assert (found["prompt"], found["response"]) == ("Question number 7", "It is this.")
        assert (found["row"], found["copies"], found["n_turns"]) == (7, 1, 1)
        with pytest.raises(UserError, match="'id-999'"):
            verdicts.row(conn, run, "id-999")


@pytest.mark.parametrize("descending", [False, True])
def test_neighbours(db, run, rows, descending):
    chosen = Filter(TERMS[5], sort="nll", descending=descending)
    ids = [f"id-{o}" for o in in_order(rows, chosen)]
    with db.reading() as conn:
        for i in (0, 1, len(ids) // 2, len(ids) - 1):
            expected = (ids[i - 1] if i else None, ids[i + 1] if i + 1 < len(ids) else None)
            assert verdicts.neighbours(conn, run, chosen, ids[i]) == expected


def test_columns_come_in_training_order(db, run, rows):
    with db.reading() as conn:
        found = verdicts.verdict_columns(conn, run, ["sid", "nll", "greedy", "status"])
    assert found["sid"].tolist() == [r["sid"] for r in rows]
    assert found["status"].tolist() == [r["status"] for r in rows]
    for name in ("nll", "greedy"):
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], [math.nan if r[name] is None else r[name] for r in rows])


def test_rows_by_ordinal(db, run, rows):
    wanted = [*range(200), 3]
    with db.reading() as conn:
        assert verdicts.judged(conn, run, wanted) == {i: rows[i] for i in wanted}
        assert verdicts.judged(conn, run, []) == {}


@pytest.mark.parametrize("terms", [(), TERMS[1], TERMS[4]], ids=["all", "some", "none"])
def test_cube_counts_what_a_loop_counts(db, run, rows, terms):
    chosen, edges = Filter(terms), [0.0, 0.5, 1.0, 1.25]

    def place(value):
        if value is None:
            return -1
        if not edges[0] <= value <= edges[-1]:
            return -2
        return min(sum(value >= e for e in edges) - 1, len(edges) - 2)

    counts = Counter((row["status"], place(row["nll"])) for row in rows if kept(row, chosen))
    with db.reading() as conn:
        cells = verdicts.cube(conn, run, ["status"], {"nll": edges}, chosen)
    assert dict(cells) == counts


TEXTS = ["100% sure", "100 sure", "snake_case", "snakeXcase", "back\\slash", 'say "hi"\nnow', "ÄRGER, straße", "Role"]


NEEDLES = ["%", "_", "0%", "e_c", "\\", "\\s", '"hi"\nn', "ärger", "STRASSE", "snake", "role", "user", "zzz", "ID-3"]


def test_searched_text_is_taken_as_it_stands(db, make_dataset, make_sample, make_run):
    made = [make_sample(i, text, "Fine.") for i, text in enumerate(TEXTS)]
    run = make_run(make_dataset(made).id)
    write(db, run, [{"ordinal": s.ordinal, "sid": s.id, "status": None} for s in made])
    with db.reading() as conn:
        for needle in NEEDLES:
            wanted = needle.casefold()
            expected = [s.ordinal for s in made if wanted in s.prompt.casefold() or wanted in s.id]
            assert list(verdicts.ordinals(conn, run, Filter(text=needle))) == expected, needle


def test_all_turns_tools_and_calls_are_searched(db, make_dataset, make_sample, make_run):
    turns = (
        Message("system", "one"),
        Message("assistant", "two", tool_calls='["three"]'),
        Message("assistant", "four"),
    )
    run = make_run(make_dataset([make_sample(0, messages=turns, tools='["five"]')]).id)
    write(db, run, [{"ordinal": 0, "sid": "id-0", "status": None}])
    with db.reading() as conn:
        for needle in ("one", "two", "three", "four", "five", "id-0"):
            assert verdicts.count(conn, run, Filter(text=needle)) == 1


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        (Filter((Term("nil", "in", ("x",)),)), "Did you mean 'nll'"),
        (Filter(sort='nll"; DROP TABLE runs; --'), "no column"),
        (Filter((Term("nll", "range", ("low", None)),)), "not a number"),
        (Filter((Term("nll", "range", (math.nan, None)),)), "not a number"),
        (Filter((Term("nll", "range", (1,)),)), "two"),
        (Filter((Term("status", "range", ("a", "b")),)), "not a number"),
        (Filter((Term("status", "like", ("a",)),)), "in, not_in, range"),
        (Filter(text="x" * 1001), "1001"),
    ],
)
def test_filters_that_make_no_sense(db, run, chosen, named):
    with db.reading() as conn, pytest.raises(UserError, match=named):
        verdicts.page(conn, run, chosen)


def test_cursors_from_outside_are_checked(db, run):
    for cursor in ((1.0,), (1.0, "x"), (1.0, 2**63), ("x", 1), (1.0, math.inf), 5):
        with db.reading() as conn, pytest.raises(UserError):
            verdicts.page(conn, run, Filter(sort="nll"), cursor)


def test_writing_again_replaces_everything(db, run, rows):
    fewer = [dict(r, status="learned") for r in rows[:10]]
    write(db, run, fewer)
    with db.reading() as conn:
        assert verdicts.group_counts(conn, run, ["status"], Filter()) == [(("learned",), 10)]
        indexes = {tuple(i["column_names"]) for i in inspect(conn).get_indexes(f"verdicts_{run.id}")}
    # One for each order, and one that counting reads alone.
    assert indexes == {(c, "ordinal") for c in ("sid", "status", "nll", "greedy")} | {
        ("status", "greedy", "nll", "ordinal")
    }


def test_every_spelling_of_not_measured(db, make_dataset, make_sample, make_run):
    run = make_run(make_dataset([make_sample(i) for i in range(3)]).id, COLUMNS)
    nothing = np.array([np.nan, 1.0, np.nan])
    values = {
        "status": [None, Status.LEARNED, math.nan], "nll": nothing, "length": [None, 1, np.nan],
        "greedy": [None, True, math.nan], "note": np.array([None, "x", np.nan], dtype=object),
    }  # fmt: skip
    with db.writing() as conn:
        verdicts.write_verdicts(conn, run, values, range(3), ["id-0", "id-1", "id-2"])
    with db.reading() as conn:
        for column in COLUMNS:
            absent = Filter((Term(column.name, "in", (None,)),))
            assert list(verdicts.ordinals(conn, run, absent)) == [0, 2]
        assert verdicts.row(conn, run, "id-1") | {"status": "learned", "greedy": 1} == verdicts.row(conn, run, "id-1")


def test_declared_and_given_columns_must_agree(db, run):
    with db.writing() as conn, pytest.raises(ValueError, match="length"):
        verdicts.write_verdicts(conn, run, {"status": [], "nll": [], "greedy": [], "note": []}, [], [])


@pytest.mark.parametrize("names", [("Bad",), ("a b",), ("ordinal",), ("x", "x"), ('x"',), ("x" * 64,)])
def test_column_names_are_identifiers(db, make_dataset, make_sample, make_run, names):
    dataset = make_dataset([make_sample(0)])
    with pytest.raises(ValueError, match="cannot be a column"):
        make_run(dataset.id, tuple(Column(n, "number", "x") for n in names))


def test_other_columns_empty_the_table(db, run):
    columns = (*COLUMNS[:2], Column("extra", "number", "Extra"))
    with db.writing() as conn:
        changed = runs.set_run(conn, run.id, columns=columns)
        assert changed.columns == columns
        assert verdicts.count(conn, changed, Filter()) == 0
        assert verdicts.group_counts(conn, changed, ["extra"], Filter()) == []


@pytest.mark.skipif(bool(postgresql.SERVER), reason="of SQLite")
def test_pages_walk_along_an_index(db, run):
    for sort in ("ordinal", "nll", "status", "sid"):
        for descending in (False, True):
            plans = planned(db, run, Filter((Term("length", "range", (2, None)),), sort=sort, descending=descending))
            assert plans
            assert not [step for plan in plans for step in plan if "TEMP B-TREE" in step[3]], (sort, descending, plans)


def planned(db, run, chosen):
    """SQLite's plans for the queries of the second page."""
    seen = []

    def record(conn, cursor, statement, parameters, context, many):
        seen.append((statement, parameters))

    with db.reading() as conn:
        _, _, cursor = verdicts.page(conn, run, chosen, limit=10)
        event.listen(db.engine, "before_cursor_execute", record)
        verdicts.page(conn, run, chosen, cursor, limit=10)
        event.remove(db.engine, "before_cursor_execute", record)
        return [conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {s}", p).all() for s, p in seen]
