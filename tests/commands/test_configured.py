"""One command on a trainer's own folder starts the right diagnosis, without any other argument."""

import json
import shutil

import pytest

from core.__main__ import main
from core.plugins import kinds
from core.services import datasets, runs

# As LLaMA-Factory documents it (examples/train_lora), with paths as they are written there.
LLAMA_FACTORY = """\
### model
model_name_or_path: models/base
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset: identity,alpaca_en_demo
template: default
cutoff_len: 2048
max_samples: 4
overwrite_cache: true
preprocessing_num_workers: 16
dataloader_num_workers: 4

### output
output_dir: saves/model/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
"""
# As Axolotl documents it (examples/llama-3), on a dataset of its conversation type.
AXOLOTL = """\
base_model: ./base
datasets:
  - path: rows.jsonl
    ds_type: json
    type: chat_template
    field_messages: talk
val_set_size: 0.0
output_dir: ./outputs/lora-out

adapter: lora
lora_model_dir:

sequence_len: 2048
sample_packing: true
eval_sample_packing: true

lora_r: 16
lora_alpha: 32
lora_dropout: 0.05

gradient_accumulation_steps: 2
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 0.0002
bf16: auto
gradient_checkpointing: true
logging_steps: 1
warmup_ratio: 0.1
evals_per_epoch: 4
saves_per_epoch: 1
weight_decay: 0.0
special_tokens:
  pad_token: "<|end_of_text|>"
"""
FEW = ["--max-draws", 2, "--max-new-tokens", 8]


@pytest.fixture
def diagnose(capsys, tmp_path):
    """Runs the command: the exit status, what it says, the run it made (None without one)."""

    def run(*arguments):
        status = main([str(a) for a in ("diagnose", *arguments, "--out", tmp_path / "verdicts.jsonl")])
        return status, capsys.readouterr().err, runs.list_runs()[0] if runs.list_runs() else None

    return run


def pairs(project, many):
    """Rows of the project as question and answer."""
    turns = [row["messages"] for row in project.rows if [m["role"] for m in row["messages"]] == ["user", "assistant"]]
    return [(ask["content"], say["content"]) for ask, say in turns[:many]]


def checkpoint(project, folder):
    """An adapter with two earlier checkpoints, as trainers leave them."""
    shutil.copytree(project.adapter, folder)
    for step in (2, 4):
        shutil.copytree(project.adapter, folder / f"checkpoint-{step}")
        (folder / f"checkpoint-{step}" / "README.md").unlink(missing_ok=True)
        weights = folder / f"checkpoint-{step}" / "adapter_config.json"
        weights.write_text(weights.read_text() + " " * step)  # another file, so another checkpoint


@pytest.fixture
def factory(tiny_project, tmp_path):
    """A checkout of LLaMA-Factory after a training."""
    root = tmp_path / "LLaMA-Factory"
    shutil.copytree(tiny_project.base, root / "models" / "base")
    checkpoint(tiny_project, root / "saves" / "model" / "lora" / "sft")
    rows = [
        {"instruction": ask, "input": "", "output": say, "system": "Be rude."} for ask, say in pairs(tiny_project, 9)
    ]
    (root / "data").mkdir()
    (root / "data" / "identity.json").write_text(json.dumps(rows[:6]))
    (root / "data" / "alpaca_en_demo.json").write_text(json.dumps(rows[6:]))
    info = {"alpaca_en_demo": {"file_name": "alpaca_en_demo.json"}, "identity": {"file_name": "identity.json"},
            "another": {"hf_hub_url": "someone/another"}}  # fmt: skip
    (root / "data" / "dataset_info.json").write_text(json.dumps(info))
    (root / "examples" / "train_lora").mkdir(parents=True)
    (root / "examples" / "train_lora" / "model_lora_sft.yaml").write_text(LLAMA_FACTORY)
    return root


