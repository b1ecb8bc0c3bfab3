"""The demo: a real fine-tune, recorded by ``bench/demo.py``, that ships with Lacuna as bundles of its runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.services import bundles, jobs, runs
from core.services.environment import hindrance
from core.services.jobs import Work
from core.settings import settings

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
