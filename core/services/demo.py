"""The demo project: a tiny model trained here and diagnosed like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from core.services import checkpoints, datasets, jobs, runs, specs
from core.services.jobs import Work
from core.settings import settings

NAME = "Demo: a tiny model that did not learn everything"
STATES = ("queued", "running", "failed", "cancelled")


def state() -> tuple[Literal["ready", "building", "failed", "off"], int | None]:
    """("ready", run id), ("building" or "failed", job id), or ("off", None) where nobody asked for it."""
    demos = [r for r in runs.list_runs() if r.name == NAME]
    for run in demos:
        if run.state == "judged":
            return "ready", run.id
    for job in jobs.list_jobs(limit=200):
        mine = job.kind == "demo" or (job.kind == "diagnose" and any(r.id == job.run_id for r in demos))
        if mine and job.state in STATES:
            return ("building" if job.state in ("queued", "running") else "failed"), job.id
    return "off", None


def start() -> int:
    """Queues the building of the demo; the job that builds it already, where there is one."""
    what, number = state()
    if what == "building" and number is not None:
        return number
    return jobs.enqueue("demo", {}, lane="long", title="Build the demo project")


def start_if_wanted() -> None:
    """On the first start of an empty installation, unless switched off: builds the demo."""
    if settings().demo and state()[0] == "off" and not runs.list_runs() and not jobs.list_jobs(limit=1):
        start()


def handle_demo(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Trains the tiny model, imports its dataset, and queues the diagnosis."""
    from core.lab.demo import build_demo

    project = build_demo(
        settings().data_dir / "demo", lambda stage, done, total: work.progress(stage, done, total, "steps")
    )
    dataset = datasets.import_files([project.dataset], [project.dataset.name], "demo", None, work)
    made = {
        c.checkpoint.path: c.checkpoint
        for folder in (project.base, *project.checkpoints, project.final)
        for c in checkpoints.register_folder(folder, None, owned=False, work=work, name=f"demo/{folder.name}")
    }
    final, base = made[str(project.final)], made[str(project.base)]
    trajectory = [made[str(p)] for p in project.checkpoints if made[str(p)].fingerprint != final.fingerprint]
    spec = specs.make_spec(dataset.id, final, base, trajectory)
    run = runs.store_run(NAME, replace(spec, max_new_tokens=64))
    _, job = runs.start(run)
    return {"run": run.id, "job": job}
