"""LlamaBoard: the state of the board's form, which it keeps beside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from core.configurations._base import Document, Place, Statements
from core.configurations._llama_factory import read_training

# The board's names, where they are not LLaMA-Factory's own.
_NAMES: Mapping[str, str] = {
    "top.model_path": "model_name_or_path",
    "top.finetuning_type": "finetuning_type",
    "top.template": "template",
    "train.new_special_tokens": "new_special_tokens",
}


class LlamaBoard:
    name = "llama_board"
    label = "LlamaBoard"
    help = "llamaboard_config.yaml, which LLaMA-Factory's board keeps beside a checkpoint."
    leads = False
    examples = (
        {
            "llamaboard_config.yaml": (
                "top.booster: auto\ntop.finetuning_type: lora\ntop.model_name: Qwen3-4B\ntop.template: qwen3\n"
                "train.cutoff_len: 2048\ntrain.dataset:\n- identity\ntrain.dataset_dir: data\n"
                "train.mask_history: false\ntrain.max_samples: '100000'\ntrain.num_train_epochs: '3.0'\n"
                "train.packing: false\ntrain.val_size: 0\n"
            ),
            "dataset_info.json": '{"identity": {"file_name": "identity.json"}}',
        },
    )

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        return "train.dataset" in document.values or "train.cutoff_len" in document.values

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        names = {key: _NAMES.get(key) or key.removeprefix("train.") for key in document.values if isinstance(key, str)}
        values = {name: _number(document.values[key]) for key, name in names.items() if key.partition(".")[2]}
        return read_training(Document(document.name, values, document.folder), place)


def _number(value: object) -> object:
    """The board writes numbers as text."""
    if not isinstance(value, str) or len(value) > 20:
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


KIND = LlamaBoard()
