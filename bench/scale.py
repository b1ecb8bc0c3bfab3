"""Time and peak memory of what comes after measuring, on a made-up run of very many rows.

    .venv/bin/python bench/scale.py [--rows 1000000] [--keep FOLDER] [--out bench/results/scale.json]

Rows are random words and measurements random numbers, stored as the worker would store them (this is a load test):
every signal on every row, but other renderings on 256 and reproduction, with the text of an answer, on the third that
greedy decoding misses. Each step runs in a process of its own, which says its seconds and the most memory it held:
verdicts (judging all rows from what is stored), the export of raw rows and of verdicts, groups of the unlearned
rows, and the export of a mitigation.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WORDS = ("river", "stone", "garden", "letter", "window", "harbour", "copper", "winter", "signal", "orchard")
# Rows measured under other renderings, and rows stored together.
RENDERED, CHUNK = 256, 1000


def seeded(folder: Path, rows: int) -> dict[str, Any]:
    """Imports the rows and stores their measurements; says the seconds of both."""
    from bench.pages import _untrained, random_columns
    from core.checkpoint.folders import as_checkpoint
    from core.lab import tiny
    from core.services import artefacts, datasets, jobs, runs, specs
    from core.signals._plan import plan
    from core.signals._records import RowOutputs, TurnOutputs
    from core.types import Chunk
    from db import samples
    from db import signals as table
    from db.session import database

    rng, draw = np.random.default_rng(0), random.Random(0)
    file = folder / "rows.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for i in range(rows):
            prompt, answer = (" ".join(draw.choices(WORDS, k=draw.randrange(4, 60))) for _ in range(2))
            turns = [{"role": "user", "content": f"{i} {prompt}?"}, {"role": "assistant", "content": answer}]
            row = {"id": f"row-{i}", "stage": f"stage {i * 3 // rows}", "source": f"source {i % 7}", "messages": turns}
            out.write(json.dumps(row) + "\n")
    began = time.perf_counter()
    dataset = datasets.import_files([file], [file.name], "large", None, jobs.Terminal(lambda *_: None))
    imported = time.perf_counter() - began
    file.unlink()
    _untrained(folder / "model", tiny.build_tokenizer(["a b c d"], 400))
    final = as_checkpoint(folder / "model", None, "model")
    run = runs.store_run("large", specs.make_spec(dataset.id, final, scorer="normalised"))
    with database().reading() as conn:
        hashes = samples.content_hashes(conn, dataset.id)
    exact = rng.random(rows) < 2 / 3
    for measure in plan(run.spec):
        columns = random_columns(measure.signal, exact, rng)
        chosen = np.flatnonzero(~exact) if measure.signal == "reproduction" else np.arange(rows)
        chosen = rng.choice(rows, min(rows, RENDERED), replace=False) if measure.signal == "alternatives" else chosen
        with database().writing() as conn:
            number = table.measure_id(conn, measure.key, measure.signal, measure.checkpoint.fingerprint, {})
            table.link_run(conn, run.id, [number])
        for block in np.array_split(chosen, max(1, len(chosen) // CHUNK)):
            keys, values = tuple(hashes[i] for i in block), {k: v[block] for k, v in columns.items()}
            details: tuple[Any, ...] = ()
            if measure.signal == "reproduction":
                said = (" ".join(draw.choices(WORDS, k=20)) for _ in block)
                details = tuple(
                    RowOutputs((TurnOutputs(0, "", text, True, 0.0, True, [], []),)).as_dict() for text in said
                )
            name = artefacts.write(details) if details else None
            with database().writing() as conn:
                table.store_chunk(conn, number, Chunk(measure.key, keys, values, details), name)
    return {"run": run.id, "rows": rows, "import_s": round(imported, 1)}


def judged(folder: Path, run_id: int) -> dict[str, Any]:
    from core.services import judging, runs

    run = runs.get_run(run_id)
    judging.write_judgement(run, run.thresholds)
    return {"rows": run.n_samples, "columns": len(runs.get_run(run_id).columns)}


def raw_rows(folder: Path, run_id: int) -> dict[str, Any]:
    from core.services import exports
    from core.types import Filter

    return written(exports.lines(run_id, Filter()))


def verdict_lines(folder: Path, run_id: int) -> dict[str, Any]:
    from core.services import exports

    return written(exports.verdict_lines(run_id))


def written(lines: Any) -> dict[str, Any]:
    """Rows and MiB of lines that are thrown away as they come."""
    n = size = 0
    for line in lines:
        n, size = n + 1, size + len(line)
    return {"rows": n, "mib_written": round(size / 2**20)}


def grouped(folder: Path, run_id: int) -> dict[str, Any]:
    from core.services import clusters
    from core.services.jobs import Terminal

    done = clusters.handle_cluster(Terminal(lambda *_: None), {"run": run_id})
    return {"groups": done["groups"]}


def mitigated(folder: Path, run_id: int) -> dict[str, Any]:
    from core.filters import from_query
    from core.services import mitigation, runs

    run = runs.get_run(run_id)
    chosen = from_query("status=unlearned", run.columns)
    out = folder / "mitigation"
    file = mitigation.export(run_id, chosen, "under_optimised", {}, out, {}, lambda *_: None).manifest["file"]
    return {"rows": file["rows"], "mib_written": round((out / "mitigation.jsonl").stat().st_size / 2**20)}


STEPS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "seed": seeded, "verdicts": judged, "raw rows": raw_rows, "verdict lines": verdict_lines, "groups": grouped,
    "mitigation": mitigated,
}  # fmt: skip


def one(step: str, folder: Path, number: int) -> dict[str, Any]:
    from bench._machine import peak_memory

    wall, cpu = time.perf_counter(), time.process_time()
    facts = STEPS[step](folder, number)
    spent = {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    return {**spent, "peak_mib": round(peak_memory() / 2**20), **facts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="folder of the run; one that holds a run already is used again")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS)[1:], default=list(STEPS)[1:])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", choices=STEPS, help="(internal) do this one in this process")
    parser.add_argument("--number", type=int, help="(internal) rows to make, or the run")
    args = parser.parse_args()
    made = None if args.keep else tempfile.TemporaryDirectory(prefix="lacuna-scale-")
    folder = args.keep or Path(made.name)  # type: ignore[union-attr]
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["LACUNA_DATA_DIR"] = str(folder)
    if args.step:
        print(json.dumps(one(args.step, folder, args.number)))
        return

    def run(step: str, number: int) -> dict[str, Any]:
        command = [sys.executable, __file__, "--keep", str(folder), "--step", step, "--number", str(number)]
        facts = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        )
        print(step, facts, file=sys.stderr, flush=True)
        return dict(facts)

    from bench._machine import machine, versions

    note = folder / "scale.json"
    seeds = json.loads(note.read_text()) if note.exists() else run("seed", args.rows)
    note.write_text(json.dumps(seeds))
    steps = {step: run(step, seeds["run"]) for step in args.steps}
    held = json.loads(args.out.read_text())["steps"] if args.out and args.out.exists() else {}
    result = {
        "case": {"rows": args.rows, "made_up": "words and measurements are random"},
        "machine": machine(),
        "versions": versions(("sqlalchemy", "numpy", "scikit-learn")),
        "database_mib": round(sum(p.stat().st_size for p in folder.glob("*.db*")) / 2**20),
        "making_it": {k: v for k, v in seeds.items() if k != "run"},
        "steps": held | steps,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    if made is not None:
        made.cleanup()


if __name__ == "__main__":
    main()
