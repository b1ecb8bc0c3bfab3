"""Where the paths that a configuration writes lead: beside its file, or among uploads. Nothing else is looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.configurations._base import Document
from core.configurations._documents import documents, read_bytes
from core.errors import UserError

# Trainers read paths from the folder they were started in, which often is one of the folders above the file:
# examples/train_lora/qwen.yaml of LLaMA-Factory names data/identity.json.
# Checkpoints go to saves/model/lora/run there, and its board leaves the configuration beside them.
ABOVE = 5
_HUB = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


class Disk:
    """Paths on this machine.

    Args:
        folder: where the configuration lies; paths are taken from here, from the folders above it, from ``others``.
        roots: folders that a path must lie in once its links are resolved; None: wherever the user may read.
    """

    def __init__(self, folder: Path, others: Sequence[Path] = (), roots: Sequence[Path] | None = None) -> None:
        self._starts = [folder, *list(folder.parents)[:ABOVE], *others]
        self._roots = None if roots is None else [root.resolve() for root in roots]

    def find(self, written: str) -> Path | None:
        """See ``Place.find``. The name of a model on the hub leads to the copy in the local cache, if there is one."""
        try:
            path = Path(written).expanduser()
            for start in self._starts:
                candidate = (start / path).resolve()
                if self._allowed(candidate) and candidate.exists() and os.access(candidate, os.R_OK):
                    return candidate
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name with NUL, an unknown user
            return None
        cached = _cached(written)
        return cached if cached is not None and self._allowed(cached) else None

    def document(self, written: str) -> Document | None:
        """See ``Place.document``."""
        path = self.find(written)
        if path is None or not path.is_file():
            return None
        try:
            return documents(path.name, read_bytes(path), path.parent)[0]
        except UserError:
            return None

    def _allowed(self, path: Path) -> bool:
        return self._roots is None or any(path.is_relative_to(root) for root in self._roots)


def _cached(written: str) -> Path | None:
    if not _HUB.fullmatch(written):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(written, "config.json")
    except HFValidationError:
        return None
    return Path(file).parent if isinstance(file, str) else None


class Uploads:
    """Files that were uploaded together, found by their own name; folders that a path names are passed over."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find(self, written: str) -> Path | None:
        """See ``Place.find``."""
        return self._files.get(re.split(r"[/\\]", written)[-1])

    def document(self, written: str) -> Document | None:
        """See ``Place.document``."""
        path = self.find(written)
        try:
            return None if path is None else documents(re.split(r"[/\\]", written)[-1], read_bytes(path))[0]
        except UserError:
            return None
