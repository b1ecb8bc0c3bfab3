"""Plants pipeline faults into real tiny fine-tunes and counts what the diagnosis says of them.

    OMP_NUM_THREADS=1 python -m bench.faults [--families llama,qwen2,olmo2] [--seeds 1] [--only CODE,CODE] [--out FILE]

Every world is a base, a fine-tune made wrong in one way, and the dataset as its owner would hand it in; the diagnosis
runs through the services. For a fault of single rows an instance is a planted row that is not learned. For a fault of
a whole run it is the run, and again each of ten random halves of its measured rows, judged alone: the number of
trainings stands beside. Clean worlds hold contradictions and answers too long to learn, so that they have unlearned
rows of other causes; a false alarm there is a row, or a run-wide finding on one of the halves. ``--only`` plants some
codes again and leaves the others in FILE as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench._fault_worlds import CASES, Shop, World, make_land
from bench._machine import machine, versions
from bench._worlds import Measured, measure

HALVES = 10
RUN_WIDE = (
    "template_mismatch", "bos", "think_block", "tokenizer_mismatch", "packing", "adapter_not_applied",
    "precision_or_merge", "undertrained_run", "diverged",
)  # fmt: skip
OPTIONS = {"scorer": "normalised", "max_new_tokens": 24, "max_draws": 10}


def diagnose(world: World, out: Path) -> Measured:
    """The world's measurements, through the services."""
    from core.checkpoint.folders import as_checkpoint

    path = out.with_suffix(".jsonl")
    lines = [json.dumps({"id": f"r{i}", "messages": r.messages}) + "\n" for i, r in enumerate(world.rows)]
    path.write_text("".join(lines), encoding="utf-8")
    final = as_checkpoint(world.final, world.adapter_base, "final")
    base = None if world.base is None else as_checkpoint(world.base, None, "base")
    trajectory = [as_checkpoint(folder, adapter_base, folder.name) for folder, adapter_base in world.trajectory]
    return measure(out.name, path, "messages", (final, base, trajectory), **OPTIONS | world.case.options)


def findings(measured: Measured, rows: np.ndarray) -> dict[str, tuple[str, str, Any]]:
    """What is found for the whole run on these rows alone: code to (state, text, numbers)."""
    from core.faults import judge_run
    from core.judge.judgement import judge
    from core.types import SignalTable

    table, run = measured.table, measured.run
    part = SignalTable(tuple(table.keys[i] for i in rows), {n: v[rows] for n, v in table.columns.items()})
    judged = judge(run.spec, part, run.thresholds, measured.facts)
    return {f.code: (f.state, f.text, f.measured) for f in judge_run(part, measured.facts, judged.status)}


