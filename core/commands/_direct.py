"""A diagnosis from paths, in this process: no upload, no allow-list, no worker beside it; else the same services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from core.checkpoint import folders, servers
from core.errors import UserError
from core.intake.datasets import scan
from core.recorded import files
from core.services import datasets, runs
from core.services.jobs import Terminal, Watch
from core.types import Checkpoint, Dataset, Reading, Run, RunSpec, Setup
from core.worker.here import run_here


def import_dataset(
    paths: Sequence[Path],
    format_: str | None,
    mapping: Mapping[str, str],
    watch: Watch,
    stated: Mapping[str, str] = MappingProxyType({}),
    most: int | None = None,
) -> Dataset:
    """Stores the files as a dataset; one with the same rows read in the same way is used again.

    Args:
        mapping: role to column, over what is detected or stated.
        stated: role to column, as a configuration states it.
        most: rows that are taken of each file, from its start; None for all.
    """
    reading = scan(paths, Reading("", format_ or "", {}), overrides=mapping, stated=stated).reading
    dataset = datasets.import_files(paths, [p.name for p in paths], paths[0].stem, reading, Terminal(watch), most=most)
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
            later = step.step is not None and last.step is not None and step.step > last.step
            if step.fingerprint != last.fingerprint and not later:
                steps.append(step)
    return last, before, steps


def recorded(
    outputs: Path | None, recording: Sequence[Path], tokenizer: Path | None
) -> tuple[Checkpoint, Checkpoint | None, list[Checkpoint]]:
    """What stands for a checkpoint where there is none: a file of answers or losses, a recording, else nothing.

    Raises:
        UserError: a file cannot be used, or a recording comes without the tokenizer by which its rows are found.
    """
    if recording and tokenizer is None:
        raise UserError(
            "A recording needs the training's tokenizer.",
            "Its rows are found by their token ids.",
            "Give --tokenizer, or the checkpoint with --checkpoint.",
        )
    if outputs is None and not recording:
        return files.no_model(tokenizer), None, []
    parts = files.from_outputs(outputs, tokenizer) if outputs else files.from_recording(recording, tokenizer)
    *earlier, last = parts
    return last, None, earlier


def recorded_way(recording: Sequence[Path]) -> list[Checkpoint]:
    """The epochs of a recording as checkpoints on the way to one that has weights."""
    return files.from_recording(recording) if recording else []


def on_server(
    url: str, model: str, base: str | None, tokenizer: Path, watch: Watch
) -> tuple[Checkpoint, Checkpoint | None]:
    """The models on a server that a person names: the one to diagnose, and the one before fine-tuning.

    Args:
        tokenizer: the folder of their tokenizer.
    """
    watch("asking the server", 0, 0, "")
    address = servers.allow(url)
    final = servers.as_checkpoint(address, model, tokenizer)
    return final, None if base is None else servers.as_checkpoint(address, base, tokenizer)


def run(name: str, spec: RunSpec, watch: Watch, setup: Setup | None = None) -> Run:
    """Stores a run of this specification and diagnoses it in this process."""
    run_id, job_id = runs.start(runs.store_run(name, spec, setup))
    run_here(job_id, watch)
    return runs.get_run(run_id)
