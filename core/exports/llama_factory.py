"""LLaMA-Factory: ``llamafactory-cli train llama_factory.yaml`` with its dataset_info.json beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.exports._base import DATA, LEARNING_RATE, Bundle, configuration, remarks, steps

_NAME = "lacuna_mitigation"


class LlamaFactory:
    name = "llama_factory"
    label = "LLaMA-Factory"
    version = "0.9.4"

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        at_once, gathered = steps(bundle.training)
        values: dict[str, Any] = {
            "model_name_or_path": bundle.base or bundle.model,
            **({"adapter_name_or_path": bundle.model} if bundle.base else {}),
            "stage": "pt" if bundle.reading.format == "text" else "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": 16,
            "lora_alpha": 32,
            "lora_target": "all",
            "dataset_dir": ".",
            "dataset": _NAME,
            "template": "default",
            "cutoff_len": bundle.max_length,
            "disable_shuffling": bundle.training.sequential,
            "output_dir": "out-llama-factory",
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": gathered,
            "learning_rate": LEARNING_RATE * bundle.training.rate,
            "num_train_epochs": bundle.training.epochs,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.05,
            "seed": bundle.seed,
            "report_to": "none",
        }
        head = [
            *remarks(bundle),
            f"LLaMA-Factory {self.version}. Run in this folder: llamafactory-cli train llama_factory.yaml",
            "template: put the name of the model's own template there, or training and use will differ.",
        ]
        info = json.dumps({_NAME: _info(bundle)}, ensure_ascii=False, indent=2) + "\n"
        return {"llama_factory.yaml": configuration(head, values), "dataset_info.json": info}


def _info(bundle: Bundle) -> dict[str, Any]:
    """The dataset's entry in dataset_info.json."""
    names, out = bundle.reading.mapping, {"file_name": DATA}
    if bundle.reading.format in ("messages", "sharegpt"):
        openai = bundle.reading.format == "messages"
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                "observation_tag": "tool", "system_tag": "system"}  # fmt: skip
        columns = {"messages": names["messages" if openai else "conversations"]}
        columns |= {role: names[role] for role in ("system", "tools") if role in names}
        return {**out, "formatting": "sharegpt", "columns": columns, **({"tags": tags} if openai else {})}
    if bundle.reading.format == "text":
        return {**out, "columns": {"prompt": names["text"]}}
    roles = {"instruction": "prompt", "input": "query", "output": "response", "system": "system", "history": "history",
             "prompt": "prompt", "completion": "response", "tools": "tools"}  # fmt: skip
    return {**out, "formatting": "alpaca", "columns": {roles[r]: c for r, c in names.items() if r in roles}}


KIND = LlamaFactory()
