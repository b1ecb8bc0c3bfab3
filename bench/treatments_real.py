"""What recipes do on worlds around a real pretrained model: going on from the checkpoint, and training again.

    .venv/bin/python bench/treatments_real.py WORLD [WORLD ...] --work DIR [--ways go_on again] [--causes ...]
        [--arms ...] [--one]
    .venv/bin/python bench/treatments_real.py --pool --work DIR

Takes folders as ``lacuna lab build --real`` writes them. The arms are those of a user's proof, made, trained and
measured by the same code. Each arm is kept in DIR as soon as it is measured; what is there is not made again, so the
command goes on where it was stopped. ``--one`` makes the first arm that is missing and ends, with status 3 where none
is. ``--pool`` sums up what DIR holds into ``bench/results/treatments_real.json`` and prints the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench.treatments import ARMS, CAUSES, WAYS, prepared  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "treatments_real.json"
# As a diagnosis on a processor asks a model of this size: no answer of these worlds is longer.
DTYPE, ANSWER = "bfloat16", 48
# `lab build --real` trains an adapter at this multiple of the rate that its specification names.
ADAPTER_RATE = 5


def course(world: Path) -> dict[str, Any]:
    """The epochs of each stage, the rate and the batch with which the world was made."""
    spec = json.loads((world / "world.json").read_text(encoding="utf-8"))["spec"]
    rate = spec["lr"] * (ADAPTER_RATE if spec["lora"] else 1)
    return {"epochs": ", ".join(f"{n:g}" for n in spec["epochs"]), "learning_rate": rate, "batch": spec["batch"]}


def stored_run(world: Path) -> Any:
    """The world as a judged run; made once."""
    from core.services import runs

    for run in runs.list_runs():
        if run.name == world.name:
            return run
    return prepared(world, DTYPE, ANSWER)


def arms_of(run: Any, cause: str, way: str, cost: Mapping[str, Any], folder: Path, shown: Any) -> Any:
    """The arms of the proof that the page would start for this cause."""
    from core.filters import from_query
    from core.plugins import with_defaults
    from core.services import jobs, mitigation, proof_arms, proofs
    from core.types import Proof

    request = mitigation.request(run.id, from_query(f"cause={cause}", run.columns), cause, {}, {})
    again = way == "again"
    request["budget"] = {s.name: s.default for s in proofs.budget(again)} | dict(cost)
    if again:
        request["retrain"] = True
    proof = Proof(0, run.id, cause, cause, request, {}, None, None, 0.0, None)
    return proof_arms.arms_of(run, proof, jobs.Terminal(shown), folder), with_defaults


def missing(folder: Path, args: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """(cause, way, arm) that DIR does not hold yet, in the order in which they are made."""
    held = read(args.work, folder.name)
    for way in args.ways:
        for arm in ("before", *args.arms):
            for cause in args.causes:
                entry = held.get(cause, {}).get(way, {})
                if "refused" in entry or arm in entry.get("arms", {}):
                    continue
                if arm in ("before", *(("treatment", "control", "off_target") if way == "go_on" else ARMS)):
                    yield cause, way, arm


def make(folder: Path, run: Any, cause: str, way: str, name: str, args: argparse.Namespace) -> str:
    """Makes one arm and keeps it; returns what to print."""
    from core.errors import UserError
    from core.proof import training as science

    held = read(args.work, folder.name)
    entry = held.setdefault(cause, {}).setdefault(way, {})
    cost: dict[str, Any] = {"samples": args.samples, "learned": args.learned}
    cost |= course(folder) if way == "again" else {"guard": args.guard}
    try:
        arms, _ = arms_of(run, cause, way, cost, args.work / "copies" / folder.name, progress)
        if name == "before":
            made = arms.before()
        else:
            watched, _ = science.without_right(arms.watched, entry["arms"]["before"])
            made = arms.measure(name, watched)
    except UserError as error:
        entry["refused"] = str(error)
        write(args.work, folder.name, held)
        return f"{folder.name} {cause} {way}: {error}"
    entry.setdefault("arms", {})[name] = made
    entry["cost"] = cost
    write(args.work, folder.name, held)
    right, kept = made["right"], made["kept"]
    return (
        f"{folder.name} {cause} {way} {name}: right {sum(right)}/{len(right)}, kept {sum(kept)}/{len(kept)}, "
        f"{made.get('training', {}).get('steps', 0)} steps, {made.get('seconds', 0):.0f} s"
    )


def progress(stage: str, done: int, total: int, unit: str) -> None:
    if os.environ.get("SHOWN"):
        print(f"  {stage} {done}/{total} {unit}", file=sys.stderr, flush=True)


def read(work: Path, world: str) -> dict[str, Any]:
    kept = work / f"{world}.json"
    held: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    return held


def write(work: Path, world: str, held: Mapping[str, Any]) -> None:
    part = work / f"{world}.json.partial"
    part.write_text(json.dumps(held), encoding="utf-8")
    part.replace(work / f"{world}.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path, nargs="*")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--causes", nargs="+", default=list(CAUSES), choices=CAUSES)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    for name, default in (("samples", 12), ("learned", 40), ("guard", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--one", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["LACUNA_DATA_DIR"] = str(args.work / "data")
    from core.settings import quiet_libraries

    quiet_libraries()
    for folder in args.world:
        while (step := next(missing(folder, args), None)) is not None:
            print(make(folder, stored_run(folder), *step, args), file=sys.stderr, flush=True)
            if args.one:
                return 0
    return 3 if args.one else 0


if __name__ == "__main__":
    sys.exit(main())
