"""E-GRM routes runs: what is chosen, what is stored of it, starting one. ``route_work`` does the work."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.egrm.answers import NORMALISERS, extract, suggest_normaliser
from core.egrm.route import item_of
from core.egrm.settings import CHOOSERS, PROBES, RouteSettings
from core.egrm.settings import judging as judging_defaults
from core.errors import UserError
from core.filters import describe, to_text
from core.services import artefacts, jobs, judging, runs, specs, uploads
from core.services.checkpoints import get_checkpoint
from core.types import Checkpoint, Filter
from db import routes as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

WAYS = {"probes": PROBES, "choose": CHOOSERS, "normaliser": NORMALISERS}
# Characters of a question kept beside the columns, for lists.
PREVIEW = 200


@dataclass(frozen=True, slots=True)
class RoutesRun:
    """A stored routes run. ``source``: where its items come from, in words; ``done``: items generated so far."""

    id: int
    name: str
    mode: str
    run_id: int | None
    settings: RouteSettings
    checkpoint: Checkpoint
    source: Mapping[str, Any]
    n_items: int
    done: int
    scorer_id: int | None
    version: int
    created: float


def _routes_run(conn: Any, row: Mapping[str, Any]) -> RoutesRun:
    spec = row["spec"]
    return RoutesRun(
        row["id"], row["name"], row["mode"], row["run_id"], RouteSettings.from_dict(spec["settings"]),
        Checkpoint(**spec["checkpoint"]), spec["source"], row["n_items"], table.done(conn, row["id"]),
        row["scorer_id"], row["version"], row["created"],
    )  # fmt: skip


def get(route_id: int) -> RoutesRun:
    with database().reading() as conn:
        return _routes_run(conn, table.get(conn, route_id))


def list_routes(run_id: int | None = None) -> list[RoutesRun]:
    """Newest first."""
    with database().reading() as conn:
        return [_routes_run(conn, r) for r in table.list_routes(conn, run_id)]


def job_of(route_id: int) -> Any:
    """The newest job at work on a routes run, else its newest one if that failed or was cancelled; else None."""
    mine = [j for j in jobs.list_jobs(limit=300) if j.payload.get("routes") == route_id]
    for job in mine:
        if job.state in ("queued", "running"):
            return job
    return mine[0] if mine and mine[0].state in ("failed", "cancelled") else None


def delete(route_id: int) -> int | None:
    """Deletes a routes run and its texts; returns the job that judges its diagnosis again, if there is one.

    Raises:
        UserError: a job is at work on it.
    """
    job = job_of(route_id)
    if job is not None and job.state in ("queued", "running"):
        raise UserError(f"Routes run {route_id} is being worked on.", "", "Cancel its job first.")
    with database().writing() as conn:
        row = table.get(conn, route_id)
        names = table.remove(conn, route_id)
    artefacts.remove(names)
    if row["run_id"] is None:
        return None
    run = runs.get_run(row["run_id"])
    if run.state != "judged" or runs.older_measurements(run):
        return None
    return judging.start_rejudge(run.id, run.thresholds)


def rejudge(run_id: int | None) -> None:
    """Writes the run's verdicts again, with what its routes runs say now."""
    if run_id is not None:
        run = runs.get_run(run_id)
        if run.state == "judged" and not runs.older_measurements(run):
            judging.write_judgement(run, run.thresholds)


def of_sample(run_id: int, sid: str) -> list[tuple[int, int, str]]:
    """(routes run, ordinal, its name) for each routes run of a diagnosis that has generated this sample."""
    with database().reading() as conn:
        return [
            (r["id"], ordinal, r["name"])
            for r in table.list_routes(conn, run_id)
            if (ordinal := table.ordinal_of(conn, r["id"], sid)) is not None
        ]


# ------------------------------------------------------------------------------------------------------- start


