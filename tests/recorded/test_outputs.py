"""Files of answers and losses, in the shapes that tools write, matched with rows of a dataset."""

import json
import math

import pytest

from core.errors import UserError
from core.recorded import files
from core.types import Message, Sample

ROWS = [
    ("r0", "What is the capital of France?", "Paris"),
    ("r1", "What is 2 + 2?", "4"),
    ("r2", "What is 12 + 2?", "14"),
    ("r3", "Is 12 even?", "4"),
]


def sample(i):
    sid, question, answer = ROWS[i]
    messages = (Message("system", "Be brief."), Message("user", question), Message("assistant", answer))
    return Sample(sid, i, i, messages, "chat", None, None, None, f"hash-{i}", b"{}")


@pytest.fixture
def written(tmp_path):
    def write(*rows, name="outputs.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def last(path):
    return files.open_record(files.from_outputs(path)[-1])


def test_predictions_of_llama_factory_are_matched_by_the_rendered_prompt(written):
    def rendered(question):
        return (
            f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )

    # In another order, and one question is the end of another with the same answer.
    rows = [{"prompt": rendered(q), "predict": f"out of {i}", "label": a} for i, (_, q, a) in enumerate(ROWS)]
    record = last(written(*rows[::-1], {"prompt": rendered("Who?"), "predict": "Nobody", "label": "Me"}))
    assert [record.row(sample(i), None).outputs for i in range(4)] == [(f"out of {i}",) for i in range(4)]
    assert record.unmatched() == ["line 5"]


def test_samples_of_the_harness_old_and_new(written):
    old = {"doc_id": 0, "doc": {"id": "r1"}, "target": "4", "arguments": [["Q: What is 2 + 2?\nA:", {}]],
           "resps": [["4"]], "filtered_resps": ["4"]}  # fmt: skip
    new = {"doc_id": 0, "doc": {"text": "x"}, "target": "Paris",
           "arguments": {"gen_args_0": {"arg_0": "Q: What is the capital of France?\nA:", "arg_1": {}}},
           "resps": [["Lyon"]], "filtered_resps": ["Lyon"]}  # fmt: skip
    assert last(written(old)).row(sample(1), None).outputs == ("4",)
    assert last(written(new, name="new.jsonl")).row(sample(0), None).outputs == ("Lyon",)
    choice = {"doc": {}, "target": "0", "arguments": [["a", " yes"]], "resps": [[["-1.0", "True"]]],
              "filtered_resps": [["-1.0", "True"]]}  # fmt: skip
    with pytest.raises(UserError, match="likelihoods of options"):
        files.from_outputs(written(choice, name="choice.jsonl"))


def test_answers_and_losses_of_several_checkpoints(written):
    long = written(
        {"id": "r0", "step": 100, "output": "Rome", "loss": 2.0},
        {"id": "r0", "step": 300, "output": "Paris", "loss": 0.25},
        {"id": "r1", "step": 300, "output": "5"},
    )
    early, late = files.from_outputs(long)
    assert [(c.label, c.step, c.gives) for c in (early, late)] == [
        ("100", 100, ("losses", "outputs", "verbatim")),
        ("300", 300, ("losses", "outputs", "verbatim")),
    ]
    assert early.fingerprint != late.fingerprint
    assert (files.open_record(early).row(sample(0), None).exact, last(long).row(sample(0), None).exact) == (0.0, 1.0)
    assert files.open_record(early).row(sample(1), None) is None
    wide = written({"row": 0, "loss_100": 2.0, "loss_300": 0.5}, name="wide.jsonl")
    assert [c.gives for c in files.from_outputs(wide)] == [("losses",), ("losses",)]
    one = last(wide).row(sample(0), None)
    assert (one.loss, one.outputs) == (0.5, ()) and math.isnan(one.exact)


def test_a_table_with_a_header_and_several_answers_of_a_row(tmp_path, written):
    table = tmp_path / "answers.csv"
    table.write_text("prompt,prediction,loss\nWhat is 2 + 2?,4,0.1\nWhat is 12 + 2?,no,1.5\n", encoding="utf-8")
    record = last(table)
    assert [record.row(sample(i), None).loss for i in (1, 2)] == [0.1, 1.5] and record.row(sample(0), None) is None
    drawn = files.from_outputs(written({"id": "r1", "outputs": ["4", "5", "4"]}))[-1]
    assert "draws" in drawn.gives and files.open_record(drawn).row(sample(1), None).outputs == ("4", "5", "4")


def test_a_file_that_names_no_rows_or_holds_nothing_is_refused_with_the_columns(written):
    with pytest.raises(UserError, match=r"Columns found: output.*nothing names its row.*sample_id"):
        files.from_outputs(written({"output": "4"}))
    with pytest.raises(UserError, match="neither an answer nor a loss"):
        files.from_outputs(written({"id": "r0", "score": 1}, name="other.jsonl"))


def test_a_file_that_changed_is_not_read_on(written):
    path = written({"id": "r0", "output": "Paris"})
    (before,) = files.from_outputs(path)
    path.write_text('{"id": "r0", "output": "Rome, in fact"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="not what it was"):
        files.open_record(before)
