"""Runs: listed, renamed, deleted, stored and started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import UserError
from core.judge.columns import columns_of
from core.services import artefacts, datasets, jobs
from core.services.specs import checkpoints_of, make_spec
from core.types import (
    Run,
    RunSpec,
    Setup,
    Thresholds,
)
from db import routes as route_table
from db import runs as table
from db.session import database


def list_runs() -> list[Run]:
    """Newest first."""
    with database().reading() as conn:
        return table.list_runs(conn)


def get_run(run_id: int) -> Run:
    with database().reading() as conn:
        return table.get_run(conn, run_id)


def rename_run(run_id: int, name: str) -> None:
    if not name.strip():
        raise UserError("A run needs a name.")
    with database().writing() as conn:
        table.rename_run(conn, run_id, name.strip())


def delete_run(run_id: int) -> None:
    """Deletes the run, its verdicts, and the measurements and files that no other run rests on.

    Raises:
        UserError: a job of the run is under way.
    """
    job = jobs.active_for_run(run_id)
    if job is not None and job.state in ("running", "queued"):
        raise UserError(f"Run {run_id} is being worked on.", f"Job {job.id} is {job.state}.", "Cancel the job first.")
    with database().writing() as conn:
        texts = route_table.artefacts_of_run(conn, run_id)
        unused = table.delete_run(conn, run_id)
    artefacts.remove([*unused, *texts])


def create_run(
    name: str,
    dataset_id: int,
    final_id: int,
    base_id: int | None = None,
    trajectory_ids: Sequence[int] = (),
    setup: Setup | None = None,
    estimate: float | None = None,
    **options: Any,
) -> tuple[int, int]:
    """Stores a run and queues its diagnosis; returns (run id, job id).

    Args:
        estimate: seconds that the check before it expects.
        options: as ``make_spec`` takes them.
    """
    spec = make_spec(dataset_id, *checkpoints_of(final_id, base_id, trajectory_ids), **options)
    return start(store_run(name, spec, setup), estimate)


def store_run(name: str, spec: RunSpec, setup: Setup | None = None) -> Run:
    """Stores a run that has not begun; with it what it was set up from, so that it can still be looked up."""
    dataset = datasets.get_dataset(spec.dataset_id)
    run_name = name.strip() or f"{dataset.name} × {spec.final.label}"
    with database().writing() as conn:
        run = table.create_run(conn, run_name, spec, Thresholds(), columns_of(spec), dataset.n_samples)
        return run if setup is None else table.set_run(conn, run.id, summary={"setup": setup.as_dict()})


def start(run: Run, estimate: float | None = None) -> tuple[int, int]:
    payload = {"run": run.id} | ({} if estimate is None else {"estimate": estimate})
    job = jobs.enqueue("diagnose", payload, lane="long", title=f"Diagnose {run.name}", run_id=run.id)
    return run.id, job
