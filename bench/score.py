"""Scoring speed: Lacuna against a one-by-one loop and lm-evaluation-harness, in one run.

    python3 -m venv ../bench-venv && ../bench-venv/bin/pip install -r requirements-bench.txt
    ../bench-venv/bin/python -m bench.score [--rows 64] [--rounds 3] [--data alpaca.json --tokenizer FOLDER]
        [--shape 135m] [--dtype float32] [--without harness] [--processor-time]

Case: a model of the shape of Qwen2.5-0.5B (vocabulary 151,936) or SmolLM2-135M with random weights, rows as long as
short Alpaca rows. Every contestant is a process of its own, so that its peak memory is its own; they take turns, round
by round, and the median round counts. The harness runs at the batch size that was fastest when all were tried first.
``--processor-time`` counts the seconds of the processor, which other work on the machine changes less.

The ceiling is what the processor's matrix multiplication gives on the model's own shapes, measured in the same rounds:
FLOPs counted are those a scorer cannot avoid (every token but a row's last through the layers, logits on target
positions only).

Result: bench/results/score.json; a summary on stdout.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, peak_memory, versions

SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "vocab_size": 151_936,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
        "rope_theta": 1_000_000.0,
    },
    "135m": {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49_152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "rope_theta": 100_000.0,
    },
}
# The case of this run; each contestant's process is told (see ``choose``).
SHAPE, DTYPE, CLOCK = SHAPES["0.5b"], "bfloat16", "perf_counter"
HARNESS_BATCHES = (1, 2, 4, 8, 16, 32)
CONTESTANTS = ("loop", "harness", "lacuna")
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "lm-eval")
Row = tuple[list[int], list[int]]


# -------------------------------------------------------------------------------------------------------- the case


def choose(shape: str, dtype: str, clock: str) -> None:
    """Sets the case of this process."""
    global SHAPE, DTYPE, CLOCK
    SHAPE, DTYPE, CLOCK = SHAPES[shape], dtype, clock


def make_model(folder: str) -> None:
    """Random weights of SHAPE in DTYPE, as save_pretrained writes them."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, DTYPE))
    Qwen2ForCausalLM(Qwen2Config(**SHAPE, dtype=DTYPE)).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def synthetic_rows(n: int, seed: int = 0) -> list[Row]:
    """n pairs of prompt and target ids, lengths log-normal: medians of 28 and 40 tokens, 99th percentile 75 and 230."""
    rng = np.random.default_rng(seed)
    prompts = np.clip(rng.lognormal(np.log(28), 0.42, n), 8, 200).astype(int)
    targets = np.clip(rng.lognormal(np.log(40), 0.75, n), 2, 300).astype(int)
    draw = lambda m: rng.integers(0, SHAPE["vocab_size"], m).tolist()  # noqa: E731
    return [(draw(p), draw(t)) for p, t in zip(prompts, targets, strict=True)]


def alpaca_rows(path: str, tokenizer: str, n: int) -> list[Row]:
    """Prompt and target ids of the n shortest of the first 4 n rows of an Alpaca file, taken into the vocabulary."""
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True).encode
    rows = []
    for record in json.loads(Path(path).read_text(encoding="utf-8"))[: 4 * n]:
        prompt = "\n".join(part for part in (record["instruction"], record.get("input")) if part)
        ids = [encode(text, add_special_tokens=False) for text in (prompt + "\n", record["output"])]
        if all(ids):
            rows.append(tuple([i % SHAPE["vocab_size"] for i in part] for part in ids))
    return sorted(rows, key=lambda r: len(r[0]) + len(r[1]))[:n]


# -------------------------------------------------------------------------------------------------- the contestants


class Loop:
    """One forward pass per row, full logits, log-softmax in float32: what a script does first."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, DTYPE)).eval()

    def __call__(self, rows: list[Row], batch: int) -> list[float]:
        import torch

        sums = []
        with torch.no_grad():
            for prompt, target in rows:
                ids = torch.tensor([prompt + target])
                logits = self.model(ids).logits[0, len(prompt) - 1 : -1].float()
                chosen = logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None])
                sums.append(float(chosen.sum()))
        return sums


class Harness:
    """lm-evaluation-harness's Hugging Face backend on token ids; its own sorting and batching."""

    def __init__(self, folder: str) -> None:
        from lm_eval.models.huggingface import HFLM
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast

        # Ids are given; the harness only wants to hold a tokenizer.
        words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
        self.model = HFLM(pretrained=Loop(folder).model, tokenizer=tokenizer, backend="causal")

    def __call__(self, rows: list[Row], batch: int) -> list[float]:
        self.model.batch_size_per_gpu = batch
        requests = [((str(i), ""), prompt, target) for i, (prompt, target) in enumerate(rows)]
        return [total for total, _ in self.model._loglikelihood_tokens(requests, disable_tqdm=True)]


