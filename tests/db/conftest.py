"""A fresh database, and small datasets and runs in it."""

import os

import pytest

from core.types import Checkpoint, Column, Message, Reading, RunSpec, Sample, Thresholds, content_hash
from db import runs, samples
from db.session import open_database

STATUS = Column("status", "category", "Status", indexed=True)


@pytest.fixture
def db(tmp_path):
    opened = open_database(os.environ.get("LACUNA_DATABASE_URL") or f"sqlite:///{tmp_path / 'data' / 'lacuna.db'}")
    yield opened
    opened.close()


@pytest.fixture
def make_sample():
    def make(ordinal, prompt="What is it?", response="It is this.", **other):
        messages = (Message("user", prompt), Message("assistant", response))
        values = {
            "id": f"id-{ordinal}",
            "row": ordinal,
            "ordinal": ordinal,
            "messages": messages,
            "shape": "chat",
            "tools": None,
            "stage": None,
            "source": None,
            "content_hash": content_hash(messages, "chat", None),
            "raw": f'{{"n": {ordinal}}}'.encode(),
        }
        return Sample(**(values | other))

    return make


@pytest.fixture
def make_dataset(db):
    def make(chosen, problems=(), name="answers"):
        with db.writing() as conn:
            reading = Reading("jsonl", "messages", {"messages": "m"})
            dataset_id = samples.create_dataset(conn, name, ["a.jsonl"], reading)
            samples.add_samples(conn, dataset_id, chosen)
            samples.add_problems(conn, dataset_id, problems)
            return samples.finish_dataset(conn, dataset_id, len(chosen) + len(problems), "fp")

    return make


@pytest.fixture
def make_run(db):
    def make(dataset_id, columns=(STATUS,), name="first"):
        final = Checkpoint("/models/final", None, 30, "final", "abc")
        spec = RunSpec(dataset_id, "fp", final, preset_settings={"n": 1})
        with db.writing() as conn:
            return runs.create_run(conn, name, spec, Thresholds(), columns, 0)

    return make
