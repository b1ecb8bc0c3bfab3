"""``lacuna_recorder.py`` in real trainers: each sample's loss is that of a separate forward pass."""

import base64
import copy
import json
import subprocess
import sys
import warnings
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from core.recorded import recordings
from lacuna_recorder import LacunaRecorder, digests

VOCABULARY, ROWS = 40, 12
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def rows():
    """Token ids and labels: a prompt without loss, an answer with it, of different lengths; two rows are equal."""
    random = torch.Generator().manual_seed(3)
    out = []
    for i in range(ROWS - 1):
        ids = torch.randint(3, VOCABULARY, (5 + i % 4,), generator=random).tolist()
        cut = 2 + i % 3
        out.append({"input_ids": ids, "labels": [-100] * cut + ids[cut:]})
    return [*out, copy.deepcopy(out[0])]


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=0, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def separate(model, row):
    """(loss, share right) of one row in a pass of its own."""
    model = copy.deepcopy(model).eval()
    ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
    with torch.no_grad():
        logits = model(ids[None]).logits[0, :-1].float()
    at = labels[1:] != -100
    losses = torch.nn.functional.cross_entropy(logits[at], ids[1:][at], reduction="none")
    return losses.mean().item(), losses.max().item(), int((logits[at].argmax(-1) == ids[1:][at]).sum())


def by_digest(rows):
    return {digests(r["input_ids"], [v != -100 for v in r["labels"]])[0]: r for r in rows}


def read(path):
    return pq.read_table(path).to_pylist()


def trl(model, rows, folder, recorder=None, **settings):
    config = SFTConfig(
        output_dir=str(folder / "out"), use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_steps=1,
        disable_tqdm=True, **{"learning_rate": 0.0, "num_train_epochs": 2, "per_device_train_batch_size": 3} | settings,
    )  # fmt: skip
    tokenizer = tokens()
    data = datasets.Dataset.from_list(rows)
    trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer, eval_dataset=data.select([0]))
    if recorder is not None:
        trainer.add_callback(recorder)
    trainer.train()
    return trainer


def tokens():
    from tokenizers import Tokenizer, models

    words = {f"w{i}": i for i in range(VOCABULARY)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w1"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="w0",
        unk_token="w1",
        eos_token="w2",
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_accumulation_steps": 2, "eval_strategy": "epoch"},
        {"packing": True, "packing_strategy": "bfd", "max_length": 24, "per_device_train_batch_size": 2},
    ],
    ids=["padded", "packed"],
)
def test_a_loss_is_that_of_a_separate_pass(model, rows, tmp_path, settings):
    recorder = LacunaRecorder(tmp_path / "recording")
    trainer = trl(model, rows, tmp_path, recorder, **settings)
    assert recorder.path.endswith("rank0.parquet")
    lines, known = read(recorder.path), by_digest(rows)
    assert len(lines) == 2 * ROWS and {line["row"] for line in lines} == set(known)
    for line in lines:
        loss, worst, right = separate(model, known[line["row"]])
        assert line["loss"] == pytest.approx(loss, abs=1e-4) and line["worst"] == pytest.approx(worst, abs=1e-4)
        assert line["right"] == right and line["rank"] == 0 and line["source"] is None
        each = np.frombuffer(base64.b64decode(line["token_losses"]), dtype="<f2").astype(float)
        assert np.abs(each).mean() == pytest.approx(loss, rel=2e-3) and (~np.signbit(each)).sum() == right
        assert line["tokens"] == sum(v != -100 for v in known[line["row"]]["labels"])
    logged = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
    for step, loss in logged.items():
        own = [line for line in lines if line["step"] == step]
        mean = sum(line["loss"] * line["tokens"] for line in own) / sum(line["tokens"] for line in own)
        assert mean == pytest.approx(loss, abs=1e-3)  # what the trainer logs is rounded
    # Equal rows are two visits of an epoch.
    assert sorted({int(line["epoch"] + 1e-6) for line in lines}) == [0, 1]


def test_no_number_of_the_training_changes(model, rows, tmp_path):
    other = copy.deepcopy(model)
    trl(model, rows, tmp_path / "a", learning_rate=0.01)
    trl(other, rows, tmp_path / "b", LacunaRecorder(tmp_path / "recording"), learning_rate=0.01)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("own_loss", [False, True])
