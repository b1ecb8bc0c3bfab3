"""Folders that open, and folders that must not: each with one message that names the trouble."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.backends._base import ScoreRow
from core.backends._loading import pick_device
from core.backends.hf import KIND
from core.errors import UserError
from tests.backends import small_models as sm

ROW = ScoreRow(np.arange(3, 20), np.arange(1, 17))


@pytest.fixture
def folder(folders, tmp_path):
    """A copy of a full checkpoint that a test may spoil."""
    return shutil.copytree(folders("qwen2", "full")[0].path, tmp_path / "model")


@pytest.fixture
def adapter(folders, tmp_path):
    """A copy of an adapter, and its base."""
    place, _ = folders("qwen2", "adapter")
    return shutil.copytree(place.path, tmp_path / "adapter"), place.base


def change_config(folder, name="config.json", **values):
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(config | values))


def refusal(folder, base=None, **how):
    with pytest.raises(UserError) as caught:
        KIND.open(sm.checkpoint(folder, base), **how)
    return str(caught.value)


def test_what_an_open_backend_says_of_itself(folders):
    backend = KIND.open(folders("qwen2", "adapter")[0], dtype="float32", device="cpu")
    assert (backend.context_length, backend.vocab_size, backend.stop_ids) == (96, sm.VOCAB, sm.STOPS)
    assert (backend.device, backend.dtype) == ("cpu", "float32")
    assert torch.get_float32_matmul_precision() == "highest"


def test_dtypes(folder, backend):
    assert KIND.open(sm.checkpoint(folder), dtype="auto", device="cpu").dtype == "float32"
    half = KIND.open(sm.checkpoint(folder), dtype="bfloat16", device="cpu")
    assert half.dtype == "bfloat16"
    assert half.is_split
    (found,), (exact,) = half.score([ROW]), backend("qwen2").score([ROW])
    assert found.logprobs.dtype == np.float32
    assert 0 < np.abs(found.logprobs - exact.logprobs).mean() < 0.3
    assert "There is no dtype 'int8'" in refusal(folder, dtype="int8")


def test_devices(folder):
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:99", "teapot"):
        assert f"There is no device {name!r}" in refusal(folder, device=name)


def test_a_stop_id_from_either_configuration(folder):
    (folder / "generation_config.json").unlink()
    change_config(folder, eos_token_id=7)
    assert KIND.open(sm.checkpoint(folder), device="cpu").stop_ids == (7,)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [4, 5]}))
    assert KIND.open(sm.checkpoint(folder), device="cpu").stop_ids == (4, 5)


def test_sharded_weights(folder, backend):
    model = sm.random_model("qwen2")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    found = KIND.open(sm.checkpoint(folder), device="cpu").score([ROW])[0]
    np.testing.assert_allclose(found.logprobs, backend("qwen2").score([ROW])[0].logprobs, atol=1e-5)
    shards[1].unlink()
    assert shards[1].name in refusal(folder)


def test_weights_that_cannot_be_read(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "The weights in" in refusal(folder)
    weights.unlink()
    torch.save(load_like(whole, folder), folder / "pytorch_model.bin")
    text = refusal(folder)  # pickled weights beside are not touched
    assert "model.safetensors" in text
    assert "There is no model in" in refusal(folder / "nowhere")


def load_like(data, folder):
    path = folder / "copy"
    path.write_bytes(data)
    tensors = load_file(path)
    path.unlink()
    return tensors


def test_weights_that_leave_part_of_the_model_unset(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if "layers.1.mlp" in n)
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "model.safetensors", {"format": "pt"})
    text = refusal(folder)
    assert name in text
    assert "1 of the model's tensors" in text
    change_config(folder, intermediate_size=80)
    assert "cannot be loaded" in refusal(folder) or "unset" in refusal(folder)


def test_an_architecture_that_is_not_known(folder):
    change_config(folder, model_type="martian")
    assert "'martian'" in refusal(folder)
    assert "transformers 5" in refusal(folder)
    # Code from the folder would run if it were trusted.
    (folder / "code.py").write_text("raise SystemExit('ran')")
    change_config(folder, auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    assert "'martian'" in refusal(folder)
    change_config(folder, model_type="vit")
    assert "no causal language model" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "cannot be opened" in refusal(folder)


def test_code_beside_a_known_architecture_is_not_run(folder, backend):
    (folder / "code.py").write_text("raise SystemExit('ran')")
    change_config(folder, auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    found = KIND.open(sm.checkpoint(folder), device="cpu").score([ROW])[0]
    assert np.array_equal(found.logprobs, backend("qwen2").score([ROW])[0].logprobs)


def test_an_adapter_needs_its_base_and_its_weights(adapter):
    folder, base = adapter
    assert "base model is not given" in refusal(folder)
    assert "There is no model in" in refusal(folder, base + "-gone")
    weights = folder / "adapter_model.safetensors"
    torch.save(load_file(weights), folder / "adapter_model.bin")
    weights.unlink()
    assert "has no adapter_model.safetensors" in refusal(folder, base)


def test_an_adapter_that_does_not_fit(adapter, folders):
    folder, base = adapter
    sm.random_model("qwen2", hidden_size=48).save_pretrained(folder / "other")
    assert "cannot be loaded onto its base" in refusal(folder, folder / "other")
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[2:]), folder / "adapter_model.safetensors")
    assert "does not hold all the weights" in refusal(folder, base)


SLOW = r"(?:[a-z0-9_]+\.?)+!"


@pytest.mark.parametrize(
    "written",
    [
        {"target_modules": r".*\.(q|k|v|o|gate|up|down)_proj"},
        {"target_modules": r".*_proj", "exclude_modules": r".*vision.*"},
        {"target_modules": SLOW},
        {"exclude_modules": SLOW},
        {"rank_pattern": {r"^model\.layers\.\d+\.self_attn.*q_proj$": 4}},
    ],
)
def test_patterns_of_an_adapter_give_the_scores_of_a_list(adapter, backend, written):
    folder, base = adapter
    change_config(folder, "adapter_config.json", **written)
    began = time.process_time()
    found = KIND.open(sm.checkpoint(folder, base), dtype="float32", device="cpu").score([ROW])[0]
    assert time.process_time() - began < 10
    assert np.array_equal(found.logprobs, backend("qwen2", "adapter").score([ROW])[0].logprobs)


def test_a_pattern_for_some_modules_of_an_adapter(folders, tmp_path):
    from peft import LoraConfig, get_peft_model

    pattern = r".*layers\.1\.(self_attn\.[qv]_proj|mlp\.up_proj)|.*embed_tokens"
    adapted = get_peft_model(sm.random_model("qwen2"), LoraConfig(r=2, target_modules=pattern))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted.eval().save_pretrained(tmp_path, save_embedding_layers=True)
    backend = KIND.open(sm.checkpoint(tmp_path, folders("qwen2", "full")[0].path), dtype="float32", device="cpu")
    expected = sm.twin_logprobs(adapted, ROW.ids)[np.arange(16), ROW.ids[1:]]
    np.testing.assert_allclose(backend.score([ROW])[0].logprobs, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank_pattern", {SLOW: 4}),
        ("alpha_pattern", {SLOW: 4}),
        ("rank_pattern", {".*.*.*q_proj": 4}),
        ("rank_pattern", {r"\d+\d+": 4}),
        ("layers_pattern", [SLOW]),
        ("layers_pattern", SLOW),
        ("modules_to_save", [SLOW]),
    ],
)
def test_patterns_that_may_take_for_ever_are_refused(adapter, name, value):
    folder, base = adapter
    change_config(folder, "adapter_config.json", layers_to_transform=[0, 1], **{name: value})
    began = time.process_time()
    text = refusal(folder, base)
    assert time.process_time() - began < 10
    assert name in text and "is not matched" in text


def test_an_adapter_beside_the_prompt_is_refused(folders, tmp_path):
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    get_peft_model(sm.random_model("qwen2"), config).save_pretrained(tmp_path)
    assert "PROMPT_TUNING" in refusal(tmp_path, folders("qwen2", "full")[0].path)


def test_an_adapter_with_embeddings_of_its_own(folders, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = sm.random_model("llama")
    model.resize_token_embeddings(sm.VOCAB + 3, mean_resizing=False)
    config = LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config).eval()
    adapted.save_pretrained(tmp_path)
    backend = KIND.open(sm.checkpoint(tmp_path, folders("llama", "full")[0].path), device="cpu")
    assert backend.vocab_size == sm.VOCAB + 3
    row = ScoreRow(np.array([3, 49, 50, 7, 48]), np.arange(1, 5))
    expected = sm.twin_logprobs(adapted, row.ids)[np.arange(4), row.ids[1:]]
    np.testing.assert_allclose(backend.score([row])[0].logprobs, expected, atol=1e-4)
