"""The sanity card on tiny real checkpoints, each spoiled in one known way."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from core.checkpoint.card import card
from core.checkpoint.folders import as_checkpoint
from core.rendering.tokenizers import open_tokenizer
from core.types import Message, Sample, content_hash

PAIRS = [(f"What is {a} plus {b}?", f"The sum is {a + b}.") for a, b in zip(range(10, 40), range(50, 80), strict=True)]


def sample(i: int, question: str, answer: str, shape: str = "chat") -> Sample:
    messages = (Message("user", question), Message("assistant", answer))
    if shape == "text":
        messages = (Message("text", question + answer),)
    return Sample(str(i), i, i, messages, shape, None, None, None, content_hash(messages, shape, None), b"{}")


SAMPLES = [sample(i, *pair) for i, pair in enumerate(PAIRS)]


def save_adapter(model, folder: Path, base: Path, seed: int = 0, **options) -> None:
    """A LoRA adapter on q and v whose lora_B is random, not the zeros of a fresh one."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | options
    with warnings.catch_warnings():
        # PEFT 0.21 asks for a property that transformers 5.23 calls deprecated.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        adapter = get_peft_model(model, LoraConfig(init_lora_weights=False, **settings))
    adapter.peft_config["default"].base_model_name_or_path = str(base)
    adapter.save_pretrained(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """``base``, ``final`` (one matrix moved) and ``adapter``, LLaMA-shaped, with ChatML."""
    import torch

    from core.lab.tiny import build_tokenizer, tiny_config, tiny_model

    root = tmp_path_factory.mktemp("saved")
    tokenizer = build_tokenizer([text for pair in PAIRS for text in pair], 320)
    config = tiny_config("llama", len(tokenizer) + 8, hidden=32, heads=2)
    for name in ("base", "final"):
        model = tiny_model(config, tokenizer)
        if name == "final":
            with torch.no_grad():
                model.model.layers[1].mlp.up_proj.weight[3, 5] += 0.25
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    save_adapter(tiny_model(config, tokenizer), root / "adapter", root / "base")
    return root


@pytest.fixture
def spoil(saved, tmp_path):
    """A function that copies a checkpoint under a new name and hands it over."""
    return lambda name, new="copy": Path(shutil.copytree(saved / name, tmp_path / new))


def examine(folder: Path, base: Path | None = None, samples=SAMPLES, adapter_base: Path | None = None, **options):
    """(checks by code, the card, the chosen checkpoint)."""
    checkpoint = as_checkpoint(folder, adapter_base)
    found, chosen = card(checkpoint, as_checkpoint(base) if base else None, samples, **options)
    checks = {check.code: check for check in found.checks}
    assert len(checks) == len(found.checks)
    assert all(check.text for check in found.checks)
    json.dumps(dict(found.facts), allow_nan=False)
    return checks, found, chosen


def states(checks) -> dict[str, str]:
    return {code: check.state for code, check in checks.items()}


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite(folder: Path, change, name: str = "model.safetensors") -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / name)
    change(weights)
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name, metadata={"format": "pt"})


# ------------------------------------------------------------------------------------------------- nothing wrong


def test_a_sound_checkpoint_passes_every_check(saved):
    checks, found, chosen = examine(saved / "final", saved / "base")
    assert set(states(checks).values()) == {"pass"}, checks
    assert found.usable and chosen == as_checkpoint(saved / "final")
    assert checks["base_equals_final"].measured.startswith("1 of 20 tensors differ, by at most 0.25")
    assert "8 rows are padding" in checks["vocabulary"].text
    assert found.facts["architecture"] == "LlamaForCausalLM" and found.facts["dtypes"] == {
        "F32": found.facts["parameters"]
    }


def test_a_sound_adapter_passes_every_check(saved):
    checks, found, _ = examine(saved / "adapter", adapter_base=saved / "base")
    assert set(states(checks).values()) == {"pass"}, checks
    assert "base_equals_final" not in checks
    assert checks["adapter_keys"].measured == "8 of 8 tensors fit"
    assert checks["adapter_not_applied"].measured == "0 of 4 lora_B matrices are zero"
    assert found.facts["adapter"]["rank"] == 4 and found.facts["architecture"] == "LlamaForCausalLM"


def test_what_was_not_compared_is_unknown(saved):
    checks, found, _ = examine(saved / "final", samples=[])
    assert checks["base_equals_final"].state == "unknown"
    assert checks["tokenizer"].state == checks["context"].state == checks["stop_tokens"].state == "unknown"
    assert found.usable