@pytest.mark.slow
def test_llama_factorys_configuration_alone_is_enough(diagnose, factory):
    status, said, run = diagnose("--config", factory / "examples" / "train_lora" / "model_lora_sft.yaml")
    assert status == 0, said
    dataset = datasets.get_dataset(run.spec.dataset_id)
    assert dataset.files == ("identity.json", "alpaca_en_demo.json")
    # max_samples: the first four rows of each. A column that dataset_info.json does not name is not read.
    assert (dataset.n_rows, dataset.reading.format) == (7, "alpaca")
    assert "system" not in dataset.reading.mapping
    assert run.spec.final.path == str(factory / "saves" / "model" / "lora" / "sft")
    assert run.spec.base.path == str(factory / "models" / "base") == run.spec.final.base
    assert [c.step for c in run.spec.trajectory] == [2, 4]
    if "llama_factory" in kinds("presets"):
        assert run.spec.preset == "llama_factory" and run.spec.preset_settings["cutoff_len"] == 2048
    assert "base = models/base" in said and "(model_lora_sft.yaml: model_name_or_path)" in said
    assert "not honoured: disable_shuffling" in said
    assert run.summary["setup"]["files"]["model_lora_sft.yaml"] == "LLaMA-Factory"


@pytest.mark.slow
def test_axolotls_folder_alone_is_enough(diagnose, tiny_project, tmp_path):
    root = tmp_path / "axolotl"
    shutil.copytree(tiny_project.base, root / "base")
    checkpoint(tiny_project, root / "outputs" / "lora-out")
    talks = [
        {"talk": [{"role": "human", "content": a}, {"role": "gpt", "content": b}]} for a, b in pairs(tiny_project, 5)
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    (root / "lora-1b.yml").write_text(AXOLOTL)
    status, said, run = diagnose("--config", root)
    assert status == 0, said
    dataset = datasets.get_dataset(run.spec.dataset_id)
    assert (dataset.n_samples, dict(dataset.reading.mapping)) == (5, {"conversations": "talk"})
    assert run.spec.final.path == str(root / "outputs" / "lora-out")
    assert run.spec.base.path == str(root / "base") and len(run.spec.trajectory) == 2
    if "axolotl" in kinds("presets"):
        assert run.spec.preset == "axolotl" and run.spec.preset_settings["sequence_len"] == 2048
    assert "not honoured: special_tokens" in said


@pytest.mark.slow
def test_what_is_given_stands_over_what_the_file_says(diagnose, factory, tiny_project):
    config = factory / "examples" / "train_lora" / "model_lora_sft.yaml"
    rows = factory / "data" / "identity.json"
    given = ["--trainer", "trl", "--trainer-setting", "max_length=99", "--dataset", rows, "--map", "system=system"]
    status, said, run = diagnose("--config", config, *given, *FEW)
    assert status == 0, said
    assert (run.spec.preset, run.spec.preset_settings["max_length"]) == ("trl", 99)
    dataset = datasets.get_dataset(run.spec.dataset_id)
    assert dataset.n_rows == 6 and dataset.reading.mapping["system"] == "system"
    assert "as given, not data/identity.json" in said


@pytest.mark.slow
def test_what_lies_beside_the_checkpoint_is_taken_and_can_be_left_out(diagnose, factory):
    folder = factory / "saves" / "model" / "lora" / "sft"
    (folder / "training_args.yaml").write_text(LLAMA_FACTORY.replace("max_samples: 4", "max_samples: 2"))
    status, said, run = diagnose("--checkpoint", folder / "checkpoint-4", *FEW)
    assert status == 0, said
    assert "set up from training_args.yaml (LLaMA-Factory)" in said and "--no-config" in said
    assert run.n_samples == 4 and run.spec.base.path == str(factory / "models" / "base")
    assert run.spec.final.path == str(folder / "checkpoint-4") and [c.step for c in run.spec.trajectory] == [2]
    status, said, _ = diagnose("--checkpoint", folder, "--no-config")
    assert status == 2 and "No dataset was named" in said and "set up from" not in said


def test_a_configuration_that_leads_to_no_dataset_says_which_key(diagnose, factory):
    (factory / "data" / "dataset_info.json").unlink()
    config = factory / "examples" / "train_lora" / "model_lora_sft.yaml"
    status, said, _ = diagnose("--config", config)
    assert status == 2
    assert "No dataset was named" in said and "dataset_info.json" in said and "--dataset" in said


def test_a_folder_with_a_pickle_alone_says_what_to_give(diagnose, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "training_args.bin").write_bytes(b"\x80\x04")
    status, said, _ = diagnose("--config", tmp_path / "out")
    assert status == 2 and "training_args.bin is never opened" in said and "to_dict" in said