class Lacuna:
    """The backend of this repository. It gives argmax, margin and four log-normalisers per token as well."""

    def __init__(self, folder: str) -> None:
        from core.plugins import kind
        from core.types import Checkpoint

        checkpoint = Checkpoint(folder, None, None, "bench", "bench")
        self.backend = kind("backends", "hf").open(checkpoint, dtype=DTYPE, device="cpu")

    def __call__(self, rows: list[Row], batch: int) -> list[float]:
        from core.backends._base import ScoreRow

        asked = [ScoreRow(np.array(p + t), np.arange(len(p), len(p) + len(t))) for p, t in rows]
        return [float(scores.logprobs.sum()) for scores in self.backend.score(asked)]


class Ceiling:
    """Matrix multiplication alone, on the model's own shapes."""

    def __init__(self, folder: str) -> None:
        import torch

        torch.manual_seed(0)
        self.rates: dict[str, float] = {}

    def __call__(self, rows: list[Row], batch: int) -> list[float]:
        """GFLOP/s of each shape of ``matmuls``, at 512 tokens, 0.5 s each."""
        import torch

        rates = []
        for wide, high, _ in matmuls():
            x = torch.randn(512, wide).to(getattr(torch, DTYPE))
            w = torch.randn(high, wide).to(getattr(torch, DTYPE))
            torch.nn.functional.linear(x, w)
            began, times = now(), []
            while now() - began < 0.5 or len(times) < 3:
                start = now()
                torch.nn.functional.linear(x, w)
                times.append(now() - start)
            rates.append(2 * 512 * wide * high / statistics.median(times) / 1e9)
        return rates


def matmuls() -> list[tuple[int, int, str]]:
    """(input width, output width, what it counts per): every kind of product in the model; the head comes last."""
    d, f, v = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["vocab_size"]
    kv = d // SHAPE["num_attention_heads"] * SHAPE["num_key_value_heads"]
    return [(d, d, "q, o"), (d, kv, "k, v"), (d, f, "gate, up"), (f, d, "down"), (d, v, "head")]


def work(rows: list[Row]) -> np.ndarray:
    """FLOPs of each product of ``matmuls`` that no scorer can avoid, and last those of attention."""
    tokens = sum(len(p) + len(t) - 1 for p, t in rows)
    targets = sum(len(t) for _, t in rows)
    layers, d = SHAPE["num_hidden_layers"], SHAPE["hidden_size"]
    times = [2 * layers * tokens, 2 * layers * tokens, 2 * layers * tokens, layers * tokens, targets]
    products = [2 * wide * high * n for (wide, high, _), n in zip(matmuls(), times, strict=True)]
    attention = sum(2 * d * layers * (len(p) + len(t) - 1) ** 2 for p, t in rows)
    return np.array([*products, attention], dtype=float)


# ---------------------------------------------------------------------------------------------------------- the run


def now() -> float:
    return float(getattr(time, CLOCK)())


def serve(name: str, folder: str, case: tuple[str, str, str], rows: list[Row], pipe: Connection) -> None:
    """A contestant's process: runs when told to, answers with seconds and numbers."""
    choose(*case)
    import torch
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()
    contestant = {"loop": Loop, "harness": Harness, "lacuna": Lacuna, "ceiling": Ceiling}[name](folder)
    if name != "ceiling":
        contestant(rows[:2], 2)  # the first call pays for set-up
    pipe.send({"loaded": peak_memory(), "threads": torch.get_num_threads()})
    while (batch := pipe.recv()) is not None:
        began = now()
        numbers = contestant(rows, batch)
        pipe.send({"seconds": now() - began, "numbers": numbers, "peak": peak_memory()})


class Process:
    """A contestant seen from the run."""

    def __init__(self, name: str, folder: str, case: tuple[str, str, str], rows: list[Row]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(name, folder, case, rows, other), daemon=True)
        self.process.start()
        other.close()
        self.loaded = self.pipe.recv()["loaded"]

    def run(self, batch: int = 0) -> dict[str, Any]:
        self.pipe.send(batch)
        return self.pipe.recv()

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join()


def best_batch(harness: Process, batches: tuple[int, ...]) -> tuple[int, dict[int, float]]:
    """The harness's fastest batch size and the seconds of each one tried, the better of two turns."""
    turns = [{batch: harness.run(batch)["seconds"] for batch in batches} for _ in range(2)]
    seconds = {batch: min(turn[batch] for turn in turns) for batch in batches}
    return min(seconds, key=seconds.__getitem__), seconds


