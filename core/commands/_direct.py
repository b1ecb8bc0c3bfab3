"""What the command line does with paths: no upload, no allow-list, no worker beside it; else the same services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.checkpoint import folders as science
from core.errors import UserError
from core.intake.datasets import SHOWN, read, scan
from core.plugins import kind
from core.services import datasets, runs
from core.services.checkpoints import checkpoint_paths, facts_as_dict
from core.services.jobs import Terminal, Watch
from core.types import Checkpoint, Dataset, Problem, Reading, Run, RunSpec
from core.worker.here import run_here


def import_dataset(paths: Sequence[Path], format_: str | None, mapping: Mapping[str, str], watch: Watch) -> Dataset:
    """Stores the files as a dataset; one with the same rows read in the same way is used again."""
    reading = scan(paths).reading
    if format_ or mapping:
        name = kind("formats", format_ or reading.format).name
        kept = reading.mapping if name == reading.format else {}
        reading = scan(paths, Reading(reading.container, name, {**kept, **mapping})).reading
    found = datasets.import_files(paths, [p.name for p in paths], paths[0].stem, reading, Terminal(watch))
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
    run_here(job_id, watch)
    return runs.get_run(run_id)


def inspect(path: Path) -> dict[str, Any]:
    """What lies at a path and what is wrong with it: a dataset, a checkpoint folder or an archive.

    Raises:
        UserError: it is unusable.
    """
    if path.is_dir():
        return _inspect_folder(path)
    if _is_archive(path):
        return _inspect_archive(path)
    return _inspect_dataset(path)


def _inspect_dataset(path: Path) -> dict[str, Any]:
    """Every row is read: a broken one may be the last."""
    found = scan([path])
    hashes, n_samples, problems, n_rejected = set[str](), 0, [], 0
    notes = dict.fromkeys(found.notes, 0)
    for item in read([path], found.reading):
        if isinstance(item, Problem):
            n_rejected += 1
            problems += [item] if len(problems) < SHOWN else []
            continue
        n_samples += 1
        hashes.add(item.content_hash)
        for note in item.notes:
            notes[note] = notes.get(note, 0) + 1
    if not n_samples:
        first = problems[0]
        where = f"Line {first.line}: " if first.line else ""
        raise UserError(
            f"None of the {n_rejected:,} rows of {path.name} can be used as {found.reading.format}.",
            where + first.text,
            "Correct the file.",
        )
    counts = {"n_rows": n_samples + n_rejected, "n_samples": n_samples, "n_rejected": n_rejected}
    shown = {k: v for k, v in replace(found, problems=tuple(problems)).as_dict().items() if not k.startswith("n_")}
    said = [f"{note} ({n:,} rows)" if n else note for note, n in notes.items()]
    return {"kind": "dataset", **counts, "n_duplicates": n_samples - len(hashes), **shown, "notes": said}


def _is_archive(path: Path) -> bool:
    """Whether the file is an archive by its content."""
    import tarfile
    import zipfile

    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _inspect_folder(path: Path) -> dict[str, Any]:
    paths = checkpoint_paths(path)
    found: list[dict[str, Any]] = [{"path": str(p), **facts_as_dict(science.read_folder(p))} for p in paths]
    found[-1]["checks"] = _checks(paths[-1])
    return {"kind": "checkpoint" if len(paths) == 1 else "trajectory", "checkpoints": found}


def _checks(path: Path) -> list[dict[str, Any]]:
    """The sanity card's checks that need no rows; raises UserError for one that fails.

    An adapter is looked at on the base it names where that is a folder here, else not at all.
    """
    from core.checkpoint.card import card

    adapter = science.read_folder(path).adapter
    base = Path(adapter.base_name_or_path).expanduser() if adapter and adapter.base_name_or_path else None
    if adapter and (base is None or not base.is_dir()):
        return []
    found, _ = card(science.as_checkpoint(path, base), None, ())
    for check in found.checks:
        if check.state == "fail":
            raise UserError(check.text, check.measured, check.todo)
    return [asdict(check) for check in found.checks]


def _inspect_archive(path: Path) -> dict[str, Any]:
    import tempfile

    from core.checkpoint.archives import extract
    from core.settings import settings

    settings().data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings().data_dir) as folder:
        inner = extract(path, Path(folder) / "unpacked", settings().max_unpacked_bytes)
        facts = _inspect_folder(inner)
        for entry in facts["checkpoints"]:
            entry["path"] = str(Path(entry["path"]).relative_to(inner))
        return {**facts, "archive": path.name}
