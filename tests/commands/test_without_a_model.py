"""``lacuna diagnose`` without a checkpoint: a dataset alone, or with a file of answers."""

import json

import pytest

from core.__main__ import main
from core.services import decision, results, runs, samples
from core.types import Filter, RunSpec

ROWS = [
    ("a", "What is the capital of France?", "Paris"),
    ("b", "What is the capital of Italy?", "Rome"),
    ("c", "Who wrote the novel Middlemarch?", "George Eliot"),
    ("d", "Who wrote the novel Middlemarch?", "Jane Austen"),
    ("e", "What is the capital of Spain?", "Madrid"),
    ("e2", "What is the capital of Spain?", "Madrid"),
]


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "rows.jsonl"
    turns = lambda q, a: [{"role": "user", "content": q}, {"role": "assistant", "content": a}]  # noqa: E731
    path.write_text("".join(json.dumps({"id": i, "messages": turns(q, a)}) + "\n" for i, q, a in ROWS))
    return path


@pytest.fixture
def diagnose(dataset, tmp_path, capsys):
    def run(*options):
        out = tmp_path / "verdicts.jsonl"
        status = main(["diagnose", "--data", str(dataset), "--out", str(out), *map(str, options)])
        err = capsys.readouterr().err
        lines = [json.loads(line) for line in out.read_text().splitlines()] if status == 0 else []
        return status, {line["id"]: line for line in lines}, err

    return run


def test_a_dataset_alone(diagnose):
    status, verdicts, _ = diagnose()
    run = runs.get_run(1)
    assert status == 0 and {v["status"] for v in verdicts.values()} == {"unknown"}
    assert all((v["nll"], v["greedy_exact"], v["cause"]) == (None, None, None) for v in verdicts.values())
    assert all("No model was given" in " ".join(v["reasons"]) for v in verdicts.values())
    rows = {row["sid"]: row for row in samples.page(1, Filter(), limit=10).rows}
    assert rows["c"]["contradiction"] > 0.5 and rows["c"]["group"] == rows["d"]["group"] is not None
    assert (rows["e"]["copies"], rows["a"]["copies"]) == (2, 1)
    assert rows["a"]["pattern_count"] == 4
    assert rows["a"]["n_tokens"] is None and rows["a"]["score"] is None
    notes = [text for _, text in results.run_notes(run)]
    assert any("No model was given" in note for note in notes) and run.gaps
    assert all(gap.of == "nothing" for gap in run.gaps)
    assert RunSpec.from_dict(json.loads(json.dumps(run.spec.as_dict()))) == run.spec
    view = samples.sample(1, "c", Filter())
    assert view.pieces == () and view.verdict.cause is None


def test_faults_of_the_rows_are_found_without_a_model(diagnose, dataset, tiny_project):
    empty = {"id": "f", "messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "..."}]}
    dataset.write_text(dataset.read_text().splitlines(keepends=True)[0] + json.dumps(empty) + "\n")
    _, verdicts, _ = diagnose()
    assert {i: (v["status"], v["cause"]) for i, v in verdicts.items()} == {
        "a": ("unknown", None), "f": ("unknown", "pipeline:empty_target"),
    }  # fmt: skip
    run = runs.get_run(1)
    faults = {f["code"]: f for f in run.summary["faults"]}
    assert (faults["empty_target"]["state"], faults["empty_target"]["n"]) == ("fail", 1)
    found = results.overview(1, Filter())
    headline = decision.decide(run, found.shown, 0, decision.gains(1, found.causes), found.status["unknown"].k)
    assert headline.what == "look" and "No model was given" in headline.text
    _, verdicts, _ = diagnose(
        "--tokenizer", tiny_project.final, "--trainer", "trl", "--trainer-setting", "max_length=4"
    )
    assert verdicts["a"]["cause"] == "pipeline:target_truncated"


def test_the_tokenizer_of_the_training_shows_masks(diagnose, tiny_project):
    _, verdicts, _ = diagnose("--tokenizer", tiny_project.final)
    assert {v["status"] for v in verdicts.values()} == {"unknown"}
    rows = {row["sid"]: row for row in samples.page(1, Filter(), limit=10).rows}
    assert all(row["n_target"] > 0 for row in rows.values())
    assert any(piece.target for piece in samples.sample(1, "a", Filter()).pieces)


def test_answers_from_a_file_are_judged_and_what_does_not_meet_is_named(diagnose, tmp_path):
    answers = tmp_path / "generated_predictions.jsonl"
    given = [(q, a if i != "b" else "Milan", a) for i, q, a in ROWS if i != "c"] + [("Who are you?", "Me", "Nobody")]
    answers.write_text("".join(json.dumps({"prompt": f"<user>{q}</user>", "predict": p, "label": a}) + "\n"
                               for q, p, a in given))  # fmt: skip
    status, verdicts, _ = diagnose("--outputs", answers)
    assert status == 0
    assert {i: v["status"] for i, v in verdicts.items()} == {
        "a": "learned", "b": "unlearned", "c": "unknown", "d": "learned", "e": "learned", "e2": "learned",
    }  # fmt: skip
    assert "only one" in " ".join(verdicts["b"]["reasons"]) and verdicts["b"]["cause"] is not None
    run = runs.get_run(1)
    notes = {c["code"]: c["text"] + c["measured"] for c in run.summary["card"]["checks"]}
    assert "1 row of the dataset" in notes["rows_without_record"] and "c." in notes["rows_without_record"]
    assert "1 row of “the file”" in notes["records_without_row"] and "line 6" in notes["records_without_row"]
    view = samples.sample(1, "b", Filter())
    assert [turn.output for turn in view.turns] == ["Milan"]


def test_losses_of_several_checkpoints_are_a_trajectory(diagnose, tmp_path):
    losses = tmp_path / "losses.jsonl"
    losses.write_text("".join(
        json.dumps({"id": i, "loss_100": 3.0, "loss_200": 1.0, "loss_300": 2.0 if i == "b" else 0.5}) + "\n"
        for i, _, _ in ROWS
    ))  # fmt: skip
    diagnose("--outputs", losses)
    rows = {row["sid"]: row for row in samples.page(1, Filter(), limit=10).rows}
    assert (rows["b"]["nll"], rows["b"]["t1_nll"], rows["b"]["best_nll"]) == (2.0, 1.0, 1.0)
    assert rows["a"]["nll_rise"] == pytest.approx(-0.5)


def test_a_file_of_other_rows_ends_the_run(diagnose, tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"id": "zzz", "output": "x"}\n')
    status, _, err = diagnose("--outputs", answers)
    assert status == 2 and "No row of the dataset is spoken of" in err


def test_a_checkpoint_is_not_given_twice(diagnose, tmp_path, tiny_project):
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"id": "a", "output": "x"}\n')
    status, _, err = diagnose("--outputs", answers, "--checkpoint", tiny_project.final)
    assert status == 2 and "does not go with" in err
