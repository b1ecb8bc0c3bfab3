"""LLaMA-Factory: ``llamafactory-cli train llama_factory.yaml`` with its dataset_info.json beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.exports._base import DATA, Bundle, Export, Lora, configuration, inexpressible, remarks, steps
from core.formats._layouts import Conversation, Pair, Plain

_NAME = "lacuna_mitigation"


class LlamaFactory(Export):
    name = "llama_factory"
    label = "LLaMA-Factory"
    version = "0.9.5"

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        """See ``Export.files``."""
        at_once, gathered = steps(bundle.training)
        values: dict[str, Any] = {
            "model_name_or_path": bundle.base or bundle.model,
            **({"adapter_name_or_path": bundle.model} if bundle.base else {}),
            "stage": "pt" if isinstance(bundle.layout, Plain) else "sft",
            "do_train": True,
            **_adapter(bundle.lora),
            "dataset_dir": ".",
            "dataset": _NAME,
            "template": "default",
            "cutoff_len": bundle.max_length,
            "train_on_prompt": bundle.loss_on_prompt,
            "disable_shuffling": bundle.training.sequential,
            "output_dir": "out-llama-factory",
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": gathered,
            "learning_rate": bundle.learning_rate,
            "num_train_epochs": bundle.training.epochs,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.05,
            "seed": bundle.seed,
            "report_to": "none",
            **bundle.own_keys(self.name),
        }
        head = [
            *remarks(bundle),
            f"LLaMA-Factory {self.version}. Run in this folder: llamafactory-cli train llama_factory.yaml",
        ]
        if bundle.lora is not None and isinstance(bundle.lora.targets, str):
            head.append(f"lora_target takes names only: put those of the pattern {bundle.lora.targets!r} there.")
        if bundle.trainer != self.name:
            head.append("template: put the name of the model's own template there, or training and use will differ.")
        info = json.dumps({_NAME: self._info(bundle)}, ensure_ascii=False, indent=2) + "\n"
        return {"llama_factory.yaml": configuration(head, values), "dataset_info.json": info}

    def _info(self, bundle: Bundle) -> dict[str, Any]:
        """The dataset's entry in dataset_info.json."""
        match bundle.layout:
            case Conversation() as turns:
                columns = {"messages": turns.column, "system": turns.system, "tools": turns.tools}
                tags = _tags(turns)
                return {"file_name": DATA, "formatting": "sharegpt", "columns": _present(columns),
                        **({} if tags == _TAGS else {"tags": tags})}  # fmt: skip
            case Plain(column):
                return {"file_name": DATA, "columns": {"prompt": column}}
            case Pair(lists=False) as pair:
                columns = {"prompt": pair.prompt, "query": pair.input, "response": pair.answer, "system": pair.system,
                           "history": pair.history, "tools": pair.tools}  # fmt: skip
                return {"file_name": DATA, "formatting": "alpaca", "columns": _present(columns)}
            case _:
                raise inexpressible(self, bundle)


def _adapter(lora: Lora | None) -> dict[str, Any]:
    if lora is None:
        return {"finetuning_type": "full"}
    dropout = {} if lora.dropout is None else {"lora_dropout": lora.dropout}
    return {"finetuning_type": "lora", "lora_rank": lora.r, "lora_alpha": lora.alpha, **dropout,
            "lora_target": "all" if isinstance(lora.targets, str) else ",".join(lora.targets) or "all"}  # fmt: skip


# What LLaMA-Factory takes the keys and role names of a turn to be.
_TAGS = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
         "observation_tag": "observation", "system_tag": "system"}  # fmt: skip


def _tags(turns: Conversation) -> dict[str, str]:
    return {"role_tag": turns.role, "content_tag": turns.text, "user_tag": turns.names["user"],
            "assistant_tag": turns.names["assistant"], "observation_tag": turns.names["tool"],
            "system_tag": turns.names["system"]}  # fmt: skip


def _present(columns: Mapping[str, str]) -> dict[str, str]:
    return {name: column for name, column in columns.items() if column}


KIND = LlamaFactory()
