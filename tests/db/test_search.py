"""The index of searched texts: it finds what reading them finds, whatever was written, replaced or deleted."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import inspect

from core.types import Filter, Message
from db import outputs, runs, samples, search, verdicts
from tests.db.test_verdicts import write

ROOT = Path(__file__).parents[2]
LETTERS = 'ab"ä %_\\犬\nO'


def made_up(random_, n=12):
    return "".join(random_.choices(LETTERS, k=random_.randrange(1, n)))


def test_what_is_found_is_what_reading_finds(db, make_dataset, make_sample, make_run):
    draw = random.Random(0)
    texts = [made_up(draw, 30) for _ in range(60)]
    made = [make_sample(i, text, "Fine.") for i, text in enumerate(texts)]
    make_dataset([make_sample(i, "aaaa", "bbbb") for i in range(5)], name="another dataset")
    run = make_run(make_dataset(made).id)
    write(db, run, [{"ordinal": s.ordinal, "sid": s.id, "status": None} for s in made])
    answers = {i: made_up(draw) for i in range(0, 60, 7)}
    with db.writing() as conn:
        outputs.write_outputs(conn, run.id, [(0, "forgotten again")])
        outputs.write_outputs(conn, run.id, answers.items())
        # A text that is stored anew, as where a tokenizer reads token ids.
        other = replace(made[3], messages=(Message("user", "entirely new"), Message("assistant", "Fine.")))
        samples.replace_texts(conn, run.spec.dataset_id, [other])
    texts[3] = "entirely new"
    with db.reading() as conn:
        for needle in [*(made_up(draw, 6) for _ in range(300)), "entirely", "forgotten", "fine", "id-7"]:
            wanted = needle.casefold()
            expected = [
                i
                for i, text in enumerate(texts)
                if any(wanted in t.casefold() for t in (text, "Fine.", f"id-{i}", answers.get(i, "")))
            ]
            if not needle.strip() or "\n" in needle:
                continue  # such a needle may stand between two texts
            assert list(verdicts.ordinals(conn, run, Filter(text=needle))) == expected, needle


def test_an_index_goes_with_its_owner(db, make_dataset, make_sample, make_run):
    if db.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL reads the texts")
    dataset = make_dataset([make_sample(0)])
    run = make_run(dataset.id)
    with db.reading() as conn:
        names = {n for n in inspect(conn).get_table_names() if n.startswith("search_")}
        assert {f"search_sample_bodies_{dataset.id}", f"search_run_outputs_{run.id}"} <= names
    with db.writing() as conn:
        runs.delete_run(conn, run.id)
        samples.delete_dataset(conn, dataset.id)
    with db.reading() as conn:
        assert not [n for n in inspect(conn).get_table_names() if n.startswith("search_")]


def test_an_older_database_gets_its_indexes(db, make_dataset, make_sample, make_run):
    if db.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL reads the texts")
    from alembic import command
    from alembic.config import Config

    made = [make_sample(i, f"What is on flag {i}?") for i in range(3)]
    run = make_run(make_dataset(made).id)
    write(db, run, [{"ordinal": s.ordinal, "sid": s.id, "status": None} for s in made])
    with db.writing() as conn:
        outputs.write_outputs(conn, run.id, [(1, "a heron")])
    config = Config()
    config.set_main_option("script_location", str(ROOT / "db" / "migrations"))
    for act, to in ((command.downgrade, "0012"), (command.upgrade, "head")):
        with db.writing() as conn:
            config.attributes["connection"] = conn
            act(config, to)
            assert bool([n for n in inspect(conn).get_table_names() if n.startswith("search_")]) == (to == "head")
    with db.reading() as conn:
        assert list(verdicts.ordinals(conn, run, Filter(text="flag 2"))) == [2]
        assert list(verdicts.ordinals(conn, run, Filter(text="heron"))) == [1]


def test_the_index_is_what_is_asked(db, make_dataset, make_sample, make_run):
    if db.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL reads the texts")
    run = make_run(make_dataset([make_sample(0)]).id)
    condition = search.holding(verdicts.verdicts(run).c.ordinal, {samples.sample_bodies: run.spec.dataset_id}, "flag")
    assert "MATCH" in str(condition.compile(db.engine))
