"""A training with TRL that is recorded, and a diagnosis of what was recorded."""

import json
import re
import warnings

import datasets
import numpy as np
import pytest
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import lacuna_recorder
from core.__main__ import main
from core.recorded import recordings
from core.services import dynamics, results, runs, samples
from core.services import recordings as service
from core.types import Filter

EPOCHS = 3


def test_digests_are_those_of_the_recorder():
    ids, trained = np.array([5, 70_000, 3]), np.array([True, False, True])
    assert recordings.digests(ids, trained) == lacuna_recorder.digests(ids.tolist(), trained.tolist())
    assert lacuna_recorder.digests([5], [True]) == lacuna_recorder.digests([5], [False])


@pytest.fixture(scope="module")
def trained(tiny_project, tmp_path_factory):
    """Rows of two sources, and the folder of a recording of their training on the base model."""
    folder = tmp_path_factory.mktemp("recorded")
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    rows = [
        {"prompt": row["messages"][:-1], "completion": row["messages"][-1:], "source": ("books", "web")[i % 2]}
        for i, row in enumerate(tiny_project.rows[:24])
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tiny_project.base)
    model = AutoModelForCausalLM.from_pretrained(tiny_project.base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = SFTConfig(
            output_dir=str(folder / "out"), use_cpu=True, bf16=False, report_to="none", save_strategy="no",
            num_train_epochs=EPOCHS, per_device_train_batch_size=6, learning_rate=3e-3, disable_tqdm=True,
            max_length=256,
        )  # fmt: skip
        data = datasets.Dataset.from_list([{name: row[name] for name in ("prompt", "completion")} for row in rows])
        trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer)
        trainer.add_callback(lacuna_recorder.LacunaRecorder(folder / "recording"))
        trainer.train()
    return path, folder / "recording" / "rank0.parquet"


def test_a_recording_is_a_trajectory_without_checkpoints(trained, tiny_project, tmp_path, capsys):
    path, recording = trained
    status = main([
        "diagnose", "--data", str(path), "--recording", str(recording), "--tokenizer", str(tiny_project.base),
        "--trainer", "trl", "--trainer-setting", "max_length=256", "--out", str(tmp_path / "out.jsonl"),
    ])  # fmt: skip
    err = capsys.readouterr().err
    assert status == 0, err
    run = runs.get_run(1)
    assert [c.label for c in (*run.spec.trajectory, run.spec.final)] == ["epoch 1", "epoch 2", "epoch 3"]
    checks = {c["code"]: c for c in run.summary["card"]["checks"]}
    assert checks["file_fits"]["state"] == "pass" and "records_without_row" not in checks, checks
    rows = samples.page(1, Filter(), limit=50).rows
    lines = {(v.epoch, v.row): v for v in recordings._visits(recording)}
    ends = {v.loss for (epoch, _), v in lines.items() if epoch == EPOCHS - 1}
    assert {row["nll_trained"] for row in rows} == ends
    # The trainer also put loss on the line feed behind the answer, which is no part of the target.
    assert all(0 < row["nll"] != row["nll_trained"] for row in rows)
    assert all(row["best_nll"] == min(row["t0_nll"], row["t1_nll"]) for row in rows)
    assert np.mean([row["nll"] for row in rows]) < np.mean([row["t0_nll"] for row in rows])
    assert {row["status"] for row in rows} <= {"learned", "unknown"}
    assert dynamics.has_trajectory(run)
    steps = service.recorded(1, Filter())
    assert [p.step for p in steps.points] == list(range(1, EPOCHS * 4 + 1))
    spike = steps.points[5]
    own = [v for v in lines.values() if v.step == spike.step]
    assert spike.rows == len(own) == 6 and spike.mean == pytest.approx(np.mean([v.loss for v in own]))
    assert spike.highest == pytest.approx(max(v.loss for v in own))
    behind = service.rows_at(1, Filter(), spike.step)
    assert [round(r.loss, 6) for r in behind] == sorted((round(v.loss, 6) for v in own), reverse=True)
    assert [s.name for s in steps.sources] == ["books", "web"]
    assert all(len(s.points) == EPOCHS and s.points[0].mean > s.points[-1].mean for s in steps.sources)


def test_another_mask_than_the_preset_says_is_seen(trained, tiny_project, tmp_path):
    path, recording = trained
    options = [
        "--trainer",
        "trl",
        "--trainer-setting",
        "completion_only_loss=false",
        "--out",
        str(tmp_path / "out.jsonl"),
    ]
    tokenizer = str(tiny_project.base)
    main(["diagnose", "--data", str(path), "--recording", str(recording), "--tokenizer", tokenizer, *options])
    notes = [text for _, text in results.run_notes(runs.get_run(1))]
    assert any(re.search(r"rows carried loss on other tokens in “epoch 3”", note) for note in notes), notes


def test_a_recording_without_a_tokenizer_or_of_something_else(trained, tmp_path, capsys):
    path, recording = trained
    assert main(["diagnose", "--data", str(path), "--recording", str(recording)]) == 2
    assert "needs the training's tokenizer" in capsys.readouterr().err
    other = tmp_path / "other.jsonl"
    other.write_text('{"step": 1}\n')
    assert main(["diagnose", "--data", str(path), "--recording", str(other), "--tokenizer", str(tmp_path)]) == 2
    assert "is no recording" in capsys.readouterr().err
