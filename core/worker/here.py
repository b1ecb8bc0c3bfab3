"""A job run in the process that asks for it: what the command line does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import Stopped, UserError
from core.services.jobs import Watch
from core.worker.loop import work_on


def run_here(job_id: int, watch: Watch | None = None) -> Mapping[str, Any]:
    """Runs the job in this process and returns its result; where a worker already has it, waits for that.

    The command line calls this: it needs no worker beside it, and uses the same table and handlers.

    Raises:
        Stopped: by Ctrl-C here or by a cancel elsewhere.
        UserError: as the job ended with.
    """
    job = work_on(job_id, watch)
    if job.state == "done":
        return job.result or {}
    if job.state in ("cancelled", "queued"):
        raise Stopped(f"Job {job_id} was stopped.", "", "Run the command again; what was measured is kept.")
    error = job.error or {}
    raise UserError(error.get("what", f"Job {job_id} failed."), error.get("why", ""), error.get("todo", ""))