def count(world: World, seed: int, out: Path) -> dict[str, Any]:
    """Instances and hits of one world; for clean ones the alarms by code."""
    from core.judge.judgement import judge

    measured = diagnose(world, out)
    run, n = measured.run, len(world.rows)
    judged = judge(run.spec, measured.table, run.thresholds, measured.facts)
    missed = np.isin(judged.status, ("unlearned", "partly"))
    causes = Counter(c for c in judged.cause if c is not None)
    counts = {"missed": int(missed.sum()), "rows": n, "told": dict(causes)}
    code = world.case.code
    if code != "clean" and code not in RUN_WIDE:
        return counts | _row_counts(world, measured, judged.cause, missed)
    rng = np.random.default_rng(seed)
    halves = [np.sort(rng.permutation(n)[: max(1, n // 2)]) for _ in range(HALVES)]
    found = [findings(measured, rows) for rows in (np.arange(n), *halves)]
    if code != "clean":
        return counts | _run_counts(code, found)
    alarms = {c: sum(f[c][0] == "fail" for f in found) for c in RUN_WIDE}
    return counts | {
        "views": len(found),
        "run_alarms": {c: k for c, k in alarms.items() if k},
        "row_alarms": {c: k for c, k in causes.items() if c.startswith("pipeline:")},
        "states": {c: state for c, (state, *_) in found[0].items()},
    }


def _run_counts(code: str, found: Sequence[Mapping[str, tuple[str, str, Any]]]) -> dict[str, Any]:
    """Of a fault of the whole run: views on which it is found, and what else fails on all rows."""
    hits = [f[code][0] == "fail" for f in found]
    misses = [f[code] for f, hit in zip(found, hits, strict=True) if not hit]
    state, text, numbers = found[0][code]
    example = {"example": {"said": text, "measured": numbers}} if state == "fail" else {}
    others = [c for c, (s, *_) in found[0].items() if s == "fail" and c in RUN_WIDE and c != code]
    return {"instances": len(hits), "hits": sum(hits), "miss": misses[:1], **example, "also": others}


def _row_counts(world: World, measured: Measured, cause: np.ndarray, missed: np.ndarray) -> dict[str, Any]:
    """Of a fault of single rows: planted rows that are not learned, and those of them it is named for."""
    from core.plugins import kind

    code = f"pipeline:{world.case.code}"
    touched = np.isin(np.arange(len(world.rows)), sorted(world.touched))
    instances = touched & (missed | np.array([c is not None for c in cause]))
    hits = np.flatnonzero(instances & (cause == code)).tolist()
    strays = Counter(c for c in cause[~touched & missed] if c is not None)
    example: dict[str, Any] = {}
    if hits:
        row = {name: float(values[hits[0]]) for name, values in measured.table.columns.items()}
        sentence = kind("faults", world.case.code).sentence(row)
        example = {"example": {"row": world.rows[hits[0]].messages, "said": sentence}}
    return {
        "instances": int(instances.sum()), "hits": len(hits), **example, "strays": dict(strays),
        "untold": sum(c is None for c in cause[instances]),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default="llama,qwen2,olmo2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    began = time.monotonic()
    cases = [case for case in CASES if not args.only or case.code in args.only.split(",")]
    results: dict[str, list[dict[str, Any]]] = {case.code: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LACUNA_DATA_DIR"] = str(Path(folder) / "lacuna")
        from core.settings import quiet_libraries

        quiet_libraries()
        shop = Shop(Path(folder))
        for turn, (seed, family) in enumerate((s, f) for s in range(args.seeds) for f in args.families.split(",")):
            for case in cases:
                out, before = Path(folder) / f"{case.name}-{family}-{seed}", shop.trainings
                counts = count(shop.world(case, family, make_land(seed + 1), out, turn), seed, out)
                counts |= {"world": out.name, "trainings": shop.trainings - before}
                results[case.code].append(counts)
                print(f"{time.monotonic() - began:6.0f} s  {json.dumps(counts)}", file=sys.stderr, flush=True)
    table = report(results, shop.trainings, time.monotonic() - began)
    if args.only and args.out and args.out.exists():
        table = filled(json.loads(args.out.read_text()), table)
    print(text := json.dumps(table, indent=1))
    if args.out:
        args.out.write_text(text + "\n")
    return 0


def filled(before: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """The table ``before`` with the codes that were planted again now."""
    faults = {**before["faults"], **table["faults"]}
    clean = table["clean"] if table["clean"]["worlds"] else before["clean"]
    spent = {n: before[n] + table[n] for n in ("trainings", "seconds")}
    codes = dict.fromkeys(case.code for case in CASES)
    return table | {"faults": {c: faults[c] for c in codes if c in faults}, "clean": clean} | spent


def report(results: dict[str, list[dict[str, Any]]], trainings: int, seconds: float) -> dict[str, Any]:
    faults = {}
    for code, worlds in results.items():
        if code == "clean":
            continue
        instances, hits = sum(w["instances"] for w in worlds), sum(w["hits"] for w in worlds)
        faults[code] = {
            "instances": instances, "recognised": hits, "share": round(hits / instances, 4) if instances else None,
            "example": next((w["example"] for w in worlds if "example" in w), None),
            "worlds": len(worlds), "strays": sum(sum(w.get("strays", {}).values()) for w in worlds),
        }  # fmt: skip
    clean = results.get("clean", [])
    rows = sum(w["rows"] for w in clean)
    blamed = sum((Counter(w["row_alarms"]) for w in clean), Counter())
    alarms = {c: sum(w["run_alarms"].get(c, 0) for w in clean) for c in RUN_WIDE}
    return {
        "faults": faults,
        "clean": {
            "worlds": len(clean), "rows": rows, "missed": sum(w["missed"] for w in clean), "rows_blamed": dict(blamed),
            "false_alarms_rows": round(blamed.total() / rows, 4) if rows else None,
            "views": sum(w["views"] for w in clean), "run_findings": {c: n for c, n in alarms.items() if n},
        },
        "trainings": trainings,
        "seconds": round(seconds),
        "machine": machine(),
        "versions": versions(("torch", "transformers", "tokenizers", "peft", "numpy")),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
