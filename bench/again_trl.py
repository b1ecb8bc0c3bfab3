"""Is more fixed by the page's recommendation, trained by the exported configuration, than by training again unchanged?

    .venv/bin/python bench/again_trl.py WORLD --data DIR [--samples 40] [--cause CAUSE] [--work DIR] [--steps N]

WORLD is a folder that ``lacuna lab build --real`` wrote, DIR the data in which it is diagnosed under the folder's name.
The cause is the one for which training again from the base is expected to bring back the most rows, and its surest
samples are treated, as the page's *Confidence from* chooses them. The export is the product's, and TRL's command line
trains on it. The dataset unchanged, in another order, is trained the same way for as many steps. Then all rows are
asked for token by token. Writes ``bench/results/again_trl.json``, one entry a world. ``--steps`` stops early, to try
the command out; nothing is written then.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench._machine import machine, versions  # noqa: E402
from bench._worlds import own_data  # noqa: E402
from bench.treatments_real import course as course_of  # noqa: E402
from core.backends._wide import multiplies_bfloat16  # noqa: E402
from core.exports.trl import TEMPLATE  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "again_trl.json"
# What is said of the machine and not of the training: a step's rows at once, no weights on the way.
HERE = {"use_cpu": "true", "gradient_checkpointing": "false", "save_strategy": "no", "disable_tqdm": "true"}


def recommended(run: Any, cause: str | None, samples: int) -> tuple[str, str, Any]:
    """(cause, recipe, filter) of the most gain by training again, its surest samples alone; or of the cause named."""
    from core.services import advice
    from core.types import Filter, Term
    from db import verdicts as verdict_table
    from db.session import database

    again = [o for o in advice.options(run.id, Filter()) if o.what == "again" and cause in (None, o.cause)]
    if not again:
        sys.exit(f"{run.name}: training again is no option{f' for {cause}' if cause else ''}.")
    best = again[0]
    missed = (Term("status", "in", advice.MISSED), Term("cause", "in", (best.cause,)))
    with database().reading() as conn:
        ordinals = np.fromiter(verdict_table.ordinals(conn, run, Filter(missed)), dtype=np.int64)
        confidence = verdict_table.verdict_columns(conn, run, ["confidence"])["confidence"][ordinals]
    limits = np.unique(np.floor(confidence * 1000) / 1000)
    # Where more are as sure as the surest, all of these.
    least = next((v for v in limits if (confidence >= v).sum() <= samples), limits[-1])
    chosen = Filter((*missed, Term("confidence", "range", (float(least), None))))
    return best.cause, str(best.recipe), chosen


def unchanged(run: Any, course: Any, rows: int, seed: int, out: Path, trl: dict[str, Any]) -> None:
    """The dataset for as many rows in another order, with the configuration of the export."""
    from core.proof import retraining
    from core.services import again
    from core.services.recipes import RunPool

    pool = RunPool(run, [], {})
    nothing = np.empty(0, dtype=np.int64)
    parts = retraining.arm(
        again.stages(pool), course, rows, 0, 0, retraining.seed_of("again", seed), nothing, course.shuffled
    )
    out.mkdir()
    with (out / "mitigation.jsonl").open("wb") as file:
        for sample in pool.rows(np.concatenate(parts).tolist()):
            file.write(sample.raw + b"\n")
    trl |= {"num_train_epochs": 1.0, "train_sampling_strategy": "sequential"}
    (out / "trl.yaml").write_text(yaml.safe_dump(trl), encoding="utf-8")
    if (template := out.parent / "recipe" / TEMPLATE).exists():
        shutil.copyfile(template, out / template.name)


def train(folder: Path, batch: int, steps: int) -> dict[str, Any]:
    """``trl sft --config trl.yaml`` in the folder; seconds, steps and the last loss."""
    flags = {**HERE, "per_device_train_batch_size": batch, "gradient_accumulation_steps": 1}
    flags["bf16"] = str(multiplies_bfloat16()).lower()
    if steps:
        flags["max_steps"] = steps
    command = [str(Path(sys.executable).with_name("trl")), "sft", "--config", "trl.yaml"]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        done = subprocess.run(command, cwd=folder, env=os.environ | offline, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError((folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-3000:])
    seconds = time.monotonic() - began
    return {"seconds": round(seconds), "flags": {name: str(value) for name, value in flags.items()}}


def compared(arms: Mapping[str, Sequence[bool]], before: Sequence[bool], treated: Sequence[int],
             watched: Sequence[int]) -> dict[str, Any]:  # fmt: skip
    """Of treated rows that were wrong those that are right now, of learned ones those that are not."""
    from core.proof.numbers import paired_difference

    wrong = [i for i in treated if not before[i]]
    learned = [i for i in watched if before[i]]
    right = {name: [int(after[i]) for i in wrong] for name, after in arms.items()}
    lost = {name: [int(not after[i]) for i in learned] for name, after in arms.items()}
    return {
        "treated": len(wrong),
        "fixed": {name: sum(found) for name, found in right.items()},
        "fixed_over_unchanged": [round(v, 4) for v in paired_difference(right["recipe"], right["unchanged"])],
        "learned": len(learned),
        "lost": {name: sum(found) for name, found in lost.items()},
        "lost_over_unchanged": [round(v, 4) for v in paired_difference(lost["recipe"], lost["unchanged"])],
        "right_in_all": {name: int(sum(after)) for name, after in arms.items()},
    }


def measure(world: Path, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One world: recommended, exported, trained twice, asked."""
    from core.lab.truth import reproduced
    from core.plugins import kind, with_defaults
    from core.proof import retraining
    from core.services import again, measurements, mitigation, runs
    from core.services.recipes import make_plan
    from db import samples as sample_table
    from db.session import database

    run = next(run for run in runs.list_runs() if run.name == world.name)
    cause, recipe, chosen = recommended(run, args.cause, args.samples)
    wanted = with_defaults(again.Kind, course_of(world))
    written = mitigation.export(run.id, chosen, recipe, {}, work / "recipe", {}, lambda *_: None, wanted)
    training, how = written.manifest["training"], written.manifest["starts_from"]
    rows = round(written.manifest["file"]["rows"] * training["epochs"])
    trl = yaml.safe_load((work / "recipe" / "trl.yaml").read_text(encoding="utf-8"))
    settings = again.settings_of(kind("recipes", recipe), {})
    planned = make_plan(run, chosen, recipe, settings, {})
    plan = planned.plan
    course = retraining.course(wanted, measurements.facts_of(run), len(again.stages(planned.pool)))
    unchanged(run, course, rows, int(settings.get("seed", 0)), work / "unchanged", dict(trl))
    print(f"{world.name}: {recipe}, {len(plan.counted)} samples, {rows} rows in each arm", file=sys.stderr, flush=True)
    trained = {name: train(work / name, int(training["batch"]), args.steps) for name in ("recipe", "unchanged")}
    with database().reading() as conn:
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id))
    dialogues = [json.loads(sample.raw)["messages"] for sample in samples]
    before = reproduced(world / "final", world / "base", dialogues)
    arms = {name: reproduced(work / name / "out-trl", world / "base", dialogues) for name in trained}
    watched = np.setdiff1d(np.arange(len(samples)), np.union1d(plan.counted, plan.given_up)).tolist()
    return {
        "command": f"python bench/again_trl.py WORLD --data DIR --samples {args.samples}"
        + (f" --cause {args.cause}" if args.cause else ""),
        "cause": cause,
        "recipe": recipe,
        "filter": written.manifest["filter"]["query"],
        "method": how["method"],
        "course": how["course"],
        "rows": rows,
        "parts": written.manifest["file"]["parts"],
        "notes": written.manifest["notes"],
        "assistant_only_loss": trl.get("assistant_only_loss"),
        "trained": trained,
        **compared(arms, before, plan.counted.tolist(), watched),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--cause")
    parser.add_argument("--work", type=Path, help="a folder that stays, with what was exported and trained")
    parser.add_argument("--steps", type=int, default=0)
    args = parser.parse_args()
    from core.settings import quiet_libraries

    quiet_libraries()
    with own_data(args.data), tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        found = measure(args.world.resolve(), args, work.resolve())
    print(json.dumps(found, indent=1))
    if not args.steps:
        held = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"worlds": {}}
        of = {"machine": machine(), "versions": versions(("torch", "transformers", "trl", "peft"))}
        held["worlds"].setdefault(args.world.name, {})[found["cause"]] = found | of
        RESULTS.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
