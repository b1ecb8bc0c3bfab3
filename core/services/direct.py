"""What the command line does with paths: no upload, no allow-list, no worker beside it; else the same services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import checkpoints as science
from core.datasets import scan
from core.plugins import kind
from core.services import datasets, jobs, runs
from core.services.checkpoints import checkpoint_paths, facts_as_dict
from core.services.jobs import Watch
from core.types import Checkpoint, Dataset, Reading, Run, RunSpec


class _Here:
    """A job's context for work that is over in a moment: progress goes to the terminal, nothing is stored with it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def progress(self, stage: str, done: int = 0, total: int = 0, unit: str = "", store: Any = None) -> None:
        from db.session import database

        self._watch(stage, done, total, unit)
        if store is not None:
            with database().writing() as conn:
                store(conn)


def import_dataset(paths: Sequence[Path], format_: str | None, mapping: Mapping[str, str], watch: Watch) -> Dataset:
    """Stores the files as a dataset; one with the same rows read in the same way is used again."""
    reading = scan(paths).reading
    if format_ or mapping:
        name = kind("formats", format_ or reading.format).name
        kept = reading.mapping if name == reading.format else {}
        reading = scan(paths, Reading(reading.container, name, {**kept, **mapping})).reading
    found = datasets.import_files(paths, [p.name for p in paths], paths[0].stem, reading, _Here(watch))  # type: ignore[arg-type]
    for other in datasets.list_datasets():
        same = other.fingerprint == found.fingerprint and other.files == found.files
        if same and other.id != found.id and datasets.as_dict(other.reading) == datasets.as_dict(found.reading):
            datasets.delete_dataset(found.id)
            return other
    return found


def checkpoints(
    final: Path, base: Path | None, trajectory: Path | None, watch: Watch
) -> tuple[Checkpoint, Checkpoint | None, list[Checkpoint]]:
    """The checkpoints at these paths. An adapter's base is also the model before fine-tuning."""
    watch("hashing weights", 0, 0, "")
    before = None if base is None else science.as_checkpoint(base, None, base.name)
    last = science.as_checkpoint(final, base, final.name)
    steps: list[Checkpoint] = []
    if trajectory is not None:
        for path in science.find(trajectory).checkpoints:
            step = science.as_checkpoint(path, base, path.name)
            if step.fingerprint != last.fingerprint:
                steps.append(step)
    return last, before, steps


def run(name: str, spec: RunSpec, watch: Watch) -> Run:
    """Stores a run of this specification and diagnoses it in this process."""
    run_id, job_id = runs.start(runs.store_run(name, spec))
    jobs.run_here(job_id, watch)
    return runs.get_run(run_id)


def inspect(path: Path) -> dict[str, Any]:
    """What lies at a path: a dataset, a checkpoint folder or an archive; raises UserError where it is unusable."""
    if path.is_dir():
        return _inspect_folder(path)
    if _is_archive(path):
        return _inspect_archive(path)
    found = scan([path]).as_dict()
    return {"kind": "dataset", **found}


def _is_archive(path: Path) -> bool:
    """Whether the file is an archive by its content."""
    import tarfile
    import zipfile

    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _inspect_folder(path: Path) -> dict[str, Any]:
    paths = checkpoint_paths(path)
    return {
        "kind": "checkpoint" if len(paths) == 1 else "trajectory",
        "checkpoints": [{"path": str(p), **facts_as_dict(science.read_folder(p))} for p in paths],
    }


def _inspect_archive(path: Path) -> dict[str, Any]:
    import tempfile

    from core.archives import extract
    from core.settings import settings

    settings().data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings().data_dir) as folder:
        inner = extract(path, Path(folder) / "unpacked", settings().max_unpacked_bytes)
        facts = _inspect_folder(inner)
        for entry in facts["checkpoints"]:
            entry["path"] = str(Path(entry["path"]).relative_to(inner))
        return {**facts, "archive": path.name}
