"""Axolotl: ``axolotl train axolotl.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.exports._base import DATA, LEARNING_RATE, Bundle, configuration, remarks, steps


class Axolotl:
    name = "axolotl"
    label = "Axolotl"
    version = "0.13"

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        at_once, gathered = steps(bundle.training)
        values: dict[str, Any] = {
            "base_model": bundle.base or bundle.model,
            **({"lora_model_dir": bundle.model} if bundle.base else {}),
            "adapter": "lora",
            "lora_r": 16,
            "lora_alpha": 32,
            "lora_target_linear": True,
            "datasets": [{"path": DATA, "ds_type": "json", **_dataset(bundle)}],
            "shuffle_merged_datasets": not bundle.training.sequential,
            "curriculum_sampling": bundle.training.sequential,
            "sequence_len": bundle.max_length,
            "sample_packing": False,
            "train_on_inputs": not bundle.assistant_only,
            "val_set_size": 0.0,
            "output_dir": "out-axolotl",
            "micro_batch_size": at_once,
            "gradient_accumulation_steps": gathered,
            "num_epochs": bundle.training.epochs,
            "optimizer": "adamw_torch",
            "lr_scheduler": "cosine",
            "learning_rate": LEARNING_RATE * bundle.training.rate,
            "seed": bundle.seed,
        }
        head = [*remarks(bundle), f"Axolotl {self.version}. Run in this folder: axolotl train axolotl.yaml"]
        return {"axolotl.yaml": configuration(head, values)}


def _dataset(bundle: Bundle) -> dict[str, Any]:
    names, format = bundle.reading.mapping, bundle.reading.format
    if format in ("messages", "sharegpt"):
        openai = format == "messages"
        return {
            "type": "chat_template",
            "field_messages": names["messages" if openai else "conversations"],
            "message_property_mappings": {"role": "role" if openai else "from", "content": "content" if openai
                                          else "value"},
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }  # fmt: skip
    if format == "text":
        return {"type": "completion", "field": names["text"]}
    question = names["instruction" if format == "alpaca" else "prompt"]
    answer = names["output" if format == "alpaca" else "completion"]
    extra = {"field_input": names["input"]} if format == "alpaca" and "input" in names else {}
    plain = {"format": "{instruction}", "no_input_format": "{instruction}"} if format != "alpaca" else {}
    return {"type": {"field_instruction": question, "field_output": answer, **extra, **plain}}


KIND = Axolotl()
