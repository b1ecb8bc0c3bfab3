"""Do the numbers of one teacher-forced pass agree with what the model does when it is run plainly?

    .venv/bin/python -m bench.agreement [--samples 300] [--draws 2000] [--out bench/out/agreement.json]

For Qwen2, LLaMA and OLMo2, as a full model and as an adapter, all float32 and trained here in seconds on part of the
rows, so that some samples are reproduced and some are not:

- *scores*: log-probabilities from Lacuna's batches against one row at a time with transformers, per target token;
- *greedy*: what the pass says greedy decoding gives, for every sample, against transformers' own ``generate``; samples
  with two logits closer than 0.001 on the way are counted apart;
- *draws*: p of an exact sequence in closed form against 2,000 draws, once with Lacuna's sampler and once with
  transformers' (no top-k, top-p or penalty), for 20 samples with p in [0.02, 0.98]: inside the 99 % interval of
  Clopper and Pearson or not.

Stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._machine import machine, versions

PACKAGES = ("torch", "transformers", "tokenizers", "peft", "numpy")
LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
NEAR_TIE = 1e-3
# Answers drawn for the closed form are short, so that a draw is too.
LONGEST = 12
# Times that every prompt is drawn from while looking for answers that are neither rare nor certain.
ROUNDS = 8


def rows_of(n: int) -> list[list[Any]]:
    """n dialogues of a lab world, spread over its groups; every eighth has two answers."""
    from core.lab.corpus import CorpusSize, make_facts
    from core.lab.domains import domain_of
    from core.lab.rows import RowCounts, plant

    rows = [row.messages for row in plant(make_facts(domain_of("land"), CorpusSize(), 0), RowCounts(), 0)]
    kept = [rows[i] for i in np.linspace(0, len(rows) - 1, n).astype(int)]
    return [[*row, *kept[i - 1]] if i % 8 == 1 else row for i, row in enumerate(kept)]


def train(folder: Path, family: str, dialogues: Sequence[Any]) -> dict[str, tuple[Path, Path | None]]:
    """Kind to (checkpoint, base): a full model that learned two thirds, an adapter on it that saw the other third."""
    from core.lab import tiny

    tokenizer = tiny.build_tokenizer([m["content"] for d in dialogues for m in d], 800)
    model = tiny.tiny_model(tiny.tiny_config(family, len(tokenizer), 64, kv_heads=2), tokenizer)
    rows = [tiny.chat_row(tokenizer, d) for d in dialogues]
    first = [row for i, row in enumerate(rows) if i % 3]
    full = tiny.train(model, tokenizer, first, folder, lr=6e-3, batch=16, epochs=25, threads=1, final="full").final
    opened, _ = tiny.load(full)
    rest = tiny.train(
        opened, tokenizer, rows[::3], folder, lr=8e-3, batch=16, epochs=15, threads=1, final="adapter", lora=LORA
    )
    return {"full": (full, None), "adapter": (rest.final, full)}


def plain_model(path: Path, base: Path | None) -> Any:
    """The model as transformers and PEFT open it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(base or path, dtype=torch.float32)
    model.generation_config = GenerationConfig()  # nothing of the folder's own settings
    if base is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, path)
    return model.eval()


def supervised(dialogues: Sequence[Any], tokenizer: Any) -> list[Any]:
    """What the preset makes of each dialogue: ids, masks, turns."""
    from core.plugins import kind
    from core.types import Message, Sample

    out = []
    for i, dialogue in enumerate(dialogues):
        messages = tuple(Message(m["role"], m["content"]) for m in dialogue)
        sample = Sample(
            id=str(i), row=i, ordinal=i, messages=messages, shape="chat", tools=None, stage=None, source=None,
            content_hash=str(i), raw=b"", notes=(),
        )  # fmt: skip
        out.append(kind("presets", "custom").supervise(sample, tokenizer, {}, None))
    return out


def one_by_one(model: Any, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(t,) log-probabilities of the ids at ``positions``: one row, whole logits, no padding."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0].double().log_softmax(-1).numpy()
    return logits[positions - 1, ids[positions]]


def continued(model: Any, prompt: np.ndarray, stops: Sequence[int], most: int, draws: int = 0, seed: int = 0) -> Any:
    """(draws or 1, <= most) ids that transformers' ``generate`` puts behind the prompt: greedy, or drawn at T = 1."""
    import torch
    from transformers import GenerationConfig

    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "num_return_sequences": draws}
    config = GenerationConfig(
        max_new_tokens=most, eos_token_id=list(stops), pad_token_id=stops[0], **(how if draws else {"do_sample": False})
    )
    torch.manual_seed(seed)
    ids = torch.from_numpy(prompt)[None]
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return made[:, len(prompt) :].numpy()


def compare_scores(model: Any, rows: Sequence[Any], scored: Sequence[Any]) -> dict[str, Any]:
    worst, n = 0.0, 0
    for row, found in zip(rows, scored, strict=True):
        gaps = np.abs(found.logprobs - one_by_one(model, row.ids, row.positions))
        worst, n = max(worst, float(gaps.max())), n + len(gaps)
    return {"tokens": n, "largest_difference": worst, "within_1e-4": worst <= 1e-4}


