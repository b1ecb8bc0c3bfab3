"""What lies on the disk and what of it nobody needs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.services import uploads
from core.settings import settings
from core.text.counts import counted
from db import checkpoints as checkpoint_table
from db import jobs as job_table
from db import samples as sample_table
from db import storage as table
from db import uploads as upload_table
from db.session import database

# A file of a chunk is written just before the row that names it; a day later that row will not come any more.
ARTEFACT_AGE = 24 * 3600.0


def size(path: Path) -> int:
    """Bytes of a file or of all files in a folder; what vanishes meanwhile counts nothing."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(size(child) for child in path.iterdir())
    except OSError:
        return 0


# ------------------------------------------------------------------------------------------------------------ sweep


def sweep() -> list[str]:
    """Removes what killed processes left behind, and says so: one sentence a kind; empty where there was nothing.

    Nothing is removed that a row names or that a job, waiting or running, still needs.
    """
    with database().writing() as conn:
        imports = sample_table.delete_unfinished(conn)
        stale = upload_table.stale(conn, uploads.STALE)
        uploads.forget(conn, stale)  # their files are nobody's now
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
    artefacts = [f for f in _artefact_files() if f.name not in named and f.lstat().st_mtime < old]
    strays = [f for f in _children(settings().uploads) if f.name not in files]
    sentences = [
        _removed("unpacked folder", folders, "no checkpoint in them is registered"),
        _removed("uploaded file", strays, "no upload is known by their names"),
        _removed("copy of a model", arms, "no proof works on them", "copies of models"),
        _removed("artefact", artefacts, "no run names them"),
    ]
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
