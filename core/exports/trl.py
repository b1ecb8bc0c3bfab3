"""TRL's command line: ``trl sft --config trl.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.exports._base import DATA, LEARNING_RATE, Bundle, configuration, remarks, steps


class Trl:
    name = "trl"
    label = "TRL"
    version = "1.16"

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        at_once, gathered = steps(bundle.training)
        columns = _columns(bundle)
        values: dict[str, Any] = {
            "model_name_or_path": bundle.model,
            "datasets": [{"path": "json", "data_files": DATA, "split": "train", "columns": columns}],
            "output_dir": "out-trl",
            "num_train_epochs": bundle.training.epochs,
            "per_device_train_batch_size": at_once,
            "gradient_accumulation_steps": gathered,
            "learning_rate": LEARNING_RATE * bundle.training.rate,
            "use_peft": True,
            "lora_r": 16,
            "lora_alpha": 32,
            "lora_target_modules": "all-linear",
            "max_length": bundle.max_length,
            "packing": False,
            "train_sampling_strategy": "sequential" if bundle.training.sequential else "random",
            "seed": bundle.seed,
            "report_to": "none",
        }
        head = [*remarks(bundle), f"TRL {self.version}. Run in this folder: trl sft --config trl.yaml"]
        if bundle.assistant_only and bundle.reading.format == "messages":
            values["assistant_only_loss"] = bundle.marked
            if not bundle.marked:
                head.append(
                    "The run put loss on answers only. TRL cannot: the chat template has no generation markers. Add "
                    "them and set assistant_only_loss to true, or the prompts are trained too."
                )
        if bundle.reading.format in ("sharegpt", "alpaca"):
            head.append(f"TRL does not read {bundle.reading.format} rows by itself: convert them to messages first.")
        if bundle.base is not None:
            head.append(f"{bundle.model} is an adapter of {bundle.base}: merge it first, or name the base here.")
        return {"trl.yaml": configuration(head, values)}


def _columns(bundle: Bundle) -> list[str]:
    """The columns that training reads; others would only be carried along."""
    return [c for role, c in bundle.reading.mapping.items() if role not in ("id", "stage", "source")]


KIND = Trl()
