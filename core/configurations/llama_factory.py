"""LLaMA-Factory: the YAML a training was started with, or the one its board left, with ``dataset_info.json``."""

from __future__ import annotations

from core.configurations._base import Document, Place, Statements
from core.configurations._llama_factory import read_training

_OWN = {"finetuning_type", "dataset_dir", "cutoff_len", "template", "stage", "mask_history", "train_on_prompt"}


class LlamaFactory:
    name = "llama_factory"
    label = "LLaMA-Factory"
    help = "The YAML given to llamafactory-cli train, with dataset_info.json; its board writes training_args.yaml."
    leads = True
    examples = (
        {
            "qwen_lora_sft.yaml": (
                "### model\nmodel_name_or_path: model\ntrust_remote_code: true\n\n"
                "### method\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 8\nlora_target: all\n\n"
                "### dataset\ndataset: identity,alpaca_en_demo\ntemplate: qwen\ncutoff_len: 2048\nmax_samples: 1000\n"
                "overwrite_cache: true\npreprocessing_num_workers: 16\n\n"
                "### output\noutput_dir: saves/model/lora/sft\nlogging_steps: 10\nsave_steps: 500\n\n"
                "### train\nper_device_train_batch_size: 1\ngradient_accumulation_steps: 8\nlearning_rate: 1.0e-4\n"
                "num_train_epochs: 3.0\nlr_scheduler_type: cosine\nwarmup_ratio: 0.1\nbf16: true\n"
            ),
            "dataset_info.json": (
                '{"identity": {"file_name": "identity.json"}, "alpaca_en_demo": {"file_name": "alpaca_en_demo.json"}}'
            ),
        },
        {
            "training_args.yaml": (
                "cutoff_len: 1024\ndataset: chats\ndataset_dir: data\ndo_train: true\nfinetuning_type: lora\n"
                "model_name_or_path: model\nnum_train_epochs: 3.0\noutput_dir: saves/model/lora/train\n"
                "packing: false\nstage: sft\ntemplate: llama3\nmask_history: true\n"
            ),
            "dataset_info.json": (
                '{"chats": {"file_name": "chats.json", "formatting": "sharegpt", "columns": {"messages": "turns"},'
                ' "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user",'
                ' "assistant_tag": "assistant"}}}'
            ),
        },
    )

    def fits(self, document: Document) -> bool:
        """See ``Configuration.fits``."""
        return "model_name_or_path" in document.values and len(_OWN & document.values.keys()) >= 2

    def read(self, document: Document, place: Place) -> Statements:
        """See ``Configuration.read``."""
        return read_training(document, place)


KIND = LlamaFactory()
