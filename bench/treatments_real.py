"""What recipes do on worlds around a real pretrained model: going on from the checkpoint, and training again.

    .venv/bin/python bench/treatments_real.py WORLD [WORLD ...] --work DIR [--ways go_on again] [--causes ...]
        [--arms ...] [--one]
    .venv/bin/python bench/treatments_real.py WORLD [WORLD ...] --work DIR --pool

Takes folders as ``lacuna lab build --real`` writes them. The arms are those of a user's proof, made, trained and
measured by the same code. Each arm is kept in DIR as soon as it is measured; what is there is not made again, so the
command goes on where it was stopped. ``--one`` makes the first arm that is missing and ends, with status 3 where none
is. ``--pool`` adds what DIR holds to the worlds in ``bench/results/treatments_real.json``, sums up all of them and
prints the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench.treatments import ARMS, CAUSES, SHIPPED, WAYS, counted_in, pooled, prepared, table  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "treatments_real.json"
MODEL = "SmolLM2-135M-Instruct"
# No answer of these worlds is longer.
ANSWER = 48
# Arms of training again that are the same for every cause: as long as the longest of the recipes.
SHARED = ("again", "control")
# `lab build --real` trains an adapter at this multiple of the rate that its specification names.
ADAPTER_RATE = 5


def course(world: Path) -> dict[str, Any]:
    """The epochs of each stage, the rate and the batch with which the world was made."""
    spec = json.loads((world / "world.json").read_text(encoding="utf-8"))["spec"]
    rate = spec["lr"] * (ADAPTER_RATE if spec["lora"] else 1)
    return {"epochs": ", ".join(f"{n:g}" for n in spec["epochs"]), "learning_rate": rate, "batch": spec["batch"]}


def stored_run(world: Path) -> Any:
    """The world as a judged run, asked in the faster number type of this machine; made once."""
    from core.backends._wide import multiplies_bfloat16
    from core.services import runs

    for run in runs.list_runs():
        if run.name == world.name:
            return run
    return prepared(world, "bfloat16" if multiplies_bfloat16() else "float32", ANSWER)


def arms_of(run: Any, cause: str, way: str, cost: Mapping[str, Any], folder: Path, shown: Any) -> Any:
    """The arms of the proof that the page would start for this cause."""
    from core.filters import from_query
    from core.services import jobs, mitigation, proof_arms, proofs
    from core.types import Proof

    request = mitigation.request(run.id, from_query(f"cause={cause}", run.columns), cause, {}, {})
    again = way == "again"
    request["budget"] = {s.name: s.default for s in proofs.budget(again)} | dict(cost)
    if again:
        request["retrain"] = True
    proof = Proof(0, run.id, cause, cause, request, {}, None, None, 0.0, None)
    return proof_arms.arms_of(run, proof, jobs.Terminal(shown), folder)


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
    from bench._machine import machine
    from core.errors import UserError

    held = read(args.work, folder.name)
    cost: dict[str, Any] = {"samples": args.samples, "learned": args.learned}
    cost |= course(folder) if way == "again" else {"guard": args.guard}
    shared = way == "again" and name in SHARED
    made: dict[str, Any] = {}
    copies = args.work / "copies" / f"{folder.name}-{os.getpid()}"
    arms: dict[str, Any] = {}
    for one in args.causes if shared else [cause]:
        entry = held.setdefault(one, {}).setdefault(way, {"cost": cost, "machine": machine()})
        try:
            if "refused" not in entry:
                arms[one] = arms_of(run, one, way, cost, copies, progress)
        except UserError as error:
            entry["refused"] = str(error)
    if cause in arms:
        made = shared_arm(name, arms, held) if shared else {cause: own_arm(name, arms[cause], held[cause][way])}
    for one, measured in made.items():
        held[one][way].setdefault("arms", {})[name] = measured
    write(args.work, folder.name, held)
    told = made.get(cause)
    if told is None:
        return f"{folder.name} {cause} {way}: {held[cause][way]['refused']}"
    right, kept, training = told["right"], told["kept"], told.get("training", {})
    guard = training.get("guard") or {}
    return (
        f"{folder.name} {cause} {way} {name}: right {sum(right)}/{len(right)}, kept {sum(kept)}/{len(kept)}, "
        f"{training.get('steps', 0)} steps, scale {guard.get('scale')}, {told.get('seconds', 0):.0f} s"
    )


def own_arm(name: str, arms: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One arm of one cause."""
    from core.proof import training as science

    if name == "before":
        before: dict[str, Any] = arms.before()
        return before
    watched, _ = science.without_right(arms.watched, entry["arms"]["before"])
    if hasattr(arms, "course"):
        watched = replace(watched, mixed=())
    measured: dict[str, Any] = arms.measure(name, watched)
    return measured


