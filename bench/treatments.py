"""What recipes do on worlds whose causes are planted: going on from the checkpoint, and training again from the base.

    .venv/bin/python bench/treatments.py WORLD [WORLD ...] [--ways go_on again] [--causes ...] [--samples N]
    .venv/bin/python bench/treatments.py --pool

Takes folders as ``lacuna lab build`` writes them. A run is stored whose causes are the planted ones, and each cause is
proven through the services, as the page does it. Proofs that are in the result file are not run again. ``--pool`` only
sums up and prints the tables. What the product ships, ``core/proof/worlds.json``, takes what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "bench" / "results" / "treatments.json"
SHIPPED = ROOT / "core" / "proof" / "worlds.json"
CAUSES = ("missing_knowledge", "base_conflict", "data_inconsistency", "left_side_forgetting", "under_optimised")
WAYS = ("go_on", "again")
ARMS = ("treatment", "again", "control", "off_target")


def prepared(world: Path, dtype: str = "float32", answer: int = 512) -> Any:
    """The world as a judged run whose causes are the planted ones.

    Args:
        dtype: what the model is held in when it is asked. answer: tokens of an answer, at most.
    """
    from bench.mitigation import imported, judged
    from core.checkpoint.folders import as_checkpoint

    truth = [json.loads(line) for line in (world / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [t["nll"] if isinstance(t["nll"], list) else list(t["nll"].values())[:-1] for t in truth]
    groups: dict[str, int] = {}
    disputes = [t.get("dispute") for t in truth]
    wrong = [not t["learned"] and bool(t["planted"]) and t["scored"] for t in truth]
    values = {
        "status": np.array(["learned" if t["learned"] else "unlearned" for t in truth], dtype=object),
        "cause": np.array([t["planted"][0] if w else None for t, w in zip(truth, wrong, strict=True)], dtype=object),
        "confidence": np.where(wrong, 1.0, np.nan),
        "nll": np.array([loss[-1] for loss in losses]),
        "nll_fall_end": np.array([loss[-2] - loss[-1] for loss in losses]),
        "group": np.array([np.nan if d is None else float(groups.setdefault(str(d), len(groups))) for d in disputes]),
    }
    adapter = (world / "final" / "adapter_config.json").exists()
    final = as_checkpoint(world / "final", world / "base" if adapter else None, "final")
    return judged(world.name, imported(world / "dataset.jsonl"), final, values, {},
                  base=as_checkpoint(world / "base", None, "base"), dtype=dtype, answer=answer)  # fmt: skip


def course(world: Path) -> dict[str, Any]:
    """The epochs of each stage, the rate and the batch with which the world was made, as far as it says."""
    about = json.loads((world / "world.json").read_text(encoding="utf-8"))
    spec, tuning = about["spec"], about["spec"].get("tuning")
    if tuning:
        return {"epochs": _epochs(tuning["epochs"]), "learning_rate": tuning["lr"], "batch": tuning["batch"]}
    if "lr" in spec:
        return {"epochs": _epochs(spec["epochs"]), "learning_rate": spec["lr"], "batch": spec["batch"]}
    stages = json.loads((world / "trainer.json").read_text(encoding="utf-8"))["arguments"]["stages"]
    passes = [sum(1 for stage in about["epochs"] if stage == n) for n in range(1, len(stages) + 1)]
    return {"epochs": _epochs(passes), "learning_rate": stages[0]["rate"], "batch": stages[0]["batch"]}


def _epochs(numbers: Any) -> str:
    return ", ".join(f"{n:g}" for n in numbers)


def proven(run: Any, cause: str, way: str, cost: Mapping[str, Any]) -> dict[str, Any]:
    """The arms of one proof, and its result."""
    from core.filters import from_query
    from core.services import mitigation, proofs
    from core.worker.here import run_here

    request = mitigation.request(run.id, from_query(f"cause={cause}", run.columns), cause, {}, {})
    proof_id, job = proofs.start(request, cost, way == "again")
    run_here(job)
    proof = proofs.get_proof(proof_id)
    arms = {name: {k: v for k, v in arm.items() if k not in ("nll", "treated_nll")} for name, arm in proof.arms.items()}
    return {"arms": arms, "result": proof.result}


def run_world(folder: Path, args: argparse.Namespace, held: dict[str, Any]) -> Iterator[str]:
    """Proves what is missing in ``held``; yields a line for each proof when it is in there."""
    from bench._machine import machine
    from core.errors import UserError
    from core.settings import settings
    from db import session

    with tempfile.TemporaryDirectory() as data:
        os.environ["LACUNA_DATA_DIR"] = data
        settings.cache_clear()
        session._opened.cache_clear()
        run = prepared(folder)
        for cause in args.causes:
            for way in args.ways:
                entry = held.setdefault(folder.name, {}).setdefault(cause, {})
                if way in entry:
                    continue
                cost: dict[str, Any] = {"samples": args.samples, "learned": args.learned}
                cost |= course(folder) if way == "again" else {"guard": args.guard}
                try:
                    entry[way] = proven(run, cause, way, cost) | {"machine": machine()}
                except UserError as error:
                    entry[way] = {"refused": str(error)}
                yield f"{folder.name} {cause} {way}: {line(entry[way])}"
        session.database().close()


def line(entry: Mapping[str, Any]) -> str:
    if "refused" in entry:
        return str(entry["refused"])
    words = []
    for name, arm in entry["result"]["arms"].items():
        right, lost = arm["recovered"], arm["lost"]
        guard = arm["training"].get("guard") or {}
        scale = f" at {guard['scale']:g}" if guard else ""
        words.append(
            f"{name} {right['k']}/{right['n']}, lost {lost['k'] if lost else '-'}{scale}, {arm['seconds']:.0f} s"
        )
    return "; ".join(words)


# ---------------------------------------------------------------------------------------------------------- pooled


def pooled(worlds: Mapping[str, Any]) -> dict[str, Any]:
    """Cause, way and arm over all worlds: shares, and paired differences of the recipe to the other arms."""
    from core.proof.numbers import paired_difference, share

    out: dict[str, Any] = {}
    for cause in CAUSES:
        for way in WAYS:
            entries = {w: of[cause][way] for w, of in worlds.items() if "arms" in of.get(cause, {}).get(way, {})}
            if not entries:
                continue
            arms: dict[str, Any] = {}
            for name in ARMS:
                measured = [e["arms"][name] for e in entries.values() if name in e["arms"]]
                if not measured:
                    continue
                arms[name] = {
                    "restored": share([v for arm in measured for v in arm["right"]]),
                    "reworded": share([v for arm in measured for v in arm["asked"]]),
                    "aside": share([v for arm in measured for v in arm["aside"]]),
                    "lost": share([1 - v for arm in measured for v in arm["kept"]]),
                }
                if name != "treatment":
                    both = [(e["arms"]["treatment"], e["arms"][name]) for e in entries.values()
                            if name in e["arms"] and "treatment" in e["arms"]]  # fmt: skip
                    if not both:
                        continue
                    arms[name]["recipe_over_it"] = paired_difference(
                        [v for own, _ in both for v in own["right"]], [v for _, other in both for v in other["right"]]
                    )
            out.setdefault(cause, {})[way] = {"worlds": list(entries), "arms": arms}
    return out


def table(found: Mapping[str, Any], way: str) -> str:
    """The pooled figures of one way as a table of the documentation."""
    names = [name for name in ARMS if any(name in of[way]["arms"] for of in found.values() if way in of)]
    others = [name for name in names if name != "treatment"]
    head = ["planted cause", "worlds", *(f"{n}: restored" for n in names), *(f"{n}: lost" for n in names),
            *(f"over {n}, points" for n in others)]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for cause, of in found.items():
        if way in of:
            arms = of[way]["arms"]
            cells = [cause, str(len(of[way]["worlds"]))]
            cells += [_cell(arms.get(n), "restored") for n in names] + [_cell(arms.get(n), "lost") for n in names]
            for name in others:
                if "recipe_over_it" not in arms.get(name, {}):
                    cells.append("–")
                    continue
                gap = [round(100 * v) for v in arms[name]["recipe_over_it"]]
                cells.append(f"{gap[0]:+d} ({gap[1]:+d} to {gap[2]:+d})")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(arm: Mapping[str, Any] | None, what: str) -> str:
    measured = (arm or {}).get(what)
    return "–" if not measured else f"{measured['k']} of {measured['n']} ({100 * measured['share']:.0f} %)"


def write(worlds: Mapping[str, Any], case: Mapping[str, Any]) -> None:
    found = pooled(worlds)
    head = json.dumps({"case": case, "pooled": found}, indent=1)
    lines = [f'  {json.dumps(w)}: {{\n' + ",\n".join(f"   {json.dumps(c)}: {json.dumps(e)}" for c, e in of.items())
             + "\n  }" for w, of in worlds.items()]  # fmt: skip
    RESULTS.write_text(head[: head.rindex("\n")] + ',\n "worlds": {\n' + ",\n".join(lines) + "\n }\n}\n")
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    for cause, ways in found.items():
        for way, of in ways.items():
            own = {"worlds": of["worlds"], "restored": counted_in(of, "restored"), "lost": counted_in(of, "lost")}
            shipped["causes"].setdefault(cause, {})[way] = own
    SHIPPED.write_text(json.dumps(shipped, indent=1) + "\n")


def counted_in(of: Mapping[str, Any], what: str) -> list[int]:
    """How many of how many in the recipe's own arm."""
    measured = of["arms"]["treatment"][what] or {"k": 0, "n": 0}
    return [int(measured["k"]), int(measured["n"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path, nargs="*")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--causes", nargs="+", default=list(CAUSES), choices=CAUSES)
    for name, default in (("samples", 24), ("learned", 60), ("guard", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--pool", action="store_true")
    args = parser.parse_args()
    from core.settings import quiet_libraries

    quiet_libraries()
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    worlds = held.get("worlds", {})
    case = {"samples": args.samples, "learned": args.learned, "guard": args.guard}
    for folder in args.world:
        for told in run_world(folder, args, worlds):
            print(told, file=sys.stderr, flush=True)
            write(worlds, case)
    if args.pool:
        write(worlds, held.get("case", case))
        for way in WAYS:
            print(f"\n{way}\n{table(pooled(worlds), way)}")


if __name__ == "__main__":
    main()
