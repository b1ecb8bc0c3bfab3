"""What lies on the disk: what takes how much and who needs it, deleting it, and sweeping what nobody needs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.errors import UserError
from core.services import artefacts, checkpoints, datasets, room, uploads
from core.services import runs as run_service
from core.services.environment import is_full
from core.settings import settings
from core.text.counts import counted
from core.types import Run
from db import checkpoints as checkpoint_table
from db import jobs as job_table
from db import kept as kept_table
from db import routes as routes_table
from db import runs as run_table
from db import samples as sample_table
from db import storage as table
from db import uploads as upload_table
from db.session import database

# A file of a chunk is written just before the row that names it; a day later that row will not come any more.
ARTEFACT_AGE = 24 * 3600.0
# Measurements that no run rests on are kept for the next run over the same rows: a month covers most pauses between two
# trainings of one project, and two GiB hold about a million measured rows.
KEPT_DAYS, KEPT_BYTES = 30, 2 << 30


def size(path: Path) -> int:
    """Bytes of a file or of all files in a folder; what vanishes meanwhile counts nothing."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(size(child) for child in path.iterdir())
    except OSError:
        return 0


# --------------------------------------------------------------------------------------------------------- overview

Kind = Literal["upload", "checkpoint", "dataset", "run"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One thing that can be deleted.

    Attributes:
        size: bytes that deleting it alone frees, of files and, about, of rows in the database.
        used: epoch seconds at which it was last made or worked with.
        needed_by: in words, what rests on it and keeps it from being deleted; ``runs`` the runs among that.
    """

    kind: Kind
    id: int | str
    name: str
    size: int
    used: float
    needed_by: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """``totals``: bytes of each part of the data folder; ``free``: bytes that the disk still has."""

    totals: Mapping[str, int]
    free: int
    stored: tuple[Stored, ...]
    measured: Measured


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured, whichever runs rest on it: rows under each checkpoint, and bytes with their evidence.

    Attributes:
        kept_rows, kept_size: the part that no run rests on.
    """

    rows: int
    size: int
    kept_rows: int
    kept_size: int


def overview() -> Overview:
    """Everything that takes room, the largest of a kind first."""
    folder = settings().data_dir
    parts = {"uploads": "uploads", "checkpoints": "checkpoints", "artefacts": "evidence of runs"}
    parts |= {
        "reserve": "reserve for a full disk",
        "mitigations": "exports",
        "lab": "self-test",
        "proofs": "proofs under way",
    }
    totals = {label: size(folder / name) for name, label in parts.items()}
    totals["database"] = sum(size(path) for path in folder.glob("lacuna.db*"))
    totals["other"] = sum(size(p) for p in _children(folder) if p.name not in parts and "lacuna.db" not in p.name)
    stored = sorted((*_uploads(), *_checkpoints(), *_datasets(), *_runs()), key=lambda s: -s.size)
    return Overview(totals, shutil.disk_usage(folder).free, tuple(stored), _measured(totals["evidence of runs"]))


def _measured(evidence: int) -> Measured:
    with database().reading() as conn:
        sizes = kept_table.measured_sizes(conn).values()
        kept = kept_table.list_kept(conn)
    rows, numbers = sum(rows for rows, _ in sizes), sum(size for _, size in sizes)
    return Measured(rows, numbers + evidence, sum(k.rows for k in kept), sum(_size_of(k) for k in kept))


def _size_of(kept: kept_table.KeptMeasure) -> int:
    return kept.bytes + sum(size(artefacts.path(name)) for name in kept.artefacts)


def prune(days: float = 0.0, most: int = 0) -> int:
    """Removes measurements that no run rests on: those kept for ``days``, then the oldest beyond ``most`` bytes.

    Returns:
        How many rows went.
    """
    with database().writing() as conn:
        kept = kept_table.list_kept(conn)
        left = sum(map(_size_of, kept))
        gone = []
        for each in kept:
            if time.time() - each.since >= days * 86400 or left > most:
                gone.append(each)
                left -= _size_of(each)
        unused = kept_table.remove(conn, [each.id for each in gone])
        names = table.unnamed_artefacts(conn, unused)
    artefacts.remove(names)
    return sum(each.rows for each in gone)


def _uploads() -> Iterator[Stored]:
    with database().reading() as conn:
        rows, needed = upload_table.list_uploads(conn), _needed_uploads(conn)
    for row in rows:
        by = (needed[row["id"]],) if row["id"] in needed else ()
        yield Stored("upload", row["id"], row["name"], size(Path(row["path"])), row["created"], by)


def _needed_uploads(conn: Connection) -> dict[str, str]:
    """Upload to the job or routes run that is still to read it, in words."""
    needed: dict[str, str] = {}
    for row in routes_table.list_routes(conn):
        if upload := row["spec"].get("source", {}).get("upload"):
            needed[upload] = f"routes run {row['id']} {row['name']!r}"
    for job in job_table.list_jobs(conn, states=("queued", "running"), limit=100_000):
        for upload in _uploads_in(job.payload):
            needed[upload] = f"job {job.id} {job.title!r}"
    return needed


def _uploads_in(payload: Any) -> Iterator[str]:
    """Ids under ``upload`` and ``uploads`` anywhere in a job's payload, as lists or by field."""
    for name, value in payload.items() if isinstance(payload, Mapping) else ():
        if name in ("upload", "uploads"):
            values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
            yield from (str(v) for v in values if v is not None)
        else:
            yield from _uploads_in(value)


def _checkpoints() -> Iterator[Stored]:
    with database().reading() as conn:
        rows, runs, routes = checkpoint_table.list_checkpoints(conn), _all_runs(conn), routes_table.list_routes(conn)
    for row in rows:
        users = [run for run in runs if row["path"] in checkpoints.paths_of(run.spec)]
        by = [_named(run) for run in users]
        by += [f"routes run {r['id']} {r['name']!r}" for r in routes if row["path"] in checkpoints.route_paths(r)]
        used = max([row["created"], *(run.created for run in users)])
        own = row["n_bytes"] if row["owned"] else 0
        yield Stored("checkpoint", row["id"], row["name"], own, used, tuple(by), tuple(run.id for run in users))


def _datasets() -> Iterator[Stored]:
    with database().reading() as conn:
        imported, runs, sizes = sample_table.list_datasets(conn), _all_runs(conn), table.dataset_sizes(conn)
    for dataset in imported:
        users = [run for run in runs if run.spec.dataset_id == dataset.id]
        used = max([dataset.created, *(run.created for run in users)])
        by, ids = tuple(_named(run) for run in users), tuple(run.id for run in users)
        yield Stored("dataset", dataset.id, dataset.name, sizes.get(dataset.id, 0), used, by, ids)


def _runs() -> Iterator[Stored]:
    with database().reading() as conn:
        runs, own = _all_runs(conn), table.own_measures(conn)
        worked = {j.run_id: j for j in reversed(job_table.list_jobs(conn, limit=100_000)) if j.run_id is not None}
    for run in runs:
        rows, names = own.get(run.id, (0, ()))
        job = worked.get(run.id)
        used = max(run.created, (job.finished or job.started or job.created) if job is not None else 0.0)
        active = job is not None and job.state in ("queued", "running")
        by = (f"job {job.id} {job.title!r}",) if job is not None and active else ()
        yield Stored("run", run.id, run.name, rows + sum(size(artefacts.path(n)) for n in names), used, by)


def _all_runs(conn: Connection) -> list[Run]:
    return run_table.list_runs(conn)


def _named(run: Run) -> str:
    return f"run {run.id} {run.name!r}"


def delete(kind: Kind, ident: int | str, runs_too: Sequence[int] = ()) -> None:
    """Deletes one thing, after the runs that rest on it where they are named; also where the disk is full.

    Raises:
        UserError: something that was not named still needs it; names it.
    """
    try:
        _delete(kind, ident, runs_too)
    except (DBAPIError, OSError) as error:
        if not (is_full(error) and room.spend()):
            raise
        left = {run.id for run in run_service.list_runs()}
        prune()  # what no run rests on is the first to go
        _delete(kind, ident, [run_id for run_id in runs_too if run_id in left])
    room.keep()


def _delete(kind: Kind, ident: int | str, runs_too: Sequence[int]) -> None:
    if kind == "upload":
        with database().writing() as conn:
            if (by := _needed_uploads(conn).get(str(ident))) is not None:
                raise UserError("This upload is in use.", f"It is read by {by}.", "Cancel the job or delete it first.")
            files = uploads.forget(conn, [str(ident)])
        uploads.remove_files(files)
        return
    for run_id in runs_too:
        run_service.delete_run(run_id)
    {"checkpoint": checkpoints.delete_checkpoint, "dataset": datasets.delete_dataset, "run": run_service.delete_run}[
        kind
    ](int(ident))


# ------------------------------------------------------------------------------------------------------------ sweep


def sweep() -> list[str]:
    """Removes what killed processes left behind, and says so: one sentence a kind; empty where there was nothing.

    Nothing is removed that a row names or that a job, waiting or running, still needs.
    """
    with database().writing() as conn:
        imports = sample_table.delete_unfinished(conn)
        stale = upload_table.stale(conn, uploads.STALE)
        unused = [u for u in upload_table.unused(conn, uploads.UNUSED) if u not in _needed_uploads(conn)]
        uploads.forget(conn, [*stale, *unused])  # their files are nobody's now
        registered = {Path(row["path"]) for row in checkpoint_table.list_checkpoints(conn)}
        files = {Path(row["path"]).name for row in upload_table.list_uploads(conn)}
        active = job_table.list_jobs(conn, states=("queued", "running"), limit=100_000)
        unpacking = {str(job.payload["upload"]) for job in active if "upload" in job.payload}
        proofs = {str(job.payload["proof"]) for job in active if "proof" in job.payload}
        named = table.artefacts(conn)
    root = settings().checkpoints
    owners = {root / path.relative_to(root).parts[0] for path in registered if root in path.parents}
    folders = [
        f
        for f in _children(root)
        if f not in owners and f.name.removeprefix(".").removesuffix(".unpacking") not in unpacking
    ]
    arms = [f for f in _children(settings().data_dir / "proofs") if f.name not in proofs]
    old = time.time() - ARTEFACT_AGE
    nobodys = [f for f in _artefact_files() if f.name not in named and f.lstat().st_mtime < old]
    strays = [f for f in _children(settings().uploads) if f.name not in files]
    sentences = [
        _removed("unpacked folder", folders, "no checkpoint in them is registered"),
        _removed("uploaded file", strays, "no upload is known by their names"),
        _removed("copy of a model", arms, "no proof works on them", "copies of models"),
        _removed("artefact", nobodys, "no run names them"),
    ]
    if rows := prune(KEPT_DAYS, KEPT_BYTES):
        limits = f"kept longer than {KEPT_DAYS} days, or beyond {uploads.human(KEPT_BYTES)}"
        sentences.append(f"{counted(rows, 'measured row')} removed: no run rests on them, {limits}.")
    if imports:
        sentences.append(f"{counted(len(imports), 'dataset')} of imports that never ended: removed.")
    return [s for s in sentences if s]


def _children(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.iterdir()) if folder.is_dir() else ()


def _artefact_files() -> Iterator[Path]:
    for folder in _children(settings().artefacts):
        yield from _children(folder) if folder.is_dir() else ()


def _removed(what: str, paths: Iterable[Path], reason: str, plural: str = "") -> str:
    paths = list(paths)
    if not paths:
        return ""
    total = sum(size(path) for path in paths)
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return f"{counted(len(paths), what, plural)} removed ({uploads.human(total)}): {reason}."