# ----------------------------------------------------------------------------------------------------- weights


def test_base_equals_final(saved, spoil):
    checks, found, _ = examine(spoil("base"), saved / "base")
    assert checks["base_equals_final"].state == "warn" and found.usable
    assert checks["base_equals_final"].measured.startswith("0 of 20 tensors differ")

    coarse = spoil("base", "coarse")
    rewrite(coarse, lambda weights: weights.update({k: v.bfloat16() for k, v in weights.items()}))
    assert examine(coarse, saved / "base")[0]["base_equals_final"].state == "warn"


def test_base_of_another_architecture(saved, spoil):
    other = spoil("base")
    rewrite(other, lambda weights: [weights.update({f"x.{k}": weights.pop(k)}) for k in list(weights)])
    assert examine(saved / "final", other)[0]["base_equals_final"].state == "unknown"


def test_nan_weights(spoil):
    folder = spoil("final")
    name = "model.layers.0.self_attn.q_proj.weight"
    rewrite(folder, lambda weights: weights[name][0, 0:3].fill_(float("nan")))
    checks, found, _ = examine(folder)
    assert checks["weights_finite"].state == "fail" and not found.usable
    assert name in checks["weights_finite"].text and checks["weights_finite"].measured == "3 values"


def test_nan_in_an_adapter_and_in_its_base(saved, spoil):
    adapter, base = spoil("adapter", "adapter2"), spoil("base", "base2")
    rewrite(adapter, lambda w: next(iter(w.values())).fill_(float("inf")), "adapter_model.safetensors")
    assert examine(adapter, adapter_base=saved / "base")[0]["weights_finite"].state == "fail"
    rewrite(base, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    assert examine(saved / "adapter", adapter_base=base)[0]["weights_finite"].state == "fail"


def test_missing_unused_and_misshapen_tensors(spoil):
    import torch

    name = "model.layers.1.mlp.up_proj.weight"
    folder = spoil("final")
    rewrite(folder, lambda weights: weights.pop(name))
    checks, found, _ = examine(folder)
    assert checks["weights_complete"].state == "fail" and name in checks["weights_complete"].text
    assert not found.usable

    folder = spoil("final", "unused")
    rewrite(folder, lambda weights: weights.update({"value_head.weight": torch.zeros(3)}))
    checks, found, _ = examine(folder)
    assert checks["weights_complete"].state == "warn" and "value_head.weight" in checks["weights_complete"].text
    assert found.usable

    folder = spoil("final", "misshapen")
    rewrite(folder, lambda weights: weights.update({name: torch.zeros(7, 5)}))
    assert "(7, 5) against (96, 32)" in examine(folder)[0]["weights_complete"].text


def test_an_unknown_architecture(spoil):
    folder = spoil("final")
    edit(folder / "config.json", model_type="not_a_model")
    checks, found, _ = examine(folder)
    assert checks["opens"].state == "fail" and "not_a_model" in checks["opens"].text and not found.usable


# ----------------------------------------------------------------------------------------------------- adapters


def test_an_adapter_that_changes_nothing(saved, spoil):
    folder = spoil("adapter")
    rewrite(folder, lambda w: [t.zero_() for k, t in w.items() if "lora_B" in k], "adapter_model.safetensors")
    checks, found, _ = examine(folder, adapter_base=saved / "base")
    assert checks["adapter_not_applied"].state == "fail" and not found.usable
    assert checks["adapter_not_applied"].measured == "4 of 4 lora_B matrices are zero"

    folder = spoil("adapter", "half")
    zero = lambda w: [t.zero_() for k, t in w.items() if "lora_B" in k and "layers.0" in k]  # noqa: E731
    rewrite(folder, zero, "adapter_model.safetensors")
    checks, found, _ = examine(folder, adapter_base=saved / "base")
    assert checks["adapter_not_applied"].state == "warn" and found.usable


@pytest.mark.parametrize("change", [{"hidden": 48}, {"layers": 1}, {"layers": 3}])
def test_an_adapter_on_the_wrong_base(saved, tmp_path, change):
    from core.lab.tiny import tiny_config, tiny_model

    tokenizer = open_tokenizer(str(saved / "base"))
    other = tmp_path / "other"
    model = tiny_model(tiny_config("llama", len(tokenizer), **({"hidden": 32, "heads": 2} | change)), tokenizer)
    model.save_pretrained(other)
    tokenizer.save_pretrained(other)
    check = examine(saved / "adapter", adapter_base=other)[0]["adapter_keys"]
    if change == {"layers": 3}:
        assert check.state == "warn" and "model.layers.2.self_attn.q_proj" in check.text
    else:
        assert check.state == "fail" and str(saved / "base") in check.todo
        assert "of 8 tensors fit" in check.measured


def test_an_adapter_whose_halves_do_not_fit_together(saved, spoil):
    folder = spoil("adapter")
    half = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    rewrite(folder, lambda weights: weights.update({half: weights[half][:2]}), "adapter_model.safetensors")
    check = examine(folder, adapter_base=saved / "base")[0]["adapter_keys"]
    assert check.state == "fail" and check.measured == "6 of 8 tensors fit"


def test_adapters_with_more_than_pairs_of_matrices(saved, tmp_path):
    from core.lab.tiny import tiny_config, tiny_model

    tokenizer = open_tokenizer(str(saved / "base"))
    config = tiny_config("llama", len(tokenizer) + 8, hidden=32, heads=2)
    whole = {"modules_to_save": ["lm_head"], "target_modules": ["q_proj", "embed_tokens"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of tied weights in its own words
        save_adapter(tiny_model(config, tokenizer), tmp_path / "whole", saved / "base", **whole)
    save_adapter(tiny_model(config, tokenizer), tmp_path / "dora", saved / "base", use_dora=True)
    for name in ("whole", "dora"):
        checks, _, _ = examine(tmp_path / name, adapter_base=saved / "base")
        assert checks["adapter_keys"].state == "pass", checks["adapter_keys"]
        assert checks["adapter_not_applied"].state == "pass"


# ------------------------------------------------------------------------------------------------- the user's rows


def test_tokens_without_an_embedding(saved, spoil):
    folder = spoil("final")
    tokenizer = open_tokenizer(str(folder))
    tokenizer.add_tokens([f"<new{i}>" for i in range(10)])
    tokenizer.save_pretrained(folder)
    checks, found, _ = examine(folder)
    assert checks["vocabulary"].state == "warn" and found.usable
    assert "'<new8>'" in checks["vocabulary"].text and "<new7>" not in checks["vocabulary"].text
    using = [*SAMPLES, sample(99, "What is <new9>?", "Nothing.")]
    checks, found, _ = examine(folder, samples=using)
    assert checks["vocabulary"].state == "fail" and "1 of 31 rows use them" in checks["vocabulary"].text


def test_no_tokenizer(spoil):
    folder = spoil("final")
    for file in folder.glob("token*"):
        file.unlink()
    checks, found, chosen = examine(folder)
    assert checks["tokenizer"].state == "fail" and not found.usable and chosen.tokenizer == "auto"
    assert checks["vocabulary"].state == checks["stop_tokens"].state == "unknown"


def test_no_template(spoil):
    folder = spoil("final")
    (folder / "chat_template.jinja").unlink()
    checks, found, _ = examine(folder)
    assert checks["template"].state == "warn" and found.usable
    assert "“Answers only” supplies one" in checks["template"].text
    texts = [sample(i, *pair, shape="text") for i, pair in enumerate(PAIRS)]
    assert examine(folder, samples=texts)[0]["template"].state == "pass"


def test_rows_longer_than_the_context_are_counted(spoil):
    folder = spoil("final")
    long = [sample(100 + i, "Why?", "Because " * (200 + i)) for i in range(3)]
    tokenizer = open_tokenizer(str(folder))
    lengths = [
        len(tokenizer.apply_chat_template([m.as_dict() for m in s.messages], return_dict=False))
        for s in [*SAMPLES, *long]
    ]
    longest = max(lengths)
    for limit, state in ((longest, "pass"), (longest - 1, "warn"), (30, "warn")):
        edit(folder / "config.json", max_position_embeddings=limit)
        checks, found, _ = examine(folder, samples=[*SAMPLES, *long])
        assert checks["context"].state == state and found.usable
        assert checks["context"].measured == f"longest row {longest:,} tokens, context {limit:,}"
        over = sum(length > limit for length in lengths)
        assert state == "pass" or checks["context"].text.startswith(f"{over} of {len(lengths)} rows")


def test_a_model_that_would_not_stop(spoil):
    folder = spoil("final")
    tokenizer = open_tokenizer(str(folder))
    edit(folder / "generation_config.json", eos_token_id=tokenizer.eos_token_id)
    checks, found, _ = examine(folder)
    assert checks["stop_tokens"].state == "warn" and found.usable
    assert "end with '<|im_end|>'" in checks["stop_tokens"].text and "'<|endoftext|>'" in checks["stop_tokens"].text
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    assert "never taught to stop" in examine(folder)[0]["stop_tokens"].text


def test_rows_the_template_refuses(saved):
    odd = replace(SAMPLES[0], messages=(Message("narrator", "Once"), Message("assistant", "Well.")))
    checks, found, _ = examine(saved / "final", samples=[*SAMPLES, odd])
    assert checks["rows_refused"].state == "warn" and "1 of 31 rows" in checks["rows_refused"].text
    assert found.usable


# ---------------------------------------------------------------------------------------------------- tokenizers


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    """A qwen2 checkpoint trained on the ids of its own tokenizer.json, and one trained on AutoTokenizer's.

    tokenizer.json keeps up to three digits together; transformers' own Qwen2 tokenizer takes them one by one.
    """
    from core.lab import tiny

    root = tmp_path_factory.mktemp("trap")
    draw = random.Random(0)
    numbers = [(draw.randrange(100, 1000), draw.randrange(100, 1000)) for _ in range(60)]
    rows = [sample(i, f"Swap {a} and {b}.", f"{b} and {a}") for i, (a, b) in enumerate(numbers)]
    texts = [m.content for row in rows for m in row.messages]
    grouped = tiny._SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
    with mock.patch.object(tiny, "_SPLIT", grouped):
        tokenizer = tiny.build_tokenizer(texts * 3, 600)
    tokenizer.save_pretrained(root / "tokenizer")
    (root / "tokenizer" / "config.json").write_text('{"model_type": "qwen2"}')
    for variant in ("auto", "file"):
        used = open_tokenizer(str(root / "tokenizer"), variant)
        data = [tiny.chat_row(used, [m.as_dict() for m in row.messages]) for row in rows]
        config = tiny.tiny_config("qwen2", len(tokenizer), hidden=64, heads=2, layers=1)
        tiny.train(tiny.tiny_model(config, tokenizer), tokenizer, data, root / variant, lr=5e-3, batch=16, steps=60)
    return root, rows


@pytest.mark.parametrize("variant", ["file", "auto"])
def test_the_tokenizer_that_fits_is_chosen(trap, variant):
    root, rows = trap
    checks, found, chosen = examine(root / variant / "final", samples=rows)
    check = checks["tokenizer"]
    assert check.state == "warn" and found.usable and chosen.tokenizer == variant
    assert "on 60 of 60 rows" in check.measured and "on 30 rows" in check.measured
    # The same numbers from a plain loop.
    naive = {name: nll_per_character(root / variant / "final", name, rows[::2]) for name in ("auto", "file")}
    assert f"{naive['auto']:.4f} nats per character with AutoTokenizer" in check.measured
    assert f"{naive['file']:.4f} with tokenizer.json" in check.measured
    other = "auto" if variant == "file" else "file"
    assert naive[other] > 1.5 * naive[variant]


def nll_per_character(folder: Path, variant: str, rows) -> float:
    import torch
    from transformers import AutoModelForCausalLM

    from core.lab.tiny import chat_row

    tokenizer = open_tokenizer(str(folder), variant)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    nll = characters = 0.0
    for row in rows:
        ids, trained = chat_row(tokenizer, [m.as_dict() for m in row.messages])
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        nll -= sum(logprobs[i - 1, ids[i]].item() for i in range(1, len(ids)) if trained[i])
        characters += len(row.response)
    return nll / characters


def test_two_tokenizers_and_a_model_that_does_not_open(trap, tmp_path):
    root, rows = trap
    folder = Path(shutil.copytree(root / "file" / "final", tmp_path / "broken"))
    rewrite(folder, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    checks, found, chosen = examine(folder, samples=rows)
    assert checks["tokenizer"].state == "warn" and "which one fits is unknown" in checks["tokenizer"].text
    assert chosen.tokenizer == "auto" and not found.usable


@pytest.mark.parametrize("emptied", ["no tensors", "all shapes empty", "one shape empty"])
def test_an_adapter_whose_shards_were_not_gathered(saved, spoil, emptied):
    """ZeRO-3 leaves (0,) in place of what other ranks hold; no check may hold on nothing."""

    def hollow(weights):
        import torch

        names = sorted(weights)
        for name in names if emptied != "one shape empty" else names[:1]:
            weights[name] = torch.empty(0)
        if emptied == "no tensors":
            weights.clear()

    folder = spoil("adapter")
    rewrite(folder, hollow, "adapter_model.safetensors")
    checks, found, _ = examine(folder, adapter_base=saved / "base")
    keys = checks["adapter_keys"]
    assert not found.usable
    assert keys.state == "fail"
    assert "ZeRO-3" in keys.text and "stage3_gather_16bit_weights_on_model_save" in keys.todo


def test_a_quantisation_that_only_the_configuration_speaks_of(saved, tmp_path):
    folder = shutil.copytree(saved / "final", tmp_path / "left over")
    edit(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    opens = examine(folder)[0]["opens"]
    assert opens.state == "fail"
    assert "bitsandbytes 4-bit" in opens.text and "F32" in opens.text
    assert opens.todo == "Remove quantization_config from config.json."


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
@pytest.mark.parametrize("name", ["final", "adapter"])
def test_weights_saved_from_inside_a_wrapper(saved, spoil, prefix, name):
    folder = spoil(name)
    file = "model.safetensors" if name == "final" else "adapter_model.safetensors"

    def wrap(weights):
        start = "base_model.model." if name == "adapter" else ""
        for key in list(weights):
            weights[start + prefix + key.removeprefix(start)] = weights.pop(key)

    rewrite(folder, wrap, file)
    checks, found, _ = examine(folder, adapter_base=saved / "base" if name == "adapter" else None)
    check = checks["weights_complete" if name == "final" else "adapter_keys"]
    assert check.state == "fail" and repr(prefix) in check.text and prefix in check.todo
    assert not found.usable


def test_biases_magnitudes_and_new_tokens_of_an_adapter_are_named(saved, tmp_path):
    from core.lab.tiny import tiny_config, tiny_model

    tokenizer = open_tokenizer(str(saved / "base"))
    config = tiny_config("llama", len(tokenizer) + 8, hidden=32, heads=2)
    more = tiny_config("llama", len(tokenizer) + 12, hidden=32, heads=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_adapter(tiny_model(config, tokenizer), tmp_path / "bias", saved / "base", lora_bias=True)
        save_adapter(tiny_model(config, tokenizer), tmp_path / "dora", saved / "base", use_dora=True)
        whole = {"modules_to_save": ["embed_tokens"]}
        save_adapter(tiny_model(more, tokenizer), tmp_path / "tokens", saved / "base", **whole)
    for name, says in (("bias", "4 biases"), ("dora", "4 DoRA magnitudes"), ("tokens", "+4 rows")):
        check = examine(tmp_path / name, adapter_base=saved / "base")[0]["adapter_keys"]
        assert check.state == "pass" and says in check.text, check
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"
    short = lambda weights: weights.update({key: weights[key][:5]})  # noqa: E731
    rewrite(tmp_path / "dora", short, "adapter_model.safetensors")
    assert examine(tmp_path / "dora", adapter_base=saved / "base")[0]["adapter_keys"].state == "fail"


def test_an_untouched_dora_adapter_is_no_failure_of_its_lora_part(saved, tmp_path):
    from core.lab.tiny import tiny_config, tiny_model

    tokenizer = open_tokenizer(str(saved / "base"))
    config = tiny_config("llama", len(tokenizer) + 8, hidden=32, heads=2)
    save_adapter(tiny_model(config, tokenizer), tmp_path / "dora", saved / "base", use_dora=True)
    zero = lambda w: [t.zero_() for k, t in w.items() if "lora_B" in k]  # noqa: E731
    rewrite(tmp_path / "dora", zero, "adapter_model.safetensors")
    check = examine(tmp_path / "dora", adapter_base=saved / "base")[0]["adapter_not_applied"]
    assert check.state == "warn" and "magnitudes" in check.text


def test_the_one_tensor_that_differs_is_named(saved):
    check = examine(saved / "final", saved / "base")[0]["base_equals_final"]
    assert check.state == "pass" and "Only 1 of 20 tensors" in check.text
    assert "model.layers.1.mlp.up_proj.weight" in check.text


def test_no_check_passes_on_nothing(saved, spoil):
    found = examine(saved / "final", samples=[])[0]
    looked = {"opens", "weights_complete", "weights_finite", "vocabulary", "template"}
    assert {code for code, check in found.items() if check.state == "pass"} <= looked
    folder = spoil("final")
    (folder / "chat_template.jinja").unlink()
    assert examine(folder, samples=[])[0]["template"].state == "warn"
