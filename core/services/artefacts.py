"""Bulky evidence as files named by their content: gzipped JSON lists, one file a chunk.

Written under a temporary name and renamed; the database row that names a file is written after it, so a file without a
row is waste and a row without a file cannot be.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.settings import settings

# A hash and an ending: what ``write_bytes`` gives. A row may come from anyone's bundle, so other names lead nowhere.
_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,20}){1,2}")


def _path(name: str) -> Path:
    if not _is_name(name):
        raise ValueError(f"{str(name)[:80]!r} is no artefact")
    return settings().artefacts / name[:2] / name


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def write(details: Sequence[Mapping[str, Any] | None]) -> str:
    """Stores one chunk's details and returns the file's name."""
    return write_bytes(_packed(details), ".json.gz")


def _packed(details: Sequence[Mapping[str, Any] | None]) -> bytes:
    # mtime 0: equal content gives equal bytes and so one file. A lone surrogate needs its escape.
    text = json.dumps(list(details), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    return gzip.compress(text, 6, mtime=0)


def write_bytes(data: bytes, ending: str) -> str:
    """Stores ``data`` and returns the file's name: the hash of its content and ``ending``.

    A file of that name that was damaged is replaced.
    """
    name = f"{hashlib.sha256(data).hexdigest()}{ending}"
    path = _path(name)
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            try:
                part.write(data)
                part.flush()
                os.replace(part.name, path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    return name


def read(name: str, slot: int) -> Mapping[str, Any] | None:
    """The details of one sample; None where none were kept."""
    details: Mapping[str, Any] | None = read_all(name)[slot]
    return details


def read_all(name: str) -> list[Any]:
    """The details of a whole chunk, in their order.

    Raises:
        UserError: the file is gone, or no longer what was written.
    """
    path = _path(name)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "is gone") from error
    if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
        raise _damaged(path, "is not what was written: it was cut short or changed")
    details: list[Any] = json.loads(gzip.decompress(data))
    return details


def _damaged(path: Path, how: str) -> UserError:
    return UserError(
        "A file that this is shown from is damaged.",
        f"{path} {how}. Verdicts and exports of verdicts do not need it.",
        "Put it back from a copy of the data folder, or delete the run with its measurements and diagnose it again.",
    )


def only(name: str, slots: Collection[int]) -> tuple[str, bytes]:
    """A chunk's file with the details of these slots alone, and its name: as it is, where it holds no others."""
    details = read_all(name)
    if all(detail is None or slot in slots for slot, detail in enumerate(details)):
        return name, _path(name).read_bytes()
    data = _packed([detail if slot in slots else None for slot, detail in enumerate(details)])
    return f"{hashlib.sha256(data).hexdigest()}.json.gz", data


def path(name: str) -> Path:
    """Where a file lies, for what must be opened by path."""
    return _path(name)


def remove(names: Iterable[str]) -> None:
    """Deletes files that no row names any more. What is no artefact's name is no file of ours and stays."""
    for name in filter(_is_name, names):
        _path(name).unlink(missing_ok=True)
