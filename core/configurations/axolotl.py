"""Axolotl: the YAML a training was started with, or the copy of it in the model card that Axolotl writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.configurations._base import (
    HELD_OUT,
    TRAINER_LEFT,
    Document,
    Place,
    Statements,
    entry,
    state_epochs,
    text,
)
from core.formats._layouts import ALIASES

SETTINGS = (
    "sequence_len", "excess_length_strategy", "sample_packing",
    "train_on_inputs", "eot_tokens", "default_system_message", "split_thinking",
)  # fmt: skip
# They stand with a dataset, and count for the rows of that dataset.
OF_DATASET = (
    "roles_to_train", "train_on_eos", "train_on_eot", "message_field_training", "message_field_training_detail",
    "eot_tokens", "split_thinking",
)  # fmt: skip
TEMPLATES = ("chat_template", "chat_template_jinja")
LEFT: Mapping[str, str] = TRAINER_LEFT | {
    "val_set_size": HELD_OUT,
    "shuffle_before_merging_datasets": "Rows were shuffled. Lacuna takes the order of the files.",
    "special_tokens": "Special tokens were changed. The tokenizer beside the checkpoint counts.",
    "tokens": "Tokens were added. The tokenizer beside the checkpoint counts.",
    "added_tokens_overrides": "Tokens were replaced. The tokenizer beside the checkpoint counts.",
    "lora_model_dir": "Training went on from an adapter. Lacuna compares with the model below it.",
    "tokenizer_config": "Another tokenizer was named. The tokenizer beside the checkpoint counts.",
    "rl": "This trains on preferences or rewards. Lacuna reads the files as rows of supervised fine-tuning.",
    "pretraining_dataset": "Rows of raw text were trained besides. They are not read.",
    "dataset_exact_deduplication": "Rows that occur twice were trained once. Lacuna keeps both.",
    "min_sample_len": "Rows that are too short were dropped. Lacuna keeps them.",
}
_SAVED = "Axolotl saves this template with the tokenizer. The one beside the checkpoint counts."
_OWN_TEMPLATE = "These rows were trained in a template of their own. Lacuna takes the one beside the checkpoint."
_SHUFFLED = "Axolotl shuffles merged datasets. Lacuna takes the order of the files."
_ALPACA_PARTS = {"field_instruction": "instruction", "field_input": "input", "field_output": "output",
                 "field_system": "system"}  # fmt: skip
_ALPACA_TYPES = ("alpaca", "alpaca_chat.load_qa", "alpaca_w_system.load", "alpaca:chat")


class Axolotl:
    name = "axolotl"
    label = "Axolotl"
    help = "The YAML given to axolotl train. Axolotl also copies it into the README.md beside the checkpoint."
    leads = True
    examples = (
        {
            "lora.yml": (
                "base_model: model\nmodel_type: LlamaForCausalLM\n\ndatasets:\n  - path: rows.jsonl\n"
                "    ds_type: json\n    type: chat_template\n"
                "    field_messages: conversations\n    message_property_mappings:\n"
                "      role: from\n      content: value\n    roles_to_train: [assistant]\n    train_on_eos: turn\n"
                "chat_template: tokenizer_default\nval_set_size: 0.0\noutput_dir: ./outputs/lora-out\n\n"
                "adapter: lora\nsequence_len: 2048\nsample_packing: false\nlora_r: 16\nlora_alpha: 32\n"
                "gradient_accumulation_steps: 2\nmicro_batch_size: 2\nnum_epochs: 1\noptimizer: adamw_8bit\n"
                "learning_rate: 0.0002\ntrain_on_inputs: false\nspecial_tokens:\n  pad_token: '<|end_of_text|>'\n"
            ),
        },
        {
            "full.yaml": (
                "base_model: model\ndatasets:\n  - path: data/qa.jsonl\n    type:\n      field_instruction: question\n"
                "      field_output: answer\n      format: '{instruction}'\n      no_input_format: '{instruction}'\n"
                "output_dir: out\nsequence_len: 512\nnum_epochs: 2\nshuffle_merged_datasets: false\n"
            ),
        },
    )

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        datasets = document.values.get("datasets")
        listed = isinstance(datasets, list) and any(isinstance(d, Mapping) and "path" in d for d in datasets)
        return "base_model" in document.values and listed

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        says = Statements(document)
        says.take("preset", "datasets", "axolotl")
        says.take("base", "base_model", document.values.get("base_model"))
        says.take("checkpoint", "output_dir", document.values.get("output_dir") or "model-out")
        says.settings(SETTINGS)
        state_epochs(says, "num_epochs")
        _datasets(says)
        says.leave_all(LEFT)
        for key in TEMPLATES:
            if document.values.get(key) not in (None, "", "tokenizer_default"):
                says.leave(key, _SAVED)
        if document.values.get("shuffle_merged_datasets") is not False:
            says.leave("shuffle_merged_datasets", _SHUFFLED, "true")
        return says


def _datasets(says: Statements) -> None:
    listed = says.document.values.get("datasets")
    entries = [d for d in listed if isinstance(d, Mapping)] if isinstance(listed, list) else []
    readings = []
    for i, dataset in enumerate(entries):
        key = f"datasets[{i}]"
        reading = _reading(says, dataset, key)
        if reading is None:
            continue
        files = dataset.get("data_files")
        for file in files if isinstance(files, list) else [files or dataset.get("path")]:
            says.take("dataset", f"{key}.{'data_files' if files else 'path'}", file)
        readings.append((key, *reading))
        for name, reason in (
            *((name, _OWN_TEMPLATE) for name in TEMPLATES if dataset.get(name) != "tokenizer_default"),
            ("shards", "Only one part of the rows was trained. Lacuna takes them all."),
            ("preprocess_shards", "Only one part of the rows was trained. Lacuna takes them all."),
            ("drop_system_message", "System turns were dropped. Lacuna keeps them."),
        ):
            if dataset.get(name):
                says.leave(f"{key}.{name}", reason, dataset[name])
    own = [{name: dataset[name] for name in OF_DATASET if name in dataset} for dataset in entries]
    if own and all(settings == own[0] for settings in own):
        for name, value in own[0].items():
            says.setting(f"datasets[0].{name}", value, name)
    elif any(own):
        says.leave("datasets", "Each dataset has settings of its own. A run has one preset for all its rows.")
    if len({(form, tuple(sorted(columns.items()))) for _, form, columns, _ in readings}) > 1:
        says.values = [value for value in says.values if value.field != "dataset"]
        says.leave("datasets", "The datasets have different columns. A run reads all its files in one way; name one.")
    elif readings:
        key, form, columns, keys = readings[0]
        says.take("format", f"{key}.type", form)
        for role, column in columns.items():
            says.take("column", f"{key}.{keys[role]}", column, role)


def _reading(
    says: Statements, dataset: Mapping[str, Any], key: str
) -> tuple[str, dict[str, str], dict[str, str]] | None:
    """Format, role to column, and role to the key that says so; None where Lacuna cannot read the dataset so."""
    kind = dataset.get("type")
    own = entry(dataset, "type")
    if own or (isinstance(kind, str) and kind in _ALPACA_TYPES):
        columns = {role: text(own, part) or ("" if role == "system" else role) for part, role in _ALPACA_PARTS.items()}
        columns = {role: column for role, column in columns.items() if column}
        return "alpaca", columns, dict.fromkeys(columns, "type")
    if kind == "completion":
        return "text", {"text": text(dataset, "field") or "text"}, {"text": "field" if dataset.get("field") else "type"}
    if kind in ("chat_template", "sharegpt", None):
        column = text(dataset, "field_messages") or ("conversations" if kind == "sharegpt" else "messages")
        if odd := _odd_key(dataset):
            says.leave(f"{key}.{odd}", "Lacuna does not know this name. Rename it in the rows.", dataset[odd])
            return None
        columns = {"conversations": column}
        keys = {"conversations": "field_messages" if dataset.get("field_messages") else "type"}
        for name, role in (("field_tools", "tools"), ("field_system", "system")):
            if text(dataset, name):
                columns[role], keys[role] = text(dataset, name), name
        return "sharegpt", columns, keys
    says.leave(f"{key}.type", "Lacuna does not read rows of this type. Give the dataset with --dataset.", kind)
    return None


def _odd_key(dataset: Mapping[str, Any]) -> str:
    """The key under which a dataset names its turns in a way that no format reads; empty where all are known."""
    keys = entry(dataset, "message_property_mappings")
    role = text(keys, "role") or text(dataset, "message_field_role") or "role"
    content = text(keys, "content") or text(dataset, "message_field_content") or "content"
    if (role, content) not in (("role", "content"), ("from", "value")):
        return "message_property_mappings" if keys else "message_field_role"
    for canonical, names in entry(dataset, "roles").items():
        listed = names if isinstance(names, list) else [names]
        if any(not isinstance(name, str) or ALIASES.get(name.lower()) != canonical for name in listed[:20]):
            return "roles"
    return ""


KIND = Axolotl()
