"""Runs: listed, renamed, deleted, stored and started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from core.errors import UserError
from core.judge.columns import columns_of
from core.plugins import kinds
from core.services import artefacts, jobs, who
from core.services.specs import checkpoints_of, make_spec
from core.types import (
    Run,
    RunSpec,
    Setup,
    Thresholds,
)
from db import jobs as job_table
from db import routes as route_table
from db import runs as table
from db import samples as sample_table
from db import storage as storage_table
from db.session import database


def list_runs() -> list[Run]:
    """Newest first."""
    with database().reading() as conn:
        return table.list_runs(conn)


def names() -> dict[int, str]:
    """Id to name of every run, newest first."""
    with database().reading() as conn:
        return table.names(conn)


def get_run(run_id: int) -> Run:
    with database().reading() as conn:
        return table.get_run(conn, run_id)


def need_checkpoint(run: Run) -> None:
    """Raises UserError where there is no checkpoint to run: the run came as a bundle, or had none."""
    if not run.spec.final.has_weights:
        raise UserError(
            f"Run {run.id} has no checkpoint that could be asked.",
            "It was made from a dataset" + (", and from what files say." if run.spec.final.files else " alone."),
            "Diagnose the checkpoint itself, and do this there.",
        )
    need_home(run)


def need_home(run: Run) -> None:
    """Raises UserError where the run came as a bundle: what it was measured with lies elsewhere."""
    if run.spec.origin:
        final = run.spec.final
        there = f"; they lie in {final.path} where it was made" if final.has_weights and final.server is None else ""
        raise UserError(
            f"Run {run.id} came as a bundle: measuring again needs the checkpoint.",
            f"A bundle holds what was measured and no weights{there}.",
            "Do this where the run was made, or diagnose the checkpoint here.",
        )


def older_measurements(run: Run) -> tuple[str, ...]:
    """What a run that came as a bundle holds of other versions of signals, each in words; empty where nothing."""
    signals, words = kinds("signals"), []
    for name, (theirs, ours) in ((run.summary.get("bundle") or {}).get("older") or {}).items():
        label = f"{signals[name].label} ({name})" if name in signals else name
        here = f"here it is version {ours}" if ours is not None else "which there is not here"
        words.append(f"{label} is of {'another version' if theirs is None else f'version {theirs}'}, {here}")
    return tuple(words)


def need_today_s_measurements(run: Run) -> None:
    """Raises UserError where judging anew would take numbers of other versions of signals for today's."""
    if older := older_measurements(run):
        raise UserError(
            f"Run {run.id} can be read, but not judged anew.",
            f"It came as a bundle, and was measured by other versions: {'; '.join(older)}.",
            "Judge it with the version that made it, or diagnose the checkpoint here.",
        )


def rename_run(run_id: int, name: str) -> None:
    if not name.strip():
        raise UserError("A run needs a name.")
    with database().writing() as conn:
        table.rename_run(conn, run_id, name.strip())


def delete_run(run_id: int, keep_measured: bool = False) -> None:
    """Deletes the run, its verdicts, and the measurements and files that no other run rests on.

    Args:
        keep_measured: keeps these measurements for later runs, as long as ``storage.KEPT_DAYS`` says.

    Raises:
        UserError: a job of the run is under way.
    """
    job = jobs.active_for_run(run_id)
    if job is not None and job.state in ("running", "queued"):
        raise UserError(f"Run {run_id} is being worked on.", f"Job {job.id} is {job.state}.", "Cancel the job first.")
    with database().writing() as conn:
        texts = route_table.artefacts_of_run(conn, run_id)
        unused = table.delete_run(conn, run_id, keep_measured)
        names = storage_table.unnamed_artefacts(conn, [*unused, *texts])
    artefacts.remove(names)


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
    """Stores a run and queues its diagnosis; returns (run id, job id). One that stands is not begun again.

    Args:
        estimate: seconds that the check before it expects.
        options: as ``make_spec`` takes them.
    """
    spec = make_spec(dataset_id, *checkpoints_of(final_id, base_id, trajectory_ids), **options)
    with database().writing() as conn:
        if (same := _started(conn, spec)) is not None:
            return same
        run = _stored(conn, name, spec, setup)
        return run.id, _enqueue(conn, run, estimate)


def _started(conn: Connection, spec: RunSpec) -> tuple[int, int] | None:
    """Run and job of a diagnosis of exactly this that waits, runs or is done: it would measure nothing else."""
    for job in job_table.list_jobs(conn, limit=1000):
        of_run = job.kind == "diagnose" and job.run_id is not None and job.payload.get("spec") == spec.hash
        if of_run and job.state in ("queued", "running", "done"):
            return int(job.run_id or 0), job.id
    return None


def store_run(name: str, spec: RunSpec, setup: Setup | None = None) -> Run:
    """Stores a run that has not begun; with it what it was set up from, so that it can still be looked up."""
    with database().writing() as conn:
        return _stored(conn, name, spec, setup)


def _stored(conn: Connection, name: str, spec: RunSpec, setup: Setup | None) -> Run:
    dataset = sample_table.get_dataset(conn, spec.dataset_id)
    run_name = name.strip() or f"{dataset.name} × {spec.final.label}"
    run = table.create_run(conn, run_name, spec, Thresholds(), columns_of(spec), dataset.n_samples, who.name() or None)
    return run if setup is None else table.set_run(conn, run.id, summary={"setup": setup.as_dict()})


def start(run: Run, estimate: float | None = None) -> tuple[int, int]:
    """Queues the diagnosis of a stored run; returns (run id, job id)."""
    with database().writing() as conn:
        return run.id, _enqueue(conn, run, estimate)


def _enqueue(conn: Connection, run: Run, estimate: float | None) -> int:
    payload = {"run": run.id, "spec": run.spec.hash} | ({} if estimate is None else {"estimate": estimate})
    return job_table.add(conn, "long", "diagnose", payload, title=f"Diagnose {run.name}", run_id=run.id,
                         author=who.name() or None)  # fmt: skip