def measure(
    folder: str, case: tuple[str, str, str], rows: list[Row], rounds: int, contestants: tuple[str, ...]
) -> dict[str, Any]:
    """All contestants in turns, beginning with another one each round."""
    processes = {name: Process(name, folder, case, rows) for name in (*contestants, "ceiling")}
    batch, tried = 0, {}
    if "harness" in contestants:
        batch, tried = best_batch(processes["harness"], HARNESS_BATCHES)
        # The peak is that of the best batch size: a fresh process, untouched by the larger ones tried.
        processes["harness"].close()
        processes["harness"] = Process("harness", folder, case, rows)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
    for turn in range(rounds):
        runs["ceiling"].append(processes["ceiling"].run())
        for at in range(len(contestants)):
            name = contestants[(turn + at) % len(contestants)]
            runs[name].append(processes[name].run(batch))
    loaded = {name: process.loaded for name, process in processes.items()}
    for process in processes.values():
        process.close()
    batches = {"harness_batch_size": batch, "harness_batches_tried": tried} if tried else {}
    return summary(rows, runs, loaded, contestants) | batches


def summary(
    rows: list[Row], runs: dict[str, list[dict[str, Any]]], loaded: dict[str, int], contestants: tuple[str, ...]
) -> dict[str, Any]:
    """Tokens per second, peak memory and share of the ceiling of each contestant, and the ratios between them."""
    tokens, targets = sum(len(p) + len(t) for p, t in rows), sum(len(t) for _, t in rows)
    flops = work(rows)
    rates = np.median([run["numbers"] for run in runs["ceiling"]], axis=0)
    # Attention is counted at the rate of the square product.
    least = float((flops / (np.append(rates, rates[0]) * 1e9)).sum())
    seconds = {name: statistics.median(run["seconds"] for run in runs[name]) for name in contestants}
    reference = np.array(runs["loop"][0]["numbers"])
    result = {
        name: {
            "tokens_per_second": round(tokens / seconds[name], 1),
            "seconds": [round(run["seconds"], 3) for run in runs[name]],
            "share_of_matmul_rate": round(least / seconds[name], 3),
            "peak_memory_mib": round(runs[name][-1]["peak"] / 2**20),
            "loaded_memory_mib": round(loaded[name] / 2**20),
            "mean_difference_per_token": float(np.abs(np.array(runs[name][0]["numbers"]) - reference).sum() / targets),
        }
        for name in contestants
    }
    return {
        "tokens": tokens,
        "target_tokens": targets,
        "contestants": result,
        "ceiling": {
            "gflops_per_second": {what: round(r) for (_, _, what), r in zip(matmuls(), rates, strict=True)},
            "tokens_per_second": round(tokens / least, 1),
        },
        "lacuna_over": {name: round(seconds[name] / seconds["lacuna"], 3) for name in contestants if name != "lacuna"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", help="an Alpaca JSON file; without it lengths are drawn from a seed")
    parser.add_argument("--tokenizer", help="folder of the tokenizer for --data")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "score.json"))
    parser.add_argument("--shape", choices=list(SHAPES), default="0.5b")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--without", nargs="*", choices=("harness",), default=(), help="contestants left out")
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    run = (options.shape, options.dtype, "process_time" if options.processor_time else "perf_counter")
    choose(*run)
    contestants = tuple(name for name in CONTESTANTS if name not in options.without)
    if bool(options.data) != bool(options.tokenizer):
        parser.error("--data and --tokenizer go together")
    rows = alpaca_rows(options.data, options.tokenizer, options.rows) if options.data else synthetic_rows(options.rows)
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder)
        measured = measure(folder, run, rows, options.rounds, contestants)
    source = Path(options.data).name if options.data else "lengths drawn from seed 0"
    case = {
        "model": SHAPE,
        "dtype": DTYPE,
        "clock": CLOCK,
        "rows": len(rows),
        "rounds": options.rounds,
        "source": source,
    }
    result = {"case": case, "machine": machine(), "versions": versions(PACKAGES), **measured}
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, found in result["contestants"].items():
        print(
            f"{name:8s} {found['tokens_per_second']:8.1f} tokens/s  {found['share_of_matmul_rate']:6.1%} of matmul rate"
            f"  peak {found['peak_memory_mib']:6d} MiB"
        )
    print(f"ceiling  {result['ceiling']['tokens_per_second']:8.1f} tokens/s")
    print("lacuna over " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in result["lacuna_over"].items()))


if __name__ == "__main__":
    main()
