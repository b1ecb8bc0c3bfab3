"""Files of answers: read, refused by line and field, and written back."""

import gzip
import json
import math

import pytest

from core.egrm.brought import LONGEST, read_answers, written
from core.egrm.items import load
from core.egrm.policies import policies
from core.egrm.replay import Setting, replay
from core.egrm.route import compact, texts
from core.errors import UserError


def row(i=0, **changes):
    base = {
        "question": f"What is {i} and {i}?", "reference": str(2 * i), "group": "sums", "seconds": [0.25, 2.0],
        "prompt_tokens": [12, 20],
        "direct": [{"text": f"Answer: {2 * i}", "tokens": 4, "temperature": 0.0}, {"text": "Answer: 7", "tokens": 5}],
        "paths": [{"text": f"{i} + {i} = {2 * i}. The answer is {2 * i}.", "tokens": 21, "logp": -0.2, "margin": 1.5}],
    }  # fmt: skip
    return {k: v for k, v in (base | changes).items() if v is not ...}


def file(tmp_path, rows, packed=False):
    text = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows)
    path = tmp_path / ("answers.jsonl.gz" if packed else "answers.jsonl")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_items_replay_as_if_they_had_been_generated_here(tmp_path, packed):
    brought = read_answers(file(tmp_path, [row(i) for i in range(6)], packed))
    assert (brought.m, brought.k, brought.problems) == (2, 1, [])
    items = load(json.loads(json.dumps([compact(r) for r in brought.records])), "numeric")
    seen = replay(items, Setting.of(1.0, 2, 1, "vote"))
    by = {p.name: p for p in policies(items, seen)}
    assert by["path_vote"].accuracy.value == 1 and by["path_vote"].tokens == 21 and by["path_vote"].seconds == 2.0
    assert by["direct_m"].tokens == 9 and by["direct_m"].seconds == 0.25
    assert items.groups == ("sums",) * 6 and items.judged.all()


def test_texts_alone_are_enough_and_what_is_left_out_is_not_measured(tmp_path):
    plain = {
        "question": "2 and 2?",
        "reference": 4,
        "direct": ["4", "5", "4"],
        "paths": ["2 + 2 = 4. The answer is 4."],
    }
    brought = read_answers(file(tmp_path, [plain]))
    kept = json.loads(json.dumps([compact(r) for r in brought.records], allow_nan=False))
    assert kept[0]["probes"][0]["tokens"] is None and kept[0]["seconds"] == [None, None]
    items = load(kept, "numeric")
    seen = replay(items, Setting.of(0.8, 3, 1, "vote"))
    by = {p.name: p for p in policies(items, seen)}
    assert by["egrm"].accuracy.value == 1 and math.isnan(by["egrm"].tokens) and by["egrm"].seconds is None
    assert json.loads(json.dumps(texts(brought.records[0]), allow_nan=False))["paths"][0]["temperature"] is None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON"),
        ("[1]x", "not JSON"),
        (5, "a int, not an object"),
        (row(1, question=...), "question: missing"),
        (row(1, question=" "), "question: a text is wanted"),
        (row(1, reference=[1]), "reference: a text is wanted"),
        (row(1, direct=...), "direct: missing"),
        (row(1, direct=[]), "direct: a list of 1 to 64 texts is wanted"),
        (row(1, direct=["a"] * 65), "direct: a list of 1 to 64 texts is wanted"),
        (row(1, direct=["a"]), "direct: 1 texts; the first item has 2"),
        (row(1, paths=["a", "b"]), "paths: 2 texts; the first item has 1"),
        (row(1, paths=[{"tokens": 3}]), "paths[0].text: missing"),
        (
            row(1, paths=[{"text": "a", "tokens": -1}]),
            "paths[0].tokens: '-1'; a whole number from 0 to 1e+09 is wanted",
        ),
        (row(1, paths=[{"text": "a", "tokens": True}]), "paths[0].tokens: 'True'; a whole number"),
        (row(1, paths=[{"text": "a", "token": 3}]), "paths[0].token: an unknown field; known are text, tokens"),
        (
            row(1, direct=["a", {"text": "b", "logp": 0.5}]),
            "direct[1].logp: '0.5'; a number from -1e+06 to 0 is wanted",
        ),
        (row(1, direct=["a", {"text": "b", "complete": "yes"}]), "direct[1].complete: true or false is wanted"),
        (row(1, seconds=[1]), "seconds: two numbers are wanted"),
        (row(1, seconds=[1, "x"]), "seconds[1]: 'x'; a number from 0 to 1e+09 is wanted"),
        (row(1, answer="x"), "answer: an unknown field"),
        (row(0), "question: the same item came before"),
        ('{"question": ' + "[" * 100_000, "not JSON"),
        (json.dumps(row(1)) + " " * LONGEST, "longer than"),
        (json.dumps(row(1, seconds=[1, 2])).replace("[1, 2]", "[NaN, 2]"), "seconds[0]: 'nan'"),
    ],
)
def test_a_bad_row_is_refused_with_line_and_field_and_harms_no_other(tmp_path, bad, reason):
    brought = read_answers(file(tmp_path, [row(0), bad, row(2)]))
    assert len(brought.records) == 2
    (problem,) = brought.problems
    assert problem.startswith("line 2: ") and reason in problem and len(problem) < 400


def test_a_file_without_items_says_why(tmp_path):
    for rows in ([], ["{"], [row(0, paths=...)]):
        with pytest.raises(UserError, match="holds no answers that could be read"):
            read_answers(file(tmp_path, rows))
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(gzip.compress(json.dumps(row(0)).encode())[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read_answers(damaged)


def test_what_is_written_reads_back_as_it_was(tmp_path):
    records = read_answers(file(tmp_path, [row(i) for i in range(3)])).records
    again = [written(texts(r), compact(r), None) for r in records]
    back = read_answers(file(tmp_path, again))
    assert back.problems == []
    assert [compact(r) for r in back.records] == [compact(r) for r in records]
    assert [texts(r) for r in back.records] == [texts(r) for r in records]
