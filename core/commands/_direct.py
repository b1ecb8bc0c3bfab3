"""A diagnosis from paths, in this process: no upload, no allow-list, no worker beside it; else the same services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from core.checkpoint import folders
from core.intake.datasets import scan
from core.services import datasets, runs
from core.services.jobs import Terminal, Watch
from core.types import Checkpoint, Dataset, Reading, Run, RunSpec
from core.worker.here import run_here


def import_dataset(paths: Sequence[Path], format_: str | None, mapping: Mapping[str, str], watch: Watch) -> Dataset:
    """Stores the files as a dataset; one with the same rows read in the same way is used again."""
    reading = scan(paths, Reading("", format_ or "", {}), overrides=mapping).reading
    dataset = datasets.import_files(paths, [p.name for p in paths], paths[0].stem, reading, Terminal(watch))
    for other in datasets.list_datasets():
        same = other.fingerprint == dataset.fingerprint and other.files == dataset.files
        if same and other.id != dataset.id and datasets.as_dict(other.reading) == datasets.as_dict(dataset.reading):
            datasets.delete_dataset(dataset.id)
            return other
    return dataset


def checkpoints(
    final: Path, base: Path | None, trajectory: Path | None, watch: Watch
) -> tuple[Checkpoint, Checkpoint | None, list[Checkpoint]]:
    """The checkpoints at these paths. An adapter's base is also the model before fine-tuning."""
    watch("hashing weights", 0, 0, "")
    before = None if base is None else folders.as_checkpoint(base, None, base.name)
    last = folders.as_checkpoint(final, base, final.name)
    steps: list[Checkpoint] = []
    if trajectory is not None:
        for path in folders.find(trajectory).checkpoints:
            step = folders.as_checkpoint(path, base, path.name)
            if step.fingerprint != last.fingerprint:
                steps.append(step)
    return last, before, steps


def run(name: str, spec: RunSpec, watch: Watch) -> Run:
    """Stores a run of this specification and diagnoses it in this process."""
    run_id, job_id = runs.start(runs.store_run(name, spec))
    run_here(job_id, watch)
    return runs.get_run(run_id)
