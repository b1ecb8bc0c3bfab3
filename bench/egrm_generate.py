"""Five answers to one long prompt: shared prefill against ``num_return_sequences`` and against five calls.

    python -m bench.egrm_generate [--rounds 3] [--out bench/results/egrm_generate.json]

A model with the shape of Qwen2.5-0.5B, random weights, bfloat16; 1,000 prompt tokens, 30 forced tokens. All contestants
run in turn, in the same process, ``--rounds`` times; medians of wall-clock and of processor time are compared, because
other programs on the machine lengthen the first. The load average is written down with them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bench._machine import machine, versions
from core.plugins import kind
from core.types import Checkpoint, Decoding

SHAPE = {
    "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32_768, "tie_word_embeddings": True,
}  # fmt: skip


def make_model(folder: str) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(**SHAPE, eos_token_id=1, bos_token_id=None, pad_token_id=None)
    with torch.device("cpu"):
        model = Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=1000)
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=30)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "egrm_generate.json"))
    options = parser.parse_args()
    n, length = options.answers, options.tokens
    prompt = np.random.default_rng(0).integers(2, SHAPE["vocab_size"], options.prompt)
    decodings = [Decoding(0.7, length, seed) for seed in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder)
        backend = kind("backends", "hf").open(Checkpoint(folder, None, None, "random", "0" * 64), "bfloat16", "auto")
        import torch

        model = backend._generator
        ids = torch.from_numpy(prompt)[None].to(model.device)

        def library(answers: int) -> None:
            model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.7, top_k=0,
                num_return_sequences=answers, min_new_tokens=length, max_new_tokens=length, pad_token_id=0,
            )  # fmt: skip

        contestants = {
            "one": lambda: backend.generate([prompt], decodings[:1], ()),
            "shared": lambda: backend.generate([prompt] * n, decodings, ()),
            "separate_calls": lambda: [backend.generate([prompt], [d], ()) for d in decodings],
            "num_return_sequences": lambda: library(n),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        processor: dict[str, list[float]] = {name: [] for name in contestants}
        load = [os.getloadavg()[0]]
        with torch.no_grad():
            contestants["one"]()  # the first call pays for set-up
            for _ in range(options.rounds):
                for name, run in contestants.items():
                    begun, used = time.perf_counter(), time.process_time()
                    run()
                    seconds[name].append(time.perf_counter() - begun)
                    processor[name].append(time.process_time() - used)
                load.append(os.getloadavg()[0])
        together = backend.generate([prompt] * n, decodings, ())
        alone = [backend.generate([prompt], [d], ())[0] for d in decodings]
    same = sum(np.array_equal(a.tokens, b.tokens) for a, b in zip(together, alone, strict=True))
    median = {name: statistics.median(s) for name, s in seconds.items()}
    used = {name: statistics.median(s) for name, s in processor.items()}
    result = {
        "case": {"model": SHAPE, "dtype": "bfloat16", "prompt": options.prompt, "answers": n, "tokens": length,
                 "rounds": options.rounds},
        "machine": machine(),
        "versions": versions(("torch", "transformers")),
        "load_average": {"values": [round(x, 2) for x in load], "loaded": max(load) > 1.5},
        "seconds": {name: [round(s, 3) for s in values] for name, values in seconds.items()},
        "processor_seconds": {name: [round(s, 3) for s in values] for name, values in processor.items()},
        "ratio_to_one": {name: round(value / median["one"], 3) for name, value in median.items()},
        "processor_ratio_to_one": {name: round(value / used["one"], 3) for name, value in used.items()},
        "same_tokens_as_alone": f"{same} of {n} (bfloat16 rounds; float32 is held by a test)",
    }  # fmt: skip
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, ratio in result["ratio_to_one"].items():
        print(f"{name:22s} {median[name]:7.2f} s  {ratio:5.2f} x one; processor time {used[name] / used['one']:5.2f} x")


if __name__ == "__main__":
    main()
