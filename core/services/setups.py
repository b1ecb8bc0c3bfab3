"""Set up from what a person already has: the trainer's own files, on this machine or uploaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.checkpoint import folders
from core.checkpoint.facts import STEP
from core.configurations._base import Document
from core.configurations._documents import PICKLED, documents, names_of, of_folder, pickled, read_bytes
from core.configurations._places import Disk, Uploads
from core.configurations._setup import kind_of, setup_of
from core.errors import UserError
from core.plugins import kind, kinds
from core.services import checkpoints, jobs, uploads
from core.services.jobs import Work
from core.settings import settings
from core.types import Dataset, Setup, SetupField, Stated, Unmet

# How deep below a folder configurations are looked for, in how many folders, and how many are named: a trainer's
# repository keeps its examples two folders down and has hundreds of folders.
MAX_BELOW, MAX_FOLDERS, MAX_NAMED = 3, 200, 5


def labels() -> list[tuple[str, str]]:
    """Label and help of every kind of configuration."""
    return [(kind.label, kind.help) for kind in kinds("configurations").values()]


def from_paths(paths: Sequence[Path]) -> Setup:
    """What the configurations at these paths say: files, or folders in which they lie.

    What the checkpoint's own folder says besides is added: PEFT's base, the length of the training.

    Raises:
        UserError: none is a configuration that is known, a file cannot be read, or several say what was trained.
    """
    files: list[Document] = []
    for path in paths:
        files += of_folder(path) if path.is_dir() else documents(path.name, read_bytes(path), path.parent)
    setup = setup_of(files, _disk)
    if setup is None:
        if any((path / PICKLED).is_file() for path in paths):
            raise pickled()
        known = "; ".join(f"{kind.label} ({kind.help.split(',')[0].rstrip('.')})" for kind in _leading())
        deeper = [name for path in paths if path.is_dir() for name in _below(path)]
        raise UserError(
            f"There is no training configuration in {', '.join(path.name for path in paths)}.",
            f"Looked at: {names_of(files) or 'no file that could be one'}. Known are: {known}.",
            f"Folders below hold {', '.join(deeper)}; name one."
            if deeper
            else "Give the file that the training was started with.",
        )
    checkpoint = setup.path("checkpoint")
    inner = Path(checkpoint) if checkpoint else None
    if inner is not None and inner.is_dir() and inner not in paths:
        more = [d for d in of_folder(inner) if (kind := kind_of(d)) is not None and not kind.leads]
        setup = setup_of([*files, *more], _disk) or setup
    return _with_checkpoint(setup)


def _below(folder: Path) -> list[str]:
    """Configurations that a training was started with, in the folders below; the first few that are met."""
    met, level = list[str](), [folder]
    for _ in range(MAX_BELOW):
        level = [inner for outer in level for inner in _folders(outer)][:MAX_FOLDERS]
        for inner in level:
            leading = {d.name for d in of_folder(inner) if (known := kind_of(d)) is not None and known.leads}
            met += [(inner / name).relative_to(folder).as_posix() for name in sorted(leading)]
            if len(met) >= MAX_NAMED:
                return met[:MAX_NAMED]
    return met


def _folders(folder: Path) -> list[Path]:
    """The readable folders in a folder, sorted; links are left out, because they may lead back."""
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
    return [path for path in inner if os.access(path, os.R_OK | os.X_OK)]


def beside(checkpoint: Path, *, here: bool = True) -> tuple[Setup | None, str]:
    """What the files beside a checkpoint say, or in the folder above a ``checkpoint-N``; and a remark, or "".

    No setup where no file beside it says how it was trained.

    Args:
        here: whether paths may lead to whatever the user of this process may read; else nowhere but beside it, and
            the folder above is read only where it lies in the data folder or in an allowed root.
    """
    places = [checkpoint]
    above = STEP.fullmatch(checkpoint.name) is not None and (here or _open(checkpoint.parent))
    if above:
        places.append(checkpoint.parent)
    files: list[Document] = []
    for place in places:
        names = {document.name for document in files}
        files += [document for document in of_folder(place) if document.name not in names]
    roots = None if here else places

    def disk(document: Document) -> Disk:
        return Disk(document.folder or checkpoint, [Path.cwd()] if here else [], roots)

    try:
        setup = setup_of(files, disk, here=here)
    except UserError as error:
        return None, str(error)
    if setup is None or not any(setup.of(field) for field in ("preset", "dataset", "base")):
        pickle = next((place for place in places if (place / PICKLED).is_file()), None)
        return None, "" if pickle is None else str(pickled())
    at = Stated("checkpoint", str(checkpoint), checkpoint.name, "", path=str(checkpoint))
    stated = (*(value for value in setup.stated if value.field != "checkpoint"), at)
    return _with_checkpoint(replace(setup, stated=stated), above=above), ""


def _open(folder: Path) -> bool:
    """Whether a folder lies in the data folder or in a root that checkpoints may be chosen from."""
    roots = (settings().data_dir, *settings().checkpoint_roots)
    return any(folder.resolve().is_relative_to(Path(root).resolve()) for root in roots)


def _disk(document: Document) -> Disk:
    return Disk(document.folder or Path.cwd(), [Path.cwd()])


def _leading() -> list[Any]:
    return [kind for kind in kinds("configurations").values() if kind.leads]


def _with_checkpoint(setup: Setup, *, above: bool = True) -> Setup:
    """The setup with the final checkpoint and the earlier ones that its folder, or the one above, holds."""
    stated = next(iter(setup.of("checkpoint")), None)
    if stated is None:
        return setup
    rest = tuple(value for value in setup.stated if value is not stated)
    contents = folders.find(Path(stated.path)) if stated.path and Path(stated.path).is_dir() else None
    if contents is None or contents.final is None:
        wrong = "There is no such folder here." if contents is None else "There is no checkpoint in this folder."
        unmet = Unmet(stated.file, stated.key, str(stated.value), f"{wrong} Give the checkpoint.")
        return replace(setup, stated=rest, unmet=(*setup.unmet, unmet))
    final = replace(stated, path=str(contents.final))
    earlier = [path for path in contents.checkpoints if path != contents.final]
    many = f"{len(earlier)} folders"
    steps = [Stated("trajectory", many, stated.file, stated.key, path=stated.path)] if earlier else []
    if not steps and above and STEP.fullmatch(contents.final.name):
        parent = contents.final.parent
        before = [path for path in folders.find(parent).checkpoints if path != contents.final]
        steps = [Stated("trajectory", f"{len(before)} folders", stated.file, "", path=str(parent))] if before else []
    return replace(setup, stated=(*rest, final, *steps))


def with_row_count(preset: str, settings: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """The settings with the number of rows, from which a preset tells the rows that were held out of a single file."""
    takes = {setting.name for setting in kind("presets", preset).settings} >= {"val_size", "n_rows"}
    counted = takes and settings.get("val_size") and not settings.get("n_rows") and len(dataset.files) == 1
    return {**settings, "n_rows": dataset.n_rows} if counted else dict(settings)


def report(setup: Setup, instead: Mapping[SetupField, str] | None = None) -> list[str]:
    """What was taken over and from where, and what was not, one line each.

    Args:
        instead: what a person gave, by field; it stands in place of what the files say.
    """
    given = instead or {}
    lines = [f"set up from {', '.join(f'{file} ({label})' for file, label in setup.files.items())}"]
    for value in setup.stated:
        origin = f"{value.file}: {value.key}" if value.key else value.file
        if value.field in given:
            lines.append(f"  {value.label} = {given[value.field]} as given, not {value.value} ({origin})")
        else:
            where = f" -> {value.path}" if value.path and value.path != value.value else ""
            lines.append(f"  {value.label} = {value.value}{where} ({origin})")
    lines += [f"  not honoured: {u.key} = {u.value} ({u.file}). {u.reason}" for u in setup.unmet]
    return lines


# ------------------------------------------------------------------------------------------------- in the browser


def start_beside(checkpoint_id: int) -> int:
    """Looks at what lies beside a registered checkpoint."""
    stored = checkpoints.get_checkpoint(checkpoint_id)
    payload = {"checkpoint": stored.checkpoint.path}
    return jobs.enqueue("setup", payload, title=f"Look for a configuration beside {stored.name}")


def start_setup(upload_ids: Sequence[str]) -> int:
    """Looks at uploaded configurations; the uploads are removed afterwards."""
    names = ", ".join(uploads.finish(u).name for u in upload_ids)
    return jobs.enqueue("setup", {"uploads": list(upload_ids)}, title=f"Look at {names}")


def handle_setup(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What configurations say that were uploaded, or that lie beside a registered checkpoint.

    Paths in them lead to other uploads, or to what lies beside the checkpoint: never to another file of this machine.
    """
    if "checkpoint" in payload:
        setup, remark = beside(Path(payload["checkpoint"]), here=False)
        unmet = (Unmet(Path(payload["checkpoint"]).name, "", "", remark),) if remark else ()
        known = setup or Setup({}, unmet=unmet)
        # Base and trajectory are chosen among what is registered, and a path of the server is not shown.
        taken = (v for v in known.stated if v.field not in ("checkpoint", "trajectory"))
        return replace(known, stated=tuple(replace(v, path="") for v in taken)).as_dict()
    received = [uploads.finish(u) for u in payload["uploads"]]
    work.progress("looking")
    uploaded = _of_uploads({u.name: u.path for u in received})
    for upload in received:
        uploads.discard(upload.id)
    return uploaded.as_dict()


def standing(job_id: int | None) -> Setup | None:
    """The setup that a job found; None without one, or where it ended otherwise."""
    job = None if job_id is None else jobs.get_job(job_id)
    if job is None or job.kind != "setup" or job.result is None:
        return None
    return Setup.from_dict(job.result)


def file_name(written: str) -> str:
    """The last part of a path as a configuration writes it, of whatever system."""
    return written.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _of_uploads(files: Mapping[str, Path]) -> Setup:
    read: list[Document] = []
    for name, path in files.items():
        read += documents(name, read_bytes(path))
    place = Uploads(files)
    setup = setup_of(read, lambda document: place, here=False)
    if setup is not None:
        return replace(setup, stated=tuple(replace(value, path="") for value in setup.stated))
    known = ", ".join(kind.label for kind in _leading())
    raise UserError(
        f"No training configuration was found in {', '.join(files)}.",
        f"Known are those of {known}.",
        "Give the file that the training was started with.",
    )
