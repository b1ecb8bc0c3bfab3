"""What LLaMA-Factory's files say, whether they were written by hand or by its board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.configurations._base import (
    HELD_OUT,
    SHUFFLED,
    TRAINER_LEFT,
    Document,
    Place,
    Statements,
    entry,
    names_in,
    state_epochs,
    text,
)
from core.formats._layouts import ALIASES

INFO = "dataset_info.json"
# What changes a row, under LLaMA-Factory's own names.
SETTINGS = (
    "template", "cutoff_len", "train_on_prompt", "mask_history", "efficient_eos", "packing", "neat_packing",
    "enable_thinking", "preserve_thinking", "default_system", "tool_format", "val_size", "seed",
)  # fmt: skip
LEFT: Mapping[str, str] = TRAINER_LEFT | {
    "mix_strategy": "Rows of the datasets were interleaved. Lacuna takes one dataset after the other.",
    "val_size": HELD_OUT,
    "resize_vocab": "The vocabulary was resized. The tokenizer beside the checkpoint counts.",
    "add_tokens": "Tokens were added. The tokenizer beside the checkpoint counts.",
    "add_special_tokens": "Tokens were added. The tokenizer beside the checkpoint counts.",
    "new_special_tokens": "Tokens were added. The tokenizer beside the checkpoint counts.",
}
_STAGES = {"pt": "raw text", "rm": "rewards", "ppo": "rewards", "dpo": "preferences", "kto": "preferences"}
# The parts of a row: LLaMA-Factory's name, its default column, the role of Lacuna's format.
_ALPACA = (
    ("prompt", "instruction", "instruction"), ("query", "input", "input"), ("response", "output", "output"),
    ("history", "", "history"), ("system", "", "system"), ("tools", "", "tools"),
)  # fmt: skip
_SHAREGPT = (("messages", "conversations", "conversations"), ("system", "", "system"), ("tools", "", "tools"))
_TAGS = {
    "user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"), "observation_tag": ("observation", "tool"),
    "function_tag": ("function_call", "assistant"), "system_tag": ("system", "system"),
}  # fmt: skip


def read_training(document: Document, place: Place) -> Statements:
    """What a training configuration and the ``dataset_info.json`` that it names state."""
    says = Statements(document)
    says.take("preset", _first(document, "finetuning_type", "template", "dataset"), "llama_factory")
    says.settings(SETTINGS)
    says.take("base", "model_name_or_path", document.values.get("model_name_or_path"))
    says.take("checkpoint", "output_dir", document.values.get("output_dir"))
    state_epochs(says, "num_train_epochs")
    _datasets(says, place)
    if document.values.get("mix_strategy") != "concat":
        says.leave_all({"mix_strategy": LEFT["mix_strategy"]})
    says.leave_all({key: reason for key, reason in LEFT.items() if key != "mix_strategy" and _asked(document, key)})
    if document.values.get("disable_shuffling") is not True:
        says.leave("disable_shuffling", SHUFFLED, "false")
    stage = text(document.values, "stage")
    if stage in _STAGES:
        says.leave("stage", f"It trains on {_STAGES[stage]}. Lacuna reads the files as rows of supervised fine-tuning.")
    if text(document.values, "adapter_name_or_path"):
        says.leave("adapter_name_or_path", "Training went on from an adapter. Lacuna compares with the model below it.")
    return says


def _first(document: Document, *keys: str) -> str:
    return next((key for key in keys if key in document.values), "")


def _asked(document: Document, key: str) -> bool:
    value = document.values.get(key)
    return not (key == "max_steps" and isinstance(value, int) and value < 0)


def _datasets(says: Statements, place: Place) -> None:
    values = says.document.values
    names = names_in(values.get("dataset"))
    if not names:
        return
    folder = text(values, "dataset_dir") or "data"
    info = place.document(f"{folder}/{INFO}") or place.document(INFO)
    if info is None:
        says.leave("dataset", f"There is no {INFO} in {folder}. Give it beside this file.")
        return
    shapes: set[tuple[Any, ...]] = set()
    for name in names:
        facts = entry(info.values, name)
        shape = _dataset(says, place, name, facts, folder) if facts else None
        if not facts:
            says.leave("dataset", f"{INFO} does not name it.", name)
        if shape is not None:
            shapes.add(shape)
    if len(shapes) > 1:
        says.values = [v for v in says.values if v.field not in ("dataset", "format", "column")]
        says.leave("dataset", "The datasets have different columns. A run reads all its files in one way; name one.")
    most = values.get("max_samples")
    if isinstance(most, int) and most > 0:
        says.take("rows", "max_samples", most)


def _dataset(
    says: Statements, place: Place, name: str, facts: Mapping[str, Any], folder: str
) -> tuple[Any, ...] | None:
    """States one dataset; its format and columns, or None where it cannot be read."""
    file = text(facts, "file_name")
    key = f"{name}.file_name"
    if not file:
        hub = text(facts, "hf_hub_url") or text(facts, "ms_hub_url") or text(facts, "script_url")
        says.leave(f"{name}", "It lies on a hub. Download it, and give the file.", hub or name, INFO)
        return None
    if facts.get("ranking") is True:
        says.leave(f"{name}.ranking", "It holds preference pairs, not rows of supervised fine-tuning.", True, INFO)
        return None
    formatting = text(facts, "formatting") or "alpaca"
    columns, tags = entry(facts, "columns"), entry(facts, "tags")
    if formatting not in ("alpaca", "sharegpt", "openai"):
        says.leave(f"{name}.formatting", "Lacuna has no such format.", formatting, INFO)
        return None
    odd = _odd_tag(tags) if formatting != "alpaca" else ""
    if odd:
        says.leave(f"{name}.tags.{odd}", "Lacuna does not know this name. Rename it in the rows.", tags[odd], INFO)
        return None
    inside = f"{folder}/{file}"
    says.take("dataset", key, inside if place.find(inside) is not None else file, file=INFO)
    if facts.get("num_samples"):
        says.leave(f"{name}.num_samples", "So many rows were drawn at random. Which ones is not known.",
                   facts["num_samples"], INFO)  # fmt: skip
    alpaca = formatting == "alpaca"
    mapping = []
    for part, default, role in _ALPACA if alpaca else _SHAREGPT:
        column = text(columns, part) or ("messages" if formatting == "openai" and part == "messages" else default)
        if column:
            mapping.append((role, column))
            if not any(v.field == "column" and v.name == role for v in says.values):
                key = f"{name}.columns.{part}" if text(columns, part) else name
                says.take("column", key, column, role, INFO)
    if not alpaca and not any(v.field == "setting" and v.name == "formatting" for v in says.values):
        says.take("setting", f"{name}.formatting", formatting, "formatting", INFO)
    says.take(
        "format", f"{name}.formatting" if "formatting" in facts else name, "alpaca" if alpaca else "sharegpt", file=INFO
    )
    return (alpaca, *mapping)


def _odd_tag(tags: Mapping[str, Any]) -> str:
    """The first tag whose name no format of Lacuna reads; empty where all are known."""
    keys = (text(tags, "role_tag") or "from", text(tags, "content_tag") or "value")
    if keys not in (("from", "value"), ("role", "content")):
        return "role_tag" if text(tags, "role_tag") else "content_tag"
    for tag, (_, role) in _TAGS.items():
        written = text(tags, tag).lower()
        if written and ALIASES.get(written) != role:
            return tag
    return ""
