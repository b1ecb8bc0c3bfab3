"""TRL and transformers' Trainer: their arguments as YAML, as ``trl sft`` takes them, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.configurations._base import (
    SHUFFLED,
    TRAINER_LEFT,
    Document,
    Place,
    Statements,
    names_in,
    state_epochs,
    text,
)

_TRAINER = {"per_device_train_batch_size", "learning_rate", "num_train_epochs", "output_dir", "lr_scheduler_type",
            "gradient_accumulation_steps", "max_steps", "warmup_ratio", "weight_decay"}  # fmt: skip
_SFT = {"assistant_only_loss", "completion_only_loss", "packing", "max_length", "dataset_text_field", "truncation_mode",
        "packing_strategy", "eos_token", "padding_free", "dataset_name"}  # fmt: skip
_OTHERS = {"finetuning_type", "cutoff_len", "template", "dataset_dir", "base_model", "train_type", "tuner_type"}
LEFT: Mapping[str, str] = TRAINER_LEFT | {
    "chat_template_path": "The chat template came from here. The tokenizer beside the checkpoint counts.",
    "dataset_kwargs": "How rows were prepared was changed in the program. Choose a preset that does the same.",
    "use_liger_kernel": "The loss was computed by another kernel, which changes no mask.",
    "shuffle_dataset": "Rows were shuffled before they were packed. Lacuna takes the order of the files.",
}


class Trl:
    name = "trl"
    label = "TRL or transformers Trainer"
    help = "The arguments as the YAML of trl sft, or as JSON from args.to_dict()."
    leads = True
    examples = (
        {
            "sft.yaml": (
                "model_name_or_path: model\ndataset_name: rows.jsonl\nmax_length: 512\npacking: false\n"
                "assistant_only_loss: true\nlearning_rate: 2.0e-5\nnum_train_epochs: 2\noutput_dir: out\n"
            ),
        },
        {
            "training_args.json": (
                '{"output_dir": "out", "learning_rate": 2e-05, "num_train_epochs": 3.0,'
                ' "max_steps": -1, "max_length": null, "packing": true, "packing_strategy": "bfd",'
                ' "completion_only_loss": null, "assistant_only_loss": false, "eos_token": null}'
            ),
        },
    )

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        keys = document.values.keys()
        plain = len(_TRAINER & keys) >= 3 or (bool(_SFT & keys) and bool(_TRAINER & keys))
        return plain and not _OTHERS & keys and "log_history" not in keys and "peft_type" not in keys

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        says = Statements(document)
        values = document.values
        own = next((key for key in values if key in _SFT), "")
        if own:
            says.take("preset", own, "trl")
            _settings(says, values)
        says.take("base", "model_name_or_path", values.get("model_name_or_path"))
        says.take("checkpoint", "output_dir", values.get("output_dir"))
        state_epochs(says, "num_train_epochs")
        _datasets(says, values)
        steps = values.get("max_steps")
        counts = isinstance(steps, int) and steps > 0
        says.leave_all({key: reason for key, reason in LEFT.items() if key != "max_steps" or counts})
        says.leave("seed" if "seed" in values else "output_dir", SHUFFLED)
        return says


def _settings(says: Statements, values: Mapping[str, Any]) -> None:
    for key in ("assistant_only_loss", "truncation_mode", "eos_token"):
        says.setting(key)
    # TRL's null is "auto" here, and 0 stands for no limit.
    if "completion_only_loss" in values:
        chosen = values["completion_only_loss"]
        says.setting("completion_only_loss", "auto" if chosen is None else str(chosen).lower())
    if "max_length" in values:
        says.setting("max_length", 0 if values["max_length"] is None else values["max_length"])
    if "packing" in values:
        strategy = text(values, "packing_strategy") or "bfd"
        says.setting("packing", strategy if values["packing"] is True else "none")
    field = text(values, "dataset_text_field")
    if field and field != "text":
        says.take("column", "dataset_text_field", field, "text")


def _datasets(says: Statements, values: Mapping[str, Any]) -> None:
    names = names_in(values.get("dataset_name"))
    listed = values.get("datasets")
    if not names and isinstance(listed, list):
        names = [d["path"] for d in listed if isinstance(d, Mapping) and isinstance(d.get("path"), str)]
        says.leave("datasets", "The datasets were mixed. Lacuna takes one after the other.") if len(names) > 1 else None
    for name in names:
        says.take("dataset", "dataset_name" if "dataset_name" in values else "datasets", name)


KIND = Trl()
