"""Axolotl: ``axolotl train axolotl.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.exports._base import DATA, Bundle, Export, Lora, configuration, inexpressible, names, remarks, steps
from core.formats._layouts import Conversation, Pair, Plain


class Axolotl(Export):
    name = "axolotl"
    label = "Axolotl"
    version = "0.19"

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        """See ``Export.files``."""
        at_once, gathered = steps(bundle.training)
        own = bundle.own_keys(self.name)
        of_dataset = own.pop("datasets", {})
        if not isinstance(bundle.layout, Conversation):  # only turns have roles and fields of their own
            of_dataset = {}
        values: dict[str, Any] = {
            "base_model": bundle.base or bundle.model,
            **({"lora_model_dir": bundle.model} if bundle.base else {}),
            **_adapter(bundle.lora),
            "datasets": [{"path": DATA, "ds_type": "json", **self._dataset(bundle), **of_dataset}],
            "shuffle_merged_datasets": not bundle.training.sequential,
            "curriculum_sampling": bundle.training.sequential,
            "sequence_len": bundle.max_length,
            "sample_packing": False,
            "train_on_inputs": bundle.loss_on_prompt,
            "val_set_size": 0.0,
            "output_dir": "out-axolotl",
            "micro_batch_size": at_once,
            "gradient_accumulation_steps": gathered,
            "num_epochs": bundle.training.epochs,
            "optimizer": "adamw_torch",
            "lr_scheduler": "cosine",
            "learning_rate": bundle.learning_rate,
            "seed": bundle.seed,
            **own,
        }
        head = [*remarks(bundle), f"Axolotl {self.version}. Run in this folder: axolotl train axolotl.yaml"]
        return {"axolotl.yaml": configuration(head, values)}

    def _dataset(self, bundle: Bundle) -> dict[str, Any]:
        match bundle.layout:
            case Conversation() as turns:
                return {
                    "type": "chat_template",
                    "field_messages": turns.column,
                    "message_property_mappings": {"role": turns.role, "content": turns.text},
                    "roles_to_train": ["assistant"],
                    "train_on_eos": "turn",
                }
            case Plain(column):
                return {"type": "completion", "field": column}
            case Pair(lists=False) as pair:
                columns = {"field_instruction": pair.prompt, "field_output": pair.answer}
                if pair.input:
                    columns["field_input"] = pair.input
                if not pair.templated:
                    columns |= {"format": "{instruction}", "no_input_format": "{instruction}"}
                return {"type": columns}
            case _:
                raise inexpressible(self, bundle)


def _adapter(lora: Lora | None) -> dict[str, Any]:
    if lora is None:
        return {}
    targets = {"lora_target_modules": names(lora)} if lora.targets else {"lora_target_linear": True}
    dropout = {} if lora.dropout is None else {"lora_dropout": lora.dropout}
    return {"adapter": "lora", "lora_r": lora.r, "lora_alpha": lora.alpha, **dropout, **targets}


KIND = Axolotl()
