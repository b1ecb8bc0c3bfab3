"""Checkpoint folders: what they hold, which may be chosen, and the value that names one in a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.checkpoint.facts import (
    ADAPTER_CONFIG,
    CONFIG,
    GENERATION_CONFIG,
    STEP,
    TEMPLATE_FILES,
    TOKENIZER_FILES,
    FolderFacts,
    promised,
    read_folder,
    tensors,
)
from core.checkpoint.folder_guards import TEMPLATES, listed
from core.errors import UserError
from core.types import Checkpoint

__all__ = ["FolderFacts", "Found", "Listing", "as_checkpoint", "browse", "find", "fingerprint", "read_folder"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a folder.

    Attributes:
        kind: ``trajectory`` if there are ``checkpoint-N`` folders with weights, with or without a model beside them.
        final: the folder of the model or adapter: the folder itself, or the last checkpoint of a trajectory without a
            model at its top; None if there is nothing.
        checkpoints: the ``checkpoint-N`` folders in step order, if any.
        notes: what was left out, and why.
    """

    kind: Literal["full", "adapter", "trajectory", "nothing"]
    final: Path | None
    checkpoints: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def find(path: Path) -> Found:
    """Looks for a model, an adapter or a trajectory directly in ``path``, without opening a file.

    Raises:
        UserError: there is no such folder.
    """
    path = Path(path)
    own = promised(path)
    steps: list[tuple[int, Path]] = []
    notes: list[str] = []
    for folder in path.iterdir():
        match = STEP.fullmatch(folder.name)
        if match and folder.is_symlink():
            notes.append(f"{folder.name} is a link and is left out")
        elif match and folder.is_dir():
            if promised(folder) == "nothing":
                notes.append(f"{folder.name} holds no weights and is left out")
            else:
                steps.append((int(match[1]), folder))
    checkpoints = tuple(folder for _, folder in sorted(steps))
    if own == "nothing" and not checkpoints:
        return Found("nothing", None, notes=tuple(sorted(notes)))
    final = path if own != "nothing" else checkpoints[-1]
    return Found("trajectory" if checkpoints else own, final, checkpoints, tuple(sorted(notes)))


def as_checkpoint(path: Path, base: Path | None = None, label: str = "") -> Checkpoint:
    """The value that names this checkpoint in a run. Reads every weight byte once, for the fingerprint.

    Args:
        base: the base model of an adapter; ignored if ``path`` is a full model.
        label: what a person calls it; the folder's name if empty.

    Raises:
        UserError: one of the folders is unusable, an adapter has no base, or the base is an adapter itself.
    """
    path = Path(path).resolve()
    facts = read_folder(path)
    if facts.adapter is None:
        base = None
    elif base is None:
        raise UserError(
            f"{path.name} is a {facts.adapter.peft_type or 'PEFT'} adapter and needs its base model.",
            f"It was trained on {facts.adapter.base_name_or_path or 'a model it does not name'!r}.",
            "Give the folder of that model as the base, too.",
        )
    if base is not None:
        base = Path(base).resolve()
        if read_folder(base).kind == "adapter":
            raise UserError(
                f"The base {base.name} is an adapter itself.", "An adapter's base is a full model.", "Choose that one."
            )
    return Checkpoint(
        path=str(path),
        base=str(base) if base else None,
        step=facts.step,
        label=label or path.name,
        fingerprint=fingerprint(path, base),
    )


def fingerprint(path: Path, base: Path | None = None) -> str:
    """SHA-256 (hex) of the bytes of configuration, tokenizer, template and weights, and those of the base.

    Name, place and times of the folder do not enter.
    """
    path = Path(path)
    named = (CONFIG, ADAPTER_CONFIG, GENERATION_CONFIG, *TOKENIZER_FILES, *TEMPLATE_FILES)
    files = {path / name for name in named if (path / name).is_file()}
    files |= {tensor.file for tensor in tensors(path).values()}
    # A model with several templates keeps the others here.
    files |= {file for file in path.glob(f"{TEMPLATES}/*.jinja") if file.is_file()}
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(path)}\0{_sha256(file)}\n".encode())
    if base is not None:
        total.update(f"base\0{fingerprint(base)}\n".encode())
    return total.hexdigest()


def _sha256(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


# --------------------------------------------------------------------------------------------- choosing on a server


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder to choose or to open. ``kind``: as in ``Found``, from names alone."""

    name: str
    path: Path
    kind: Literal["full", "adapter", "trajectory", "nothing"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The sub-folders of one allowed folder.

    Attributes:
        path: the folder; None for the list of roots.
        parent: the folder above; None at a root.
        kind: what ``path`` itself holds.
        entries: its sub-folders by name.
        left_out: names of folders that lead out of the roots or may not be read.
    """

    path: Path | None
    parent: Path | None
    kind: Literal["full", "adapter", "trajectory", "nothing"]
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()


def browse(roots: Sequence[Path], path: Path | str | None = None) -> Listing:
    """The sub-folders of ``path``, which must lie in one of ``roots`` after links are resolved.

    Raises:
        UserError: there are no roots, or ``path`` is outside them or not a folder.
    """
    roots = [Path(root).resolve() for root in roots]
    if not roots:
        raise UserError(
            "No folder on the server may be chosen.",
            "LACUNA_CHECKPOINT_ROOTS names none.",
            "Start with LACUNA_CHECKPOINT_ROOTS=/folder/of/checkpoints, or upload an archive.",
        )
    if path is None or path == "":
        open_roots = tuple(Entry(str(root), root, find(root).kind) for root in roots if root.is_dir())
        return Listing(None, None, "nothing", open_roots, tuple(str(root) for root in roots if not root.is_dir()))
    folder = allowed(roots, path)
    entries: list[Entry] = []
    left_out: list[str] = []
    for child in (folder / name for name in listed(folder)):
        try:
            if child.is_dir() and not child.name.startswith("."):
                inner = allowed(roots, child)
                entries.append(Entry(child.name, inner, find(inner).kind))
        except (UserError, OSError):
            left_out.append(child.name)
    parent = None if folder in roots else folder.parent
    return Listing(folder, parent, find(folder).kind, tuple(entries), tuple(left_out))


def allowed(roots: Sequence[Path], path: Path | str) -> Path:
    """``path`` with links resolved, if it is a folder inside one of ``roots``.

    Raises:
        UserError: it is not. The error does not reveal whether it exists outside the roots.
    """
    try:
        folder = Path(path).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name with NUL
        folder = None
    if folder is None or not any(folder.is_relative_to(Path(root).resolve()) for root in roots):
        raise UserError(
            f"{str(path)!r} is not among the folders that may be chosen.",
            f"LACUNA_CHECKPOINT_ROOTS allows: {', '.join(str(root) for root in roots) or 'none'}.",
            "Choose a folder inside one of these, or start Lacuna with another LACUNA_CHECKPOINT_ROOTS.",
        )
    if not folder.is_dir():
        raise UserError(f"There is no folder {str(path)!r}.", "It may have been moved.", "Go back and choose again.")
    return folder
