"""Models small enough to train here, and the ten-line twin that everything is compared with."""

from __future__ import annotations

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from core.types import Checkpoint

VOCAB, STOPS = 48, (1, 2)
FAMILIES = ("qwen2", "qwen3", "llama", "olmo2")
SIZE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "pad_token_id": None,
    "eos_token_id": list(STOPS),
}


def checkpoint(folder, base=None):
    return Checkpoint(str(folder), None if base is None else str(base), None, folder.name, "0" * 64)


def random_model(family, seed=0, scale=0.25, **changes):
    """Random weights, large enough that distributions are far from flat."""
    torch.manual_seed(seed)
    extra = {"head_dim": 16} if family == "qwen3" else {}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(SIZE | extra | changes))).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=scale)
    return model


def random_adapter(model, seed=0):
    """LoRA on every linear layer, with weights that change the model's mind."""
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return adapted.eval()


def sequences(rng, n):
    """n pairs of a prompt of 3 to 8 ids and a target of 1 to 5 ids that ends with a stop id; all pairs differ."""
    found = {}
    while len(found) < n:
        prompt = tuple(rng.integers(3, VOCAB, rng.integers(3, 9)).tolist())
        target = (*rng.integers(3, VOCAB, rng.integers(0, 5)).tolist(), int(rng.choice(STOPS)))
        found[prompt] = target
    return [(np.array(p), np.array(t)) for p, t in found.items()]


def fit(model, pairs, steps, lr):
    """Trains on all pairs at once; loss on the targets."""
    length = max(len(p) + len(t) for p, t in pairs)
    ids, labels = torch.zeros((len(pairs), length), dtype=int), torch.full((len(pairs), length), -100)
    for row, (prompt, target) in enumerate(pairs):
        whole = torch.from_numpy(np.concatenate([prompt, target]))
        ids[row, : len(whole)] = whole
        labels[row, len(prompt) : len(whole)] = whole[len(prompt) :]
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    model.train()
    for _ in range(steps):
        model(input_ids=ids, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


@torch.no_grad()
def twin_logprobs(model, ids):
    """(l - 1, v) float64: row i is the distribution of token i + 1. One row, no padding, full logits."""
    return model(input_ids=torch.from_numpy(ids)[None]).logits[0, :-1].double().log_softmax(-1).numpy()


@torch.no_grad()
def twin_greedy(model, prompt, stops, most):
    """Greedy continuation by whole forward passes without a cache."""
    ids = torch.from_numpy(prompt)[None]
    while ids.shape[1] < len(prompt) + most:
        ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
        if int(ids[0, -1]) in stops:
            break
    return ids[0, len(prompt) :].numpy()
