"""ms-swift: ``args.json``, which it writes beside every checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.configurations._base import (
    HELD_OUT,
    SHUFFLED,
    TRAINER_LEFT,
    Document,
    Place,
    Statements,
    names_in,
    state_epochs,
)

SETTINGS = (
    "template", "system", "max_length", "truncation_strategy", "loss_scale", "packing", "agent_template",
    "enable_thinking", "ignore_empty_think", "response_prefix", "template_backend", "use_chat_template",
)  # fmt: skip
LEFT: Mapping[str, str] = TRAINER_LEFT | {
    "split_dataset_ratio": HELD_OUT,
    "val_dataset": "Rows for evaluation are not read.",
    "new_special_tokens": "Tokens were added. The tokenizer beside the checkpoint counts.",
    "rlhf_type": "This trains on preferences or rewards. Lacuna reads the files as rows of supervised fine-tuning.",
    "interleave_prob": "Rows of the datasets were interleaved. Lacuna takes one dataset after the other.",
    "custom_register_path": "Datasets were registered in Python, which is never run.",
}
_OWN = {
    "train_type",
    "tuner_type",
    "loss_scale",
    "truncation_strategy",
    "model_type",
    "template_backend",
}
_PART = re.compile(r"(?P<path>[^#]+)#(?P<rows>\d{1,12})")


class MsSwift:
    name = "ms_swift"
    label = "ms-swift"
    help = "args.json, which ms-swift writes beside a checkpoint."
    leads = True
    examples = (
        {
            "args.json": (
                '{"model": "model", "model_type": "qwen2", "train_type": "lora", "template": "qwen2_5", "system": null,'
                ' "dataset": ["rows.jsonl#500"], "split_dataset_ratio": 0.01, "max_length": 2048,'
                ' "truncation_strategy": "delete", "loss_scale": "default", "packing": false,'
                ' "columns": {"question": "query"}, "num_train_epochs": 1.0, "dataset_shuffle": true,'
                ' "output_dir": "output/v0"}'
            ),
        },
    )

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        return "model" in document.values and len(_OWN & document.values.keys()) >= 2

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        says = Statements(document)
        says.take("preset", "train_type" if "train_type" in document.values else "model", "ms_swift")
        says.take("base", "model", document.values.get("model"))
        says.take("checkpoint", "output_dir", document.values.get("output_dir"))
        says.settings(SETTINGS)
        state_epochs(says, "num_train_epochs")
        _datasets(says)
        says.leave_all({key: reason for key, reason in LEFT.items() if key != "max_steps"})
        if document.values.get("dataset_shuffle") is not False:
            says.leave("dataset_shuffle", SHUFFLED, "true")
        return says


def _datasets(says: Statements) -> None:
    values = says.document.values
    rows = set()
    for name in names_in(values.get("dataset")):
        part = _PART.fullmatch(name)
        says.take("dataset", "dataset", part["path"] if part else name)
        rows.add(int(part["rows"]) if part else 0)
    if rows - {0}:
        says.leave("dataset", "So many rows were drawn at random. Which ones is not known.")
    columns = values.get("columns")
    if isinstance(columns, Mapping) and columns:
        says.leave("columns", "Lacuna finds the columns by itself. Name others with --map.")


KIND = MsSwift()