def suggested(run_id: int, chosen: Filter) -> RouteSettings:
    """Settings that fit the chosen samples: how their answers are compared."""
    run = runs.get_run(run_id)
    with database().reading() as conn:
        ordinals = [o for o, _ in zip(verdict_table.ordinals(conn, run, chosen), range(300), strict=False)]
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, ordinals))
    golds = [extract(s.response, True).raw or "" for s in samples]
    longest = max((len(s.response.split()) for s in samples), default=0)
    return RouteSettings(
        normaliser=suggest_normaliser(golds), dtype=run.spec.dtype, backend=run.spec.backend, seed=run.spec.seed,
        direct_tokens=64 if longest <= 12 else RouteSettings().direct_tokens,
    )  # fmt: skip


def matching(run_id: int, chosen: Filter) -> int:
    """How many samples the filter keeps."""
    with database().reading() as conn:
        return verdict_table.count(conn, runs.get_run(run_id), chosen)


def start_for_run(
    run_id: int,
    chosen: Filter,
    settings: RouteSettings,
    limit: int | None = None,
    scorer_id: int | None = None,
    name: str = "",
) -> tuple[int, int]:
    """Stores a routes run on the samples that the filter keeps and queues it; returns (routes run id, job id).

    Exact duplicates are asked once. With a ``limit``, that many are taken at even distances.
    """
    run = runs.get_run(run_id)
    runs.need_checkpoint(run)
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        first: dict[str, int] = {}
        kept = 0
        for ordinal in verdict_table.ordinals(conn, run, chosen):
            kept += 1
            first.setdefault(hashes[ordinal], ordinal)
        ordinals = sorted(first.values())
        if limit is not None and len(ordinals) > limit:
            ordinals = [ordinals[int(i)] for i in np.linspace(0, len(ordinals) - 1, limit).round()]
        items = [
            (s.ordinal, s.id, s.content_hash, item_of(s).text[:PREVIEW])
            for s in sample_table.iter_samples(conn, run.spec.dataset_id, ordinals)
        ]
    if not items:
        raise UserError("No sample passes this filter.", "", "Choose others on the samples page.")
    source = {"kind": "run", "filter": to_text(chosen), "words": describe(chosen, run.columns), "matching": kept}
    spec = _spec(run.spec.final, settings, source, scorer_id)
    with database().writing() as conn:
        route_id = table.create(
            conn, name.strip() or f"{run.name}: {source['words']}", "answering", spec, items, run.id
        )
    return route_id, enqueue(route_id, name or run.name)


def start_pairs(
    checkpoint: Checkpoint,
    settings: RouteSettings,
    *,
    upload: str | None = None,
    path: Path | None = None,
    limit: int | None = None,
    name: str = "",
) -> tuple[int, int]:
    """Stores a judging run on a file of preference pairs and queues it; returns (routes run id, job id)."""
    judging_defaults(**{k: v for k, v in settings.as_dict().items() if k != "normaliser"})
    shown = uploads.finish(upload).name if upload is not None else path.name if path is not None else ""
    source = {"kind": "pairs", "file": shown, "upload": upload, "path": None if path is None else str(path),
              "limit": limit}  # fmt: skip
    with database().writing() as conn:
        route_id = table.create(
            conn, name.strip() or f"Judging {shown}", "judging", _spec(checkpoint, settings, source, None), []
        )
    return route_id, enqueue(route_id, shown)


def judging_settings(**changes: Any) -> RouteSettings:
    """Defaults of judging mode."""
    return judging_defaults(**changes)


def checkpoint_of(checkpoint_id: int) -> Checkpoint:
    return get_checkpoint(checkpoint_id).checkpoint


def _spec(
    checkpoint: Checkpoint, settings: RouteSettings, source: Mapping[str, Any], scorer_id: int | None
) -> dict[str, Any]:
    if scorer_id is not None:
        with database().reading() as conn:
            table.get_scorer(conn, scorer_id)
    return {
        "checkpoint": checkpoint.as_dict(),
        "settings": settings.as_dict(),
        "source": dict(source),
        "scorer": scorer_id,
        "versions": {name: importlib.metadata.version(name) for name in specs.VERSIONS},
    }


def enqueue(route_id: int, name: str) -> int:
    """Queues the work on a routes run; returns the job."""
    # Not the run's job: the diagnosis stays as it is, and its page is not covered by this progress.
    return jobs.enqueue("routes", {"routes": route_id}, lane="long", title=f"Routes: {name}")
