"""What recipes do: the table of causes and recipes on lab worlds, and the memory that an export takes.

    .venv/bin/python bench/mitigation.py memory [--rows 20000 200000]
    .venv/bin/python bench/mitigation.py worlds WORLD [WORLD ...] [--steps N] [--causes ...] [--recipes ...]

``memory`` makes runs of that many rows (rows and verdicts are made up, this is a load test), exports each recipe in a
process of its own and reports its peak.

``worlds`` takes folders as ``lacuna lab build`` writes them. For each planted cause the samples that have it
and were not learned are treated with every recipe, each from the world's own checkpoint, for the same number of steps,
beside a control arm on a uniform mix; every arm is asked as the diagnosis asks. Arms that are in the result file are
not run again, so that the table can be filled over several calls.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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


def judged(name: str, dataset: Any, final: Any, values: dict[str, Any], preset_settings: dict[str, Any]) -> Any:
    """A run with these verdicts, as if it had been judged; columns that are not given are not measured."""
    from dataclasses import replace

    from core.services import runs, specs
    from core.types import Column
    from db import runs as run_table
    from db import samples as sample_table
    from db import verdicts
    from db.session import database

    spec = specs.make_spec(dataset.id, final, scorer="normalised", max_draws=0, preset_settings=preset_settings)
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


# ---------------------------------------------------------------------------------------------------------- worlds


def prepared(world: Path) -> tuple[Any, dict[str, list[str]]]:
    """The world as a judged run whose causes are the planted ones, and the ids that have each cause."""
    from core.checkpoint.folders import as_checkpoint

    truth = [json.loads(line) for line in (world / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    dataset = imported(world / "dataset.jsonl")
    base = world / "base" if (world / "final" / "adapter_config.json").exists() else None
    wrong = [not t["learned"] and bool(t["planted"]) and t["scored"] for t in truth]
    values = {
        "status": np.array(["learned" if t["learned"] else "unlearned" for t in truth], dtype=object),
        "cause": np.array([t["planted"][0] if w else None for t, w in zip(truth, wrong, strict=True)], dtype=object),
        "confidence": np.where(wrong, 1.0, np.nan),
        "nll": np.array([t["nll"][-1] for t in truth]),
        "nll_fall_end": np.array([t["nll"][-2] - t["nll"][-1] for t in truth]),
        "group": np.array([np.nan if t["dispute"] is None else float(t["dispute"]) for t in truth]),
    }
    run = judged(world.name, dataset, as_checkpoint(world / "final", base, "final"), values, {})
    ids = {c: [t["id"] for t, w in zip(truth, wrong, strict=True) if w and t["planted"][0] == c] for c in CAUSES}
    return run, ids


class Table:
    """The result file: read at the start, written after every arm."""

    def __init__(self, path: Path, case: dict[str, Any]) -> None:
        self.path = path
        held = json.loads(path.read_text()) if path.exists() else {}
        self.worlds: dict[str, Any] = held.get("worlds", {}) if held.get("case") == case else {}
        self.case = case

    def write(self) -> None:
        from bench._machine import machine

        self.path.parent.mkdir(parents=True, exist_ok=True)
        found = pooled(self.worlds)
        result = {"case": self.case, "machine": machine(), "versions": versions(), "judged": judged_by(found)}
        result["pooled"] = found
        head = json.dumps(result, indent=1)
        # One line a world and cause: there are thousands of zeros and ones.
        lines = [f'  {json.dumps(w)}: {{\n' + ",\n".join(f"   {json.dumps(c)}: {json.dumps(e)}" for c, e in of.items())
                 + "\n  }" for w, of in self.worlds.items()]  # fmt: skip
        self.path.write_text(head[: head.rindex("\n")] + ',\n "worlds": {\n' + ",\n".join(lines) + "\n }\n}\n")


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "numpy")}


def worlds(folders: list[Path], causes: list[str], recipes: list[str], cost: dict[str, Any], out: Path) -> None:
    table = Table(out, cost)
    for folder in folders:
        with tempfile.TemporaryDirectory() as data:
            os.environ["LACUNA_DATA_DIR"] = data
            from core.settings import settings
            from db import session

            settings.cache_clear()
            session._opened.cache_clear()
            run, ids = prepared(folder)
            for cause in causes:
                if len(ids[cause]) >= 2:
                    entry = table.worlds.setdefault(folder.name, {}).setdefault(cause, {"samples": len(ids[cause])})
                    for name in one_cause(run, cause, recipes, cost, Path(data), entry):
                        print(f"{folder.name} {cause} {name}: {line(entry, name)}", file=sys.stderr, flush=True)
                        table.write()
            session.database().close()
    table.write()


def one_cause(
    run: Any, cause: str, recipes: list[str], cost: dict[str, Any], folder: Path, entry: dict[str, Any]
) -> Iterator[str]:
    """Runs the arms of one cause that are missing in ``entry``; yields each one's name when it is in there."""
    from core.plugins import kind, with_defaults
    from core.proof.training import Bench, Watched, settled, without_right
    from core.recipes._order import drawn
    from core.services.proofs import _Budget
    from core.services.recipes import RunPool

    budget = with_defaults(_Budget, cost)
    chosen = RunPool(run, [], {}).select(f"cause={cause}")
    # Of a contradiction about half the sides are dropped.
    drawn_at_most = budget["samples"] * (2 if cause == "data_inconsistency" else 1)
    treated = np.sort(drawn(chosen, min(len(chosen), drawn_at_most), 0))
    plans = {name: kind("recipes", name) for name in dict.fromkeys((cause, *recipes))}
    own = plans[cause].plan(RunPool(run, treated, {}), with_defaults(plans[cause], plans[cause].proof))
    treated = own.counted  # what a decision keeps, for every recipe alike
    if not len(treated):
        return
    pool = RunPool(run, treated, {})
    own = plans[cause].plan(pool, with_defaults(plans[cause], plans[cause].proof))
    budget = settled(budget, own)
    learned = np.setdiff1d(pool.select("status=learned"), np.union1d(chosen, own.given_up))
    learned = np.sort(drawn(learned, min(len(learned), budget["learned"]), 1))
    mixed = np.sort(drawn(np.arange(run.n_samples), budget["samples"], 2))
    watched = Watched(*(tuple(pool.rows(o)) for o in (treated, learned, mixed)))
    entry |= {"steps": budget["steps"], "rate": budget["rate"]}

    def bench(seen: Watched) -> Bench:
        return Bench(run.spec, run.thresholds, pool.reading, seen, budget, folder / "arms", "cpu", lambda *_: None)

    if "before" not in entry:
        entry["before"] = bench(watched).measure("before", run.spec.final)
        yield "before"
    watched, _ = without_right(watched, entry["before"])
    if not watched.treated:
        return
    for name in ("control", *plans):
        if name in entry:
            continue
        if name == "control":
            order = drawn(np.arange(run.n_samples), run.n_samples, 3)

            def rows(order: np.ndarray = order) -> Iterator[Any]:
                from core.recipes._base import as_it_came

                return (as_it_came(s, "uniform") for s in pool.rows(order))
        else:
            recipe = plans[name]
            try:
                rows = recipe.plan(pool, with_defaults(recipe, recipe.proof)).rows
            except Exception as error:  # a recipe that cannot do anything with these samples says so
                entry[name] = {"refused": str(error)}
                yield name
                continue
        entry[name] = bench(watched).arm(name, rows)
        yield name


