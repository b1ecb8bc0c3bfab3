"""Measurements are stored once and found again."""

import numpy as np
import pytest

from core.types import Chunk
from db import signals


def chunk(keys, details=(), **columns):
    return Chunk("m", tuple(keys), {k: np.array(v, dtype=np.float64) for k, v in columns.items()}, details)


@pytest.fixture
def measure(db):
    with db.writing() as conn:
        return signals.measure_id(conn, "m", "likelihood", "abc", {"version": 1})


def test_a_key_has_one_measure(db, measure):
    with db.writing() as conn:
        assert signals.measure_id(conn, "m", "likelihood", "abc", {"version": 1}) == measure
        other = signals.measure_id(conn, "n", "likelihood", "abc", {})
        assert other != measure
    with db.reading() as conn:
        assert signals.find_measures(conn, ["n", "m", "x"]) == {"m": measure, "n": other}


def test_each_measurement_is_stored_once(db, measure):
    with db.writing() as conn:
        assert signals.missing(conn, measure, ["a", "b", "a", "c"]) == ["a", "b", "c"]
        assert signals.store_chunk(conn, measure, chunk("ab", ({"x": 1}, None), nll=[1, 2]), "first") == 2
        assert signals.store_chunk(conn, measure, chunk("bc", ({"x": 1}, {"x": 1}), nll=[9, 3]), "second") == 1
        assert signals.store_chunk(conn, measure, chunk("ca", nll=[9, 9]), "third") == 0
        assert signals.store_chunk(conn, measure, chunk("", nll=[])) == 0
        assert signals.missing(conn, measure, ["d", "a", "b", "c"]) == ["d"]
        assert signals.table(conn, [("", measure)], list("abc")).get("nll").tolist() == [1, 2, 3]
        assert signals.detail_refs(conn, measure, list("abcd")) == {"a": ("first", 0), "c": ("second", 1)}


def test_details_are_found_among_more_samples_than_a_statement_takes(db, measure):
    with db.writing() as conn:
        signals.store_chunk(conn, measure, chunk("ab", ({"x": 1}, None), nll=[1, 2]), "first")
    with db.reading() as conn:
        many = [*(f"unseen {i}" for i in range(260_000)), "a"]
        assert signals.detail_refs(conn, measure, many) == {"a": ("first", 0)}


def test_columns_side_by_side(db, measure):
    rng = np.random.default_rng(0)
    hashes = [f"h{i}" for i in range(700)]
    final = dict(zip(hashes[:650], rng.normal(size=650), strict=True))
    base = dict(zip(hashes[100:], rng.normal(size=600), strict=True))
    final["h3"] = np.nan
    base["h200"], base["h201"] = np.inf, -np.inf
    with db.writing() as conn:
        other = signals.measure_id(conn, "base", "likelihood", "abc", {})
        signals.store_chunk(conn, measure, chunk(final, nll=list(final.values()), flag=[1] * 650))
        signals.store_chunk(conn, other, chunk(base, nll=list(base.values())))
    asked = [*reversed(hashes), "h5", "h5", "unseen"]
    for few in (asked, asked[:9]):
        with db.reading() as conn:
            found = signals.table(conn, [("", measure), ("base.", other)], few)
        assert found.keys == tuple(few)
        np.testing.assert_array_equal(found.get("nll"), [final.get(h, np.nan) for h in few])
        np.testing.assert_array_equal(found.get("base.nll"), [base.get(h, np.nan) for h in few])
        assert np.isnan(found.get("never")).all()
    with db.reading() as conn, pytest.raises(ValueError, match="nll"):
        signals.table(conn, [("", measure), ("", other)], asked)


def test_chunks_must_be_rectangular(db, measure):
    with db.writing() as conn, pytest.raises(ValueError, match="argument"):
        signals.store_chunk(conn, measure, chunk("ab", nll=[1.0]))
