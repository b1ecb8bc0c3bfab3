"""Diagnoses worlds, and keeps what a fit of the causes needs of each in ``bench/evidence``.

    python -m bench.measure_worlds WORLD [WORLD …] [--data DIR]

WORLD is a folder written by ``lacuna lab build``; ``FOLDER:bfloat16`` reads its models in that type. Each is diagnosed
with base and trajectory; measurements stay in DIR, so that what is still valid is not measured twice. ``demo`` stands
for the world of the demo, as its bundle holds it. A file names no folder and weighs 50 to 200 kB. ``bench.calibrate``
and ``bench.attribution`` need nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench._worlds import Measured, World, diagnose, keep, of_run, own_data

DEMO_TRUTH = Path(__file__).with_name("results") / "demo_truth.jsonl"


def measured(world: str) -> World:
    """The diagnosed world of an argument."""
    if world == "demo":
        return of_demo()
    folder, _, dtype = world.partition(":")
    return diagnose(Path(folder), **({"dtype": dtype} if dtype else {}))


def of_demo() -> World:
    """The world of real facts that the demo shows. Its bundle holds no training log."""
    from core.services import bundles, demo, measurements, runs
    from db import samples as sample_table
    from db.session import database

    run = bundles.open_bundle(demo.shipped()[0])
    runs.need_today_s_measurements(run)
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        table = measurements.with_facts(conn, run, measurements.signals_of(conn, run, hashes))
        ids = sample_table.order(conn, run.spec.dataset_id)["sid"]
    found = Measured(run, table, measurements.facts_of(run), ids)
    built = f"lacuna lab build OUT --real MODEL --seed {demo.SEED} --epochs 2 2 --lr 0.0001"
    return of_run(f"smollm2-{demo.SEED}", found, DEMO_TRUTH, "real", built)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.measure_worlds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="+", help="folders of worlds, with :bfloat16 where so read, or demo")
    parser.add_argument("--data", type=Path, default=Path("bench/out/calibrate"), help="where measurements are kept")
    options = parser.parse_args(arguments)
    sizes = {}
    with own_data(options.data):
        for world in options.worlds:
            path = keep(measured(world))
            sizes[path.name] = path.stat().st_size
    json.dump(sizes, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