def line(entry: dict[str, Any], name: str) -> str:
    arm = entry[name]
    if "refused" in arm:
        return arm["refused"]
    right, kept = arm["right"], arm["kept"]
    return f"{sum(right)} of {len(right)} right, {len(kept) - sum(kept)} of {len(kept)} lost"


def pooled(found: dict[str, Any]) -> dict[str, Any]:
    """Over all worlds, per cause and arm: recovered share, its paired difference to control, damage."""
    from core.proof.numbers import paired_difference, share

    out: dict[str, Any] = {}
    for cause in CAUSES:
        entries = [w[cause] for w in found.values() if cause in w and "control" in w[cause]]
        names = dict.fromkeys(n for e in entries for n in ("control", *CAUSES) if n in e)
        for name in names:
            both = [(e[name], e["control"]) for e in entries if "right" in e.get(name, {})]
            if not both:
                continue
            right, control = ([v for pair in both for v in pair[i]["right"]] for i in (0, 1))
            out.setdefault(cause, {})[name] = {
                "worlds": len(both),
                "recovered": share(right),
                "asked_otherwise": share([v for a, _ in both for v in a["asked"]]),
                "lost": share([1 - v for a, _ in both for v in a["kept"]]),
                "lost_outside_the_mix": share(
                    [1 - v for a, _ in both for v, seen in zip(a["kept"], a["in_mix"], strict=True) if not seen]
                ),
                "lost_by_control": share([1 - v for _, c in both for v in c["kept"]]),
                "recovered_by_control": share(control),
                "over_control": None if name == "control" else paired_difference(right, control),
            }
    return out


def judged_by(found: dict[str, Any]) -> dict[str, Any]:
    """The three demands on the recipe of the planted cause: what it restores, against the control, what it costs."""
    out = {}
    for cause, arms in found.items():
        if cause not in arms:
            continue
        own = arms[cause]
        recovered, control, lost = (own[n]["share"] for n in ("recovered", "recovered_by_control", "lost"))
        rival = max((a["recovered"]["share"] for n, a in arms.items() if n not in (cause, "control")), default=None)
        out[cause] = {"recovers_80": recovered >= 0.8, "twice_the_control": recovered >= 2 * control,
                      "loses_at_most_3": lost <= 0.03, "best_other_recipe": rival}  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, dest="part")
    one = parts.add_parser("memory")
    one.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    one.add_argument("--recipes", nargs="+")
    one.add_argument("--out", type=Path, default=RESULTS / "mitigation_memory.json")
    two = parts.add_parser("worlds")
    two.add_argument("world", type=Path, nargs="+")
    two.add_argument("--causes", nargs="+", default=list(CAUSES), choices=CAUSES)
    two.add_argument("--recipes", nargs="*", help="set against the one for the cause; all where it is left out")
    two.add_argument("--out", type=Path, default=RESULTS / "mitigation.json")
    for name, default in (("steps", 0), ("batch", 8), ("samples", 24), ("learned", 100)):
        two.add_argument(f"--{name}", type=int, default=default)
    two.add_argument("--learning-rate", type=float, default=0.0)
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
    elif args.part == "memory":
        from core.plugins import kinds

        memory(args.rows, args.recipes or list(kinds("recipes")), args.out)
    else:
        cost = {"steps": args.steps, "batch": args.batch, "samples": args.samples, "learned": args.learned,
                "learning_rate": args.learning_rate}  # fmt: skip
        recipes = list(CAUSES) if args.recipes is None else args.recipes
        worlds([w.resolve() for w in args.world], args.causes, recipes, cost, args.out)


if __name__ == "__main__":
    main()
