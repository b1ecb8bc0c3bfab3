"""Files to checkpoints without weights, and back to what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import UserError
from core.recorded import outputs, recordings
from core.recorded.rows import Nothing, Record
from core.types import Checkpoint, digest

NO_MODEL = "no model"


def no_model(tokenizer: Path | None = None) -> Checkpoint:
    """The checkpoint of a run that knows its dataset alone.

    Args:
        tokenizer: folder of the tokenizer that the training used, so that rows can be rebuilt as the trainer saw them.
    """
    path, gives = ("", ()) if tokenizer is None else (str(tokenizer), ("tokens",))
    mark = "none" if tokenizer is None else _tokenizer_mark(tokenizer)
    return Checkpoint(path, None, None, NO_MODEL, f"nothing:{mark}", gives=gives)


def from_outputs(file: Path, tokenizer: Path | None = None) -> list[Checkpoint]:
    """The checkpoints that a file of answers or losses speaks of, in step order, the final one last.

    Raises:
        UserError: the file cannot be read, or its columns hold no answers and no losses, or do not name rows.
    """
    bare, mark = no_model(tokenizer), fingerprint([file])
    read = outputs.read(file)
    return [
        replace(
            bare, label=part.label, step=part.step, gives=(*(bare.gives or ()), *part.gives), files=(str(file),),
            fingerprint=f"file:{digest([mark, part.label, bare.fingerprint])}",
        )
        for part in read.parts
    ]  # fmt: skip


def from_recording(files: Sequence[Path], tokenizer: Path | None = None) -> list[Checkpoint]:
    """The epochs of a recording, in order, each as a checkpoint of the way.

    Raises:
        UserError: a file cannot be read or is no recording.
    """
    bare, mark = no_model(tokenizer), fingerprint(files)
    return [
        replace(
            bare, label=epoch.label, step=epoch.step, gives=(*(bare.gives or ()), "losses", "verbatim", "steps"),
            files=tuple(map(str, files)), fingerprint=f"recording:{digest([mark, epoch.label, bare.fingerprint])}",
        )
        for epoch in recordings.read(files)
    ]  # fmt: skip


def open_record(checkpoint: Checkpoint) -> Record:
    """What the files of a checkpoint without weights say.

    Raises:
        UserError: a file is gone or was changed since.
    """
    if not checkpoint.files:
        return Nothing()
    files = [Path(name) for name in checkpoint.files]
    file = files[0]
    tokenizer = Path(checkpoint.path) if checkpoint.path else None
    recorded = checkpoint.fingerprint.startswith("recording:")
    now = from_recording(files, tokenizer) if recorded else from_outputs(file, tokenizer)
    expected = {c.label: c for c in now}
    if checkpoint.label not in expected or expected[checkpoint.label].fingerprint != checkpoint.fingerprint:
        raise UserError(
            f"{file.name} is not what it was when the run began.",
            "Its content, or the tokenizer's, was changed since.",
            "Begin a new diagnosis with it.",
        )
    if recorded:
        return next(epoch for epoch in recordings.read(files) if epoch.label == checkpoint.label)
    return outputs.read(file).part(checkpoint.label)


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the files, in their order.

    Raises:
        UserError: one cannot be read.
    """
    total = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                total.update(hashlib.file_digest(opened, "sha256").digest())
        except OSError as error:
            raise UserError(f"{file} cannot be read.", str(error.strerror or error), "Check the path.") from error
    return total.hexdigest()


def _tokenizer_mark(folder: Path) -> str:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model", "config.json")
    files = [folder / name for name in names if (folder / name).is_file()]
    return digest([[f.name for f in files], fingerprint(files)])
