"""Rows that a trainer tokenised: diagnosed as the same rows in text, and read once a tokenizer is there."""

import json

import pytest

from core.errors import UserError
from core.rendering.decoding import Decoder
from core.rendering.tokenizers import open_tokenizer
from core.services import exports, token_rows
from core.services.jobs import Terminal
from core.signals._instruments import Instruments
from db import samples as table
from db.session import database

PADDED = 3


def tokenised(run):
    """The rows of the run's dataset as its preset trains them, padded on the left."""
    instruments = Instruments(run.spec)
    with database().reading() as conn:
        for sample in table.iter_samples(conn, run.spec.dataset_id):
            row = instruments.supervision(sample)
            labels = [i if trained else -100 for i, trained in zip(row.ids.tolist(), row.trained, strict=True)]
            yield (
                sample,
                {
                    "id": sample.id,
                    "stage": sample.stage,
                    "input_ids": [0] * PADDED + row.ids.tolist(),
                    "labels": [-100] * PADDED + labels,
                    "attention_mask": [0] * PADDED + [1] * len(labels),
                },
            )


@pytest.fixture
def of_ids(final_run, import_rows):
    rows = [row for _, row in tokenised(final_run)]
    return import_rows(rows, "ids.jsonl")


def texts_of(dataset_id):
    with database().reading() as conn:
        return list(table.iter_samples(conn, dataset_id))


def test_ids_and_text_get_the_same_verdicts_and_the_same_turns(tiny_project, final_run, of_ids, diagnose):
    assert of_ids.reading.format == "token_ids"
    assert any("padding is left out" in note for note in of_ids.notes)
    run = diagnose(of_ids, tiny_project.final)
    both = [[json.loads(line) for line in exports.verdict_lines(r.id)] for r in (final_run, run)]
    # Draws depend on the row's hash, so that a status which they decide may differ.
    seen = ("id", "greedy_exact", "nll")
    assert [[v[k] for k in seen] for v in both[0]] == [[v[k] for k in seen] for v in both[1]]
    for text, ids in zip(texts_of(final_run.spec.dataset_id), texts_of(of_ids.id), strict=True):
        turns = [(m.role, m.content) for m in text.messages]
        assert [(m.role, m.content) for m in ids.messages] == turns
        assert ids.notes[-1] == token_rows.READ


def test_before_a_tokenizer_is_there_a_turn_is_its_ids(final_run, of_ids):
    _, row = next(tokenised(final_run))
    prompt, answer, *_ = texts_of(of_ids.id)[0].messages
    learned = [i for i in row["labels"] if i != -100]
    assert (prompt.role, answer.role) == ("user", "assistant")
    assert answer.content == " ".join(map(str, learned))


def test_reading_goes_on_where_it_stopped_and_refuses_another_tokenizer(tiny_project, final_run, of_ids, monkeypatch):
    tokenizer = open_tokenizer(str(tiny_project.final))
    first = texts_of(of_ids.id)[0]
    with database().writing() as conn:
        messages = Decoder(tokenizer).messages(first.tokens)
        table.replace_texts(conn, of_ids.id, [token_rows.as_read(first, messages)])
    token_rows.read_texts(Terminal(lambda *_: None), of_ids.id, tokenizer)
    assert all(s.notes.count(token_rows.READ) == 1 for s in texts_of(of_ids.id))
    plain = open_tokenizer(str(tiny_project.final))
    plain.chat_template = None
    with pytest.raises(UserError, match="read with another tokenizer"):
        token_rows.read_texts(Terminal(lambda *_: None), of_ids.id, plain)
