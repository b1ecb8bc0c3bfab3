"""What a mitigation costs: the memory that an export takes.

    .venv/bin/python bench/mitigation.py memory [--rows 20000 200000]

Makes runs of that many rows (rows and verdicts are made up, this is a load test), exports each recipe in a process
of its own and reports its peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "bench" / "results"
CAUSES = ("missing_knowledge", "base_conflict", "data_inconsistency", "left_side_forgetting", "under_optimised")
COLUMNS = {"status": "category", "cause": "category", "stage": "category", "confidence": "number", "nll": "number",
           "nll_fall_end": "number",
           "n_target": "number", "n_tokens": "number", "group": "number", "pattern_count": "number"}  # fmt: skip


def judged(
    name: str, dataset: Any, final: Any, values: dict[str, Any], preset_settings: dict[str, Any], base: Any = None,
    dtype: Any = None, answer: int | None = None,
) -> Any:  # fmt: skip
    """A run with these verdicts, as if it had been judged; columns that are not given are not measured."""
    from dataclasses import replace

    from core.services import runs, specs
    from core.types import Column
    from db import runs as run_table
    from db import samples as sample_table
    from db import verdicts
    from db.session import database

    spec = specs.make_spec(dataset.id, final, base, scorer="normalised", max_draws=0,
                           preset_settings=preset_settings, dtype=dtype, max_new_tokens=answer)  # fmt: skip
    run = replace(runs.store_run(name, spec), columns=tuple(Column(c, k, c, indexed=True) for c, k in COLUMNS.items()))
    with database().writing() as conn:
        order = sample_table.order(conn, dataset.id)
        n = len(order["sid"])
        columns = {c: values.get(c, [None] * n if k == "category" else np.full(n, np.nan)) for c, k in COLUMNS.items()}
        columns["stage"] = order["stage"]
        verdicts.write_verdicts(conn, run, columns, order["ordinal"], order["sid"])
        run_table.set_run(conn, run.id, state="judged")
    return runs.get_run(run.id)


def imported(path: Path) -> Any:
    from core.services import datasets, jobs

    return datasets.import_files([path], [path.name], path.stem, None, jobs.Terminal(lambda *_: None))


# ---------------------------------------------------------------------------------------------------------- memory


def seed(folder: Path, n: int) -> int:
    """A made-up run of n rows; a third has a cause, every hundredth question is asked twice."""
    from core.types import Checkpoint

    rng = np.random.default_rng(0)
    words = np.array(
        ["river", "stone", "garden", "letter", "window", "harbour", "copper", "winter", "signal", "orchard"]
    )
    rows = folder / "rows.jsonl"
    question = ""
    with rows.open("w") as file:
        for i in range(n):
            asked, answer = (" ".join(rng.choice(words, 20)) for _ in range(2))
            # Row 1 of every hundred asks what row 0 asked.
            question = question if i % 100 == 1 else f"{i} {asked}"
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": f"{answer} {i}"}]
            file.write(json.dumps({"id": f"row-{i}", "stage": f"stage {i * 3 // n}", "messages": messages}) + "\n")
    cause = np.array([CAUSES[i % 5] if i % 3 == 0 else None for i in range(n)], dtype=object)
    group = np.full(n, np.nan)
    group[0::100], group[1::100] = np.arange(len(group[0::100])), np.arange(len(group[1::100]))
    values = {"cause": cause, "status": np.where(np.equal(cause, None), "learned", "unlearned").astype(object),
              "nll": rng.gamma(1.0, 0.5, n), "n_target": rng.integers(3, 60, n).astype(float), "group": group,
              "pattern_count": rng.integers(1, 20, n).astype(float)}  # fmt: skip
    return judged("load", imported(rows), Checkpoint("/nowhere", None, None, "none", "none"), values, {}).id


def export_once(run_id: int, recipe: str, out: Path) -> dict[str, Any]:
    """One export in this process, and the peak memory of the process before and after it."""
    from core.filters import from_query
    from core.plugins import kind
    from core.services import mitigation, recipes, runs

    run = runs.get_run(run_id)
    own = kind("recipes", recipe).causes[0]
    query = "" if recipe == "pipeline_repair" else "" if own == "data_inconsistency" else f"cause={own}"
    recipes.recipes()
    before, began = peak(), time.perf_counter()
    written = mitigation.export(run.id, from_query(query, run.columns), recipe, {}, out, {}, lambda *_: None)
    seconds = time.perf_counter() - began
    return {"rows": written.manifest["file"]["rows"], "changed": written.manifest["file"]["changed"],
            "seconds": round(seconds, 1), "mb_before": before, "mb_peak": peak(),
            "mb_written": round((out / "mitigation.jsonl").stat().st_size / 2**20, 1)}  # fmt: skip


def peak() -> float:
    """Most memory this program held, in MiB. Not ``ru_maxrss``: that one begins with what its parent held."""
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(held.split()[1]) / 1024, 1)


def memory(sizes: list[int], recipes: list[str], out: Path) -> None:
    from bench._machine import machine

    held = json.loads(out.read_text()) if out.exists() else {}
    exports: dict[str, Any] = held.get("exports", {})
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"LACUNA_DATA_DIR": str(Path(folder) / "data"), "PYTHONPATH": str(ROOT)}
            call = [sys.executable, __file__]
            run_id = subprocess.check_output([*call, "seed", folder, str(n)], env=environment, text=True).strip()
            print(f"seeded {n:,} rows", file=sys.stderr)
            found = exports.setdefault(str(n), {})
            for recipe in recipes:
                command = [*call, "export", run_id, recipe, str(Path(folder) / recipe)]
                found[recipe] = json.loads(subprocess.check_output(command, env=environment, text=True))
                print(f"{n:,} rows, {recipe}: {found[recipe]}", file=sys.stderr, flush=True)
                out.parent.mkdir(parents=True, exist_ok=True)
                case = "peak memory of one process that exports each recipe, by rows of the run"
                out.write_text(json.dumps({"case": case, "machine": machine(), "exports": exports}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, dest="part")
    one = parts.add_parser("memory")
    one.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    one.add_argument("--recipes", nargs="+")
    one.add_argument("--out", type=Path, default=RESULTS / "mitigation_memory.json")
    three = parts.add_parser("seed")
    three.add_argument("folder", type=Path)
    three.add_argument("n", type=int)
    four = parts.add_parser("export")
    four.add_argument("run", type=int)
    four.add_argument("recipe")
    four.add_argument("out", type=Path)
    args = parser.parse_args()
    from core.settings import quiet_libraries

    quiet_libraries()
    if args.part == "seed":
        print(seed(args.folder, args.n))
    elif args.part == "export":
        print(json.dumps(export_once(args.run, args.recipe, args.out)))
    else:
        from core.plugins import kinds

        memory(args.rows, args.recipes or list(kinds("recipes")), args.out)


if __name__ == "__main__":
    main()
