"""Datasets go in and come out as they were."""

from collections import Counter

import pytest
from sqlalchemy import select

from core.errors import UserError
from core.types import Message, Problem, Reading, content_hash
from db import samples
from db.models import sample_bodies


def test_a_sample_comes_back_whole(db, make_sample, make_dataset):
    messages = (
        Message("system", "Speak.\nBriefly.", name="boss"),
        Message("user", 'Quotes " and \\ and \u2028', train=False),
        Message("assistant", "", tool_calls='[{"id": 1}]', train=True),
        Message("tool", "42"),
        Message("assistant", "Ελληνικά 漢字 😀"),
    )
    whole = make_sample(
        0, messages=messages, tools='[{"type": "function"}]', stage="sft", source="web", raw=b"\xff\x00 raw",
        content_hash=content_hash(messages, "chat", None), notes=("empty turn kept",), row=7,
    )  # fmt: skip
    dataset = make_dataset([whole])
    with db.reading() as conn:
        assert samples.get_sample(conn, dataset.id, "id-0") == whole
        assert list(samples.iter_samples(conn, dataset.id)) == [whole]


@pytest.mark.parametrize("hostile", ["lone \ud800 surrogate", "nul \x00 here", "'; DROP TABLE samples; --"])
def test_any_text_is_kept(db, make_sample, make_dataset, hostile):
    sample = make_sample(0, hostile, hostile, id=hostile, stage=hostile)
    dataset = make_dataset([sample], [Problem(1, None, hostile, hostile, hostile, b"\x00")])
    with db.reading() as conn:
        found = samples.get_sample(conn, dataset.id, hostile)
        assert found.messages == sample.messages
        assert [p.raw for p in samples.problems(conn, dataset.id)] == [b"\x00"]


def test_order_ranges_and_choices(db, make_sample, make_dataset):
    made = [make_sample(i, f"question {i}") for i in range(25)]
    dataset = make_dataset(list(reversed(made)))
    with db.reading() as conn:
        assert list(samples.iter_samples(conn, dataset.id, batch=4)) == made
        assert list(samples.iter_samples(conn, dataset.id, range(3, 20, 2), batch=4)) == made[3:20:2]
        assert list(samples.iter_samples(conn, dataset.id, iter([9, 2, 2, 11]), batch=3)) == [
            made[9], made[2], made[2], made[11],
        ]  # fmt: skip
        assert list(samples.raw_rows(conn, dataset.id, batch=7)) == [(s.ordinal, s.raw) for s in made]
        assert list(samples.raw_rows(conn, dataset.id, [5, 1])) == [(5, made[5].raw), (1, made[1].raw)]
        assert samples.content_hashes(conn, dataset.id) == [s.content_hash for s in made]
        assert samples.first_of(conn, dataset.id, [made[7].content_hash, made[2].content_hash, "none"]) == {
            made[2].content_hash: 2, made[7].content_hash: 7,
        }  # fmt: skip
        told = samples.order(conn, dataset.id)
        assert told["sid"] == [s.id for s in made] and told["row"] == told["ordinal"] == list(range(25))
        assert told["stage"] == told["source"] == [None] * 25
        with pytest.raises(LookupError, match="25"):
            list(samples.raw_rows(conn, dataset.id, [5, 25]))


def test_counts_are_those_of_the_rows(db, make_sample, make_dataset):
    texts = ["a", "b", "a", "c", "a", "b"]
    made = [
        make_sample(i, text, stage=stage, source=source)
        for i, (text, stage, source) in enumerate(
            zip(texts, ["two", "one", "two", None, "one", None], ["z", "z", "y", "x", "z", None], strict=True)
        )
    ]
    dataset = make_dataset(made, [Problem(6, 7, "messages", "no turns"), Problem(7, 8, None, "half a line")])
    assert (dataset.n_rows, dataset.n_samples, dataset.n_problems) == (8, 6, 2)
    assert dataset.n_duplicates == len(texts) - len(set(texts))
    assert (dataset.stages, dataset.sources) == (("two", "one"), ("z", "y", "x"))
    with db.reading() as conn:
        copies = conn.execute(select(samples.samples.c.copies).order_by(samples.samples.c.ordinal)).scalars().all()
        assert copies == [Counter(texts)[t] for t in texts]
        assert samples.list_datasets(conn) == [dataset]
        assert dataset.reading == Reading("jsonl", "messages", {"messages": "m"})


def test_nothing_is_dropped_silently(db, make_sample):
    with pytest.raises(ValueError, match="3 rows in"), db.writing() as conn:
        dataset_id = samples.create_dataset(conn, "x", ["x"], Reading("jsonl", "messages", {}))
        samples.add_samples(conn, dataset_id, [make_sample(0), make_sample(1)])
        samples.finish_dataset(conn, dataset_id, 3, "fp")


def test_a_finished_dataset_is_closed(db, make_sample, make_dataset):
    dataset = make_dataset([make_sample(0)])
    with pytest.raises(LookupError), db.writing() as conn:
        samples.add_samples(conn, dataset.id, [make_sample(1)])


def test_dead_imports_are_collected_and_live_ones_are_not(db, make_sample, make_dataset):
    finished = make_dataset([make_sample(0)])
    reading = Reading("jsonl", "messages", {})
    with db.writing() as conn:
        dead = samples.create_dataset(conn, "dead", ["x"], reading, clock=lambda: 0.0)
        live = samples.create_dataset(conn, "live", ["x"], reading, clock=lambda: 0.0)
        samples.add_samples(conn, dead, [make_sample(0)], clock=lambda: 10.0)
        samples.add_samples(conn, live, [make_sample(0)], clock=lambda: 90.0)
        assert samples.delete_unfinished(conn, untouched_for=50.0, clock=lambda: 100.0) == [dead]
        assert [d.id for d in samples.list_datasets(conn)] == [finished.id]
        assert set(conn.execute(select(sample_bodies.c.dataset_id)).scalars()) == {finished.id, live}
        with pytest.raises(LookupError):
            samples.add_samples(conn, dead, [make_sample(1)])
        with pytest.raises(UserError, match=f"no dataset {live}"):
            samples.get_dataset(conn, live)


def test_problems_in_pages(db, make_sample, make_dataset):
    rejected = [Problem(row, row + 1, "messages", f"bad {row}", "a.jsonl", b"{}") for row in (1, 4, 5, 9)]
    dataset = make_dataset([make_sample(0)], rejected)
    with db.reading() as conn:
        first = samples.problems(conn, dataset.id, limit=3)
        assert first + samples.problems(conn, dataset.id, after=first[-1].row) == rejected


def test_delete(db, make_sample, make_dataset, make_run):
    dataset, other = make_dataset([make_sample(0)]), make_dataset([make_sample(0)], name="other")
    run = make_run(other.id)
    with db.writing() as conn:
        samples.delete_dataset(conn, dataset.id)
        with pytest.raises(UserError, match=f"run {run.id}"):
            samples.delete_dataset(conn, other.id)
        for absent in (samples.get_dataset, samples.delete_dataset):
            with pytest.raises(UserError, match="no dataset"):
                absent(conn, dataset.id)
        assert samples.content_hashes(conn, dataset.id) == []
        assert list(samples.iter_samples(conn, other.id)) == [make_sample(0)]
        with pytest.raises(UserError, match="'id-9'"):
            samples.get_sample(conn, other.id, "id-9")
