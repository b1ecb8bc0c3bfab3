"""A mitigation of a run goes back to the trainer of the run with the run's own settings, and to others without them."""

import yaml

from core.exports._base import Bundle
from core.formats._layouts import Conversation
from core.plugins import kind
from core.recipes._base import Training

TURNS = Conversation("messages", "role", "content", {n: n for n in ("system", "user", "assistant", "tool")})


def written(export, preset, settings):
    """The configuration that ``export`` writes for a run trained by ``preset``."""
    bundle = Bundle(
        model="/models/tuned", base=None, template="", format="Messages", layout=TURNS, columns=("messages",),
        training=Training(rate=1.0), loss_on_prompt=False, max_length=90, seed=3, title="Replay, for run 1",
        trainer=preset, own=kind("presets", preset).configuration(settings),
    )  # fmt: skip
    return yaml.safe_load(kind("exports", export).files(bundle)[f"{export}.yaml"])


def test_llama_factory_gets_its_template_and_masks_back():
    settings = {"cutoff_len": 90, "template": "qwen", "mask_history": True, "enable_thinking": "null"}
    own = written("llama_factory", "llama_factory", settings)
    assert (own["template"], own["mask_history"], own["enable_thinking"]) == ("qwen", True, None)
    assert own["cutoff_len"] == 90 and "packing" not in own
    assert "mask_history" not in written("axolotl", "llama_factory", settings)


def test_axolotl_gets_its_roles_back():
    settings = {"roles_to_train": "assistant, tool", "train_on_eos": "last", "eot_tokens": "<|im_end|>"}
    own = written("axolotl", "axolotl", settings)
    (dataset,) = own["datasets"]
    assert dataset["roles_to_train"] == ["assistant", "tool"]
    assert (dataset["train_on_eos"], dataset["type"]) == ("last", "chat_template")
    assert own["eot_tokens"] == ["<|im_end|>"] and own["excess_length_strategy"] == "drop"
    assert "eot_tokens" not in written("llama_factory", "axolotl", settings)