def test_the_trainer_of_transformers(model, rows, tmp_path, own_loss):
    def collate(batch):
        length = max(len(r["input_ids"]) for r in batch)
        pad = lambda name, value: torch.tensor([[*r[name], *[value] * (length - len(r[name]))] for r in batch])  # noqa: E731
        ones = [{"m": [1] * len(r["input_ids"])} for r in batch]
        mask = torch.tensor([[*r["m"], *[0] * (length - len(r["m"]))] for r in ones])
        source = {"source": [f"of {len(r['input_ids'])}" for r in batch]} if own_loss else {}
        return {"input_ids": pad("input_ids", 2), "labels": pad("labels", -100), "attention_mask": mask, **source}

    def loss(outputs, labels, num_items_in_batch=None):
        return torch.nn.functional.cross_entropy(outputs.logits[:, :-1].transpose(1, 2), labels[:, 1:])

    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, report_to="none", save_strategy="no", learning_rate=0.0, num_train_epochs=1,
        per_device_train_batch_size=4, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model, arguments, data_collator=collate, train_dataset=rows,
                      compute_loss_func=loss if own_loss else None)  # fmt: skip
    recorder = LacunaRecorder(tmp_path / "recording", parquet=False)
    recorder.watch(trainer) if own_loss else trainer.add_callback(recorder)
    trainer.train()
    lines, known = [json.loads(line) for line in Path(recorder.path).read_text().splitlines()], by_digest(rows)
    assert len(lines) == ROWS
    for line in lines:
        row = known[line["row"]]
        assert line["loss"] == pytest.approx(separate(model, row)[0], abs=1e-4)
        assert line["source"] == (f"of {len(row['input_ids'])}" if own_loss else None)


def test_samples_of_one_sequence_are_told_apart_by_a_mask_that_numbers_them(model, rows, tmp_path):
    a, b = rows[0], rows[1]
    ids, labels = a["input_ids"] + b["input_ids"] + [0, 0], a["labels"] + b["labels"] + [-100, -100]
    mask = [1] * len(a["input_ids"]) + [2] * len(b["input_ids"]) + [0, 0]
    recorder = LacunaRecorder(tmp_path, parquet=False)
    recorder.attach(model.train())
    recorder.step(7, 0.5)
    # The model is not told of the samples here, so only what finds the rows is looked at.
    places = {"position_ids": torch.arange(len(ids))[None]}
    model.forward = lambda **inputs: type(model).forward(model, inputs["input_ids"], **places)
    model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]), attention_mask=torch.tensor([mask]))
    del model.forward
    recorder.close()
    lines = [json.loads(line) for line in Path(recorder.path).read_text().splitlines()]
    assert [line["row"] for line in lines] == list(by_digest([a, b])) and {line["step"] for line in lines} == {7}


def test_a_second_recording_does_not_overwrite_the_first(model, tmp_path):
    for number in (1, 2):
        recorder = LacunaRecorder(tmp_path, parquet=False)
        recorder.attach(model)
        recorder.close()
        assert recorder.path.endswith("rank0.jsonl" if number == 1 else "rank0-2.jsonl")


def test_it_needs_torch_and_nothing_else():
    blocked = "import sys; sys.modules.update(dict.fromkeys(['transformers', 'pyarrow', 'numpy', 'core']));"
    script = blocked + "import lacuna_recorder as r; print(r.digests([1, 2], [True, True])[0])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(done.stdout.strip()) == 32


def test_each_rank_writes_a_file_of_its_own(model, rows, tmp_path, monkeypatch):
    """Two processes share a batch; here one after the other, as ``torchrun`` names them."""
    ids = torch.tensor([rows[0]["input_ids"]])
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        recorder = LacunaRecorder(tmp_path, parquet=rank == 1)
        recorder.attach(model.train())
        recorder.step(3, 0.5)
        model(input_ids=ids, labels=ids)
        recorder.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rank0.jsonl", "rank1.parquet"]
    (first, *_), lines = recordings.read([tmp_path / "rank0.jsonl", tmp_path / "rank1.parquet"]), read(recorder.path)
    assert lines[0]["rank"] == 1 and len(first.by_row) == 1


def test_steps_that_a_resumed_training_repeats_count_once(tmp_path):
    def line(step, loss):
        return {"step": step, "epoch": 0.1, "rank": 0, "source": None, "row": f"row{step}", "ids": f"ids{step}",
                "loss": loss, "tokens": 2, "right": 2, "worst": loss, "token_losses": None}  # fmt: skip

    first, second = tmp_path / "rank0.jsonl", tmp_path / "rank0-2.jsonl"
    first.write_text("".join(json.dumps(line(step, 1.0)) + "\n" for step in (1, 2, 3)) + '{"step": 4, "ep')
    second.write_text("".join(json.dumps(line(step, 5.0)) + "\n" for step in (3, 4)))
    (epoch,) = recordings.read([second, first])  # whatever the order they are named in
    assert {v.step: v.loss for v in epoch.by_row.values()} == {1: 1.0, 2: 1.0, 3: 5.0, 4: 5.0}
