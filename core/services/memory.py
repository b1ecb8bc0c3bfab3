"""Whether a second job may run beside the first: what it needs against what the machine has free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import UserError
from core.services import proofs
from core.services.routes import runs as routes
from core.services.storage import size
from core.settings import settings
from core.types import Checkpoint, Job

# Kinds of job of the long lane that are short beside a diagnosis, with the bytes in memory for each byte of weights on
# the disk. Weights in two bytes are computed in four; a training holds them, their gradients and two moments of AdamW.
ASIDE = {"prove": 8.0, "routes": 2.0, "route_scores": 2.0, "scorer": 2.0}
# A process with torch and transformers loaded takes 0.6 GB before any weight; the rest is for activations and caches.
SPARE = 2 << 30
_GROUP = Path("/sys/fs/cgroup")
# Devices of graphics cards; asking torch instead would cost every idle worker its memory.
_CARDS = ("nvidia[0-9]*", "kfd")


def available() -> int | None:
    """Bytes that can be had without swapping, of the machine and of the control group; None where nothing says."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit, used = ((_GROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free  # no control group of the second version sets a limit


def needed(job: Job) -> int | None:
    """Bytes that the job takes at most, from the sizes of the files it opens; None where they are not known."""
    try:
        checkpoint = _checkpoint(job)
    except UserError:  # what it works on was deleted; the job itself says so
        return None
    folders = {p for p in (checkpoint.path, checkpoint.base) if p} if checkpoint is not None else set()
    return SPARE + int(ASIDE[job.kind] * sum(size(Path(folder)) for folder in folders))


def allows(job: Job) -> bool:
    """Whether the job fits beside what runs now. Memory of a graphics card is not looked at: there it waits."""
    free, need = available(), needed(job)
    return _computes_on_cpu() and free is not None and need is not None and need <= free


def _computes_on_cpu() -> bool:
    device = settings().device
    return device == "cpu" or (device == "auto" and not any(any(Path("/dev").glob(name)) for name in _CARDS))


def _checkpoint(job: Job) -> Checkpoint | None:
    payload: Any = job.payload
    if job.kind == "prove":
        from core.services.runs import get_run

        return get_run(proofs.get_proof(payload["proof"]).run_id).spec.final
    return None if job.kind == "scorer" else routes.get(payload["routes"]).checkpoint