def shared_arm(name: str, arms: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
    """Unchanged data and the uniform repeat ask nothing of a cause: trained once, and asked for all of them."""
    from core.proof import training as science

    left = {c: science.without_right(a.watched, held[c]["again"]["arms"]["before"])[0] for c, a in arms.items()}
    everything = science.Watched(
        tuple(s for w in left.values() for s in w.treated), tuple(dict.fromkeys(s for w in left.values() for s in
        w.learned)), (), (), tuple(s for w in left.values() for s in w.aside),
    )  # fmt: skip
    whole = next(iter(arms.values())).trained(name, everything, max(a.n_added for a in arms.values()))
    out: dict[str, Any] = {}
    at = beside = 0
    kept = dict(zip([s.id for s in everything.learned], whole["kept"], strict=True))
    mixed = dict(zip([s.id for s in everything.learned], whole["in_mix"], strict=True))
    for cause, of in left.items():
        end, last = at + len(of.treated), beside + len(of.aside)
        own = {k: whole[k][at:end] for k in ("right", "asked", "treated_nll")}
        own |= {"aside": whole["aside"][beside:last], "kept": [kept[s.id] for s in of.learned]}
        out[cause] = whole | own | {"in_mix": [mixed[s.id] for s in of.learned]}
        at, beside = end, last
    return out


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


def summed_up(work: Path, worlds: Mapping[str, Path]) -> dict[str, Any]:
    """World's name to its proofs, as ``bench/treatments.py`` pools them; what is refused is named."""
    out: dict[str, Any] = {}
    for name, folder in worlds.items():
        spec = json.loads((folder / "world.json").read_text(encoding="utf-8"))["spec"]
        out[f"smollm2-{spec['seed']}-{'lora' if spec['lora'] else 'full'}"] = read(work, name)
    return out


def joined(before: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """World to cause to way: those of both, the new ones where both have one."""
    out = {name: {cause: dict(ways) for cause, ways in of.items()} for name, of in before.items()}
    for name, of in new.items():
        for cause, ways in of.items():
            out.setdefault(name, {}).setdefault(cause, {}).update(ways)
    return out


def only_trained(ways: Mapping[str, Any]) -> dict[str, Any]:
    """The ways in which an arm was trained, or which were refused."""
    return {
        way: entry for way, entry in ways.items() if entry.get("arms", {}).keys() - {"before"} or "refused" in entry
    }


def write_results(worlds: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the result file and what the product ships of it; returns the pooled figures."""
    trained = {name: {cause: only_trained(ways) for cause, ways in of.items()} for name, of in worlds.items()}
    found = pooled(trained)
    each = {name: pooled({name: of}) for name, of in trained.items()}
    facts = {"case": case, "pooled": found, "by_world": each, "worlds": worlds}
    if RESULTS.exists():  # what was measured before proofs were changed, and cannot be made again
        facts["earlier"] = json.loads(RESULTS.read_text(encoding="utf-8")).get("earlier", {})
    RESULTS.write_text(json.dumps(facts, separators=(",", ":")) + "\n", encoding="utf-8")
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    causes: dict[str, Any] = {}
    for cause, ways in found.items():
        for way, of in ways.items():
            if "treatment" in of["arms"]:
                names = [w for w in of["worlds"] if "treatment" in worlds[w][cause][way]["arms"]]
                own = {"worlds": names, "restored": counted_in(of, "restored"), "lost": counted_in(of, "lost")}
                causes.setdefault(cause, {})[way] = own
    shipped["real"] = {"made_by": "python bench/treatments_real.py", "model": MODEL, "causes": causes}
    SHIPPED.write_text(json.dumps(shipped, indent=1) + "\n", encoding="utf-8")
    return found


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
    parser.add_argument("--pool", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["LACUNA_DATA_DIR"] = str(args.work / "data")
    from core.settings import quiet_libraries

    quiet_libraries()
    for folder in [] if args.pool else args.world:
        while (step := next(missing(folder, args), None)) is not None:
            print(make(folder, stored_run(folder), *step, args), file=sys.stderr, flush=True)
            if args.one:
                return 0
    if args.pool:
        before = json.loads(RESULTS.read_text(encoding="utf-8"))["worlds"] if RESULTS.exists() else {}
        worlds = joined(before, summed_up(args.work, {folder.name: folder for folder in args.world}))
        case = {"model": MODEL, "samples and machine": "of each way of a cause in each world"}
        found = write_results(worlds, case)
        for way in args.ways:
            print(f"\n{way}\n{table(found, way)}")
            for name, of in worlds.items():
                print(f"\n{way}, {name}\n{table(pooled({name: of}), way)}")
        return 0
    return 3 if args.one else 0


if __name__ == "__main__":
    sys.exit(main())
