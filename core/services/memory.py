"""Memory: whether a second job may run beside the first, and how much a worker may take."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.services import proofs
from core.services.routes import runs as routes
from core.services.storage import size
from core.services.uploads import human
from core.settings import settings
from core.types import Checkpoint, Job

# Kinds of job of the long lane that are short beside a diagnosis, with the bytes in memory for each byte of weights on
# the disk. Weights in two bytes are computed in four; a training holds them, their gradients and two moments of AdamW.
ASIDE = {"prove": 8.0, "routes": 2.0, "route_scores": 2.0, "scorer": 2.0}
# A process with torch and transformers loaded takes 0.6 GB before any weight; the rest is for activations and caches.
SPARE = 2 << 30
# Of the machine's memory that one worker may take; the rest is for the web process and the system.
SHARE = 0.9
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


def ceiling() -> int | None:
    """Bytes that a worker may take; None for no limit of Lacuna's own.

    Without ``LACUNA_WORKER_MEMORY_GB`` it is ``SHARE`` of what the machine has, or the control group; where a graphics
    card may be used there is none, because its driver reserves far more than it takes.
    """
    if (named := settings().worker_memory) is not None:
        return named or None
    if not _computes_on_cpu():
        return None
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    with suppress(OSError, ValueError):  # "max" is no number
        total = min(total, int((_GROUP / "memory.max").read_text()))
    return int(SHARE * total)


def limit() -> None:
    """Holds this process to the ceiling: a job that wants more fails, before the machine runs out for everyone."""
    if (most := ceiling()) is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def limit_error(place: str) -> UserError:
    """Says which limit a job has reached. ``place``: its stage, and how far it was."""
    most = ceiling()
    which = "by default nine tenths of this machine's memory" if settings().worker_memory is None else "as it is set"
    return UserError(
        f"The job needed more memory than there is{place}.",
        f"A worker may take {human(most)} (LACUNA_WORKER_MEMORY_GB, {which})." if most else "No limit is set.",
        "Use a smaller model, dtype bfloat16 or shorter answers, or set LACUNA_WORKER_MEMORY_GB higher.",
    )


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