def compare_greedy(model: Any, seen: Sequence[Any], rows: Sequence[Any], scored: Sequence[Any], stops: Any) -> Any:
    """Every sample: all its turns verbatim by the pass, and by generating each from its gold history."""
    from core.signals.likelihood import score_turn

    counts = {"samples": len(seen), "turns": 0, "reproduced": 0, "near_ties": 0, "disagree": 0}
    for supervision, row, scores in zip(seen, rows, scored, strict=True):
        turns = [score_turn(row.ids, row.positions, scores, t.start, t.stop, stops) for t in supervision.turns]
        really = []
        for turn in supervision.turns:
            gold = supervision.ids[turn.start : turn.stop]
            made = continued(model, supervision.ids[: turn.start], sorted(stops), len(gold))[0]
            really.append(np.array_equal(made, gold))
        counts["turns"] += len(turns)
        if any(turn.smallest < NEAR_TIE for turn in turns):
            counts["near_ties"] += 1
            continue
        counts["reproduced"] += all(really)
        counts["disagree"] += all(t.exact for t in turns) != all(really)
    return counts


def uncertain(backend: Any, seen: Sequence[Any], n: int, stops: Sequence[int]) -> list[tuple[np.ndarray, Any, float]]:
    """n times (prompt, short answer, p of exactly that answer at T = 1) with p in [0.02, 0.98]."""
    from core.backends._base import ScoreRow
    from core.types import TEMPERATURES, Decoding

    prompts = [s.ids[: s.turns[0].start] for s in seen]
    at, found = TEMPERATURES.index(1.0), {}
    for turn in range(ROUNDS):
        seeds = range(turn * len(prompts), (turn + 1) * len(prompts))
        drawn = backend.generate(prompts, [Decoding(1.0, LONGEST, seed) for seed in seeds], stops)
        asked = [(p, g.tokens) for p, g in zip(prompts, drawn, strict=True) if g.stopped]
        whole = [np.concatenate(pair) for pair in asked]
        scored = backend.score(
            [ScoreRow(ids, np.arange(len(p), len(ids))) for ids, (p, _) in zip(whole, asked, strict=True)]
        )
        for (prompt, answer), s in zip(asked, scored, strict=True):
            p = float(np.exp((s.logprobs.astype(np.float64) - s.lognorm[:, at]).sum()))
            if 0.02 <= p <= 0.98:
                found.setdefault(prompt.tobytes(), (prompt, answer, p))  # one answer a prompt
        if len(found) >= n:
            break
    return list(found.values())[:n]


def inside(p: float, hits: int, draws: int) -> bool:
    """Whether p lies in the 99 % interval of Clopper and Pearson around hits of draws."""
    from scipy.stats import beta

    low = beta.ppf(0.005, hits, draws - hits + 1) if hits else 0.0
    high = beta.ppf(0.995, hits + 1, draws - hits) if hits < draws else 1.0
    return bool(low <= p <= high)


def compare_draws(backend: Any, model: Any, cases: Sequence[Any], draws: int, stops: Sequence[int]) -> dict[str, Any]:
    from core.types import Decoding

    misses: dict[str, list[tuple[float, float]]] = {"lacuna": [], "transformers": []}
    for i, (prompt, answer, p) in enumerate(cases):
        seeds = range(i * draws, (i + 1) * draws)
        ours = backend.generate([prompt] * draws, [Decoding(1.0, len(answer), s) for s in seeds], stops)
        theirs = continued(model, prompt, stops, len(answer), draws, seed=i)
        hits = {
            "lacuna": sum(np.array_equal(g.tokens, answer) for g in ours),
            "transformers": int((theirs == answer).all(1).sum()) if theirs.shape[1] == len(answer) else 0,
        }
        for name, k in hits.items():
            if not inside(p, k, draws):
                misses[name].append((round(p, 4), k / draws))
    return {"samples": len(cases), "draws": draws, "outside_99_percent_interval": misses}


def measure(folder: Path, family: str, options: argparse.Namespace) -> dict[str, Any]:
    from core.backends._base import ScoreRow
    from core.checkpoint.folders import as_checkpoint
    from core.plugins import kind
    from core.rendering.tokenizers import open_tokenizer

    dialogues = rows_of(options.samples)
    out = {}
    for name, (path, base) in train(folder / family, family, dialogues).items():
        began = time.perf_counter()
        seen = supervised(dialogues, open_tokenizer(str(base or path), "auto"))
        rows = [ScoreRow(s.ids, np.flatnonzero(s.target)) for s in seen]
        backend = kind("backends", "hf").open(as_checkpoint(path, base), dtype="float32", device="cpu")
        model, stops = plain_model(path, base), tuple(sorted(backend.stop_ids))
        scored = backend.score(rows)
        cases = uncertain(backend, seen, options.cases, stops)
        out[name] = {
            "scores": compare_scores(model, rows, scored),
            "greedy": compare_greedy(model, seen, rows, scored, frozenset(stops)),
            "draws": compare_draws(backend, model, cases, options.draws, stops),
            "seconds": round(time.perf_counter() - began, 1),
        }
        backend.close()
    return out


def holds(shape: dict[str, Any], cases: int) -> bool:
    """All that is asked of one shape; one miss in twenty is what chance gives now and then."""
    misses = shape["draws"]["outside_99_percent_interval"].values()
    enough = shape["draws"]["samples"] == cases and all(len(m) <= 1 for m in misses)
    return shape["scores"]["within_1e-4"] and shape["greedy"]["disagree"] == 0 and enough


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.agreement", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--cases", type=int, default=20, help="samples whose closed form is compared with draws")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--families", nargs="+", default=["qwen2", "llama", "olmo2"])
    parser.add_argument("--out", type=Path, help="the JSON as a file, too")
    options = parser.parse_args()
    from core.settings import quiet_libraries

    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shapes = {family: measure(Path(folder), family, options) for family in options.families}
    result = {
        "case": f"{options.samples} samples, float32, CPU",
        "holds": all(holds(s, options.cases) for kinds in shapes.values() for s in kinds.values()),
        "shapes": shapes,
        "machine": machine(),
        "versions": versions(PACKAGES),
    }
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
