"""Uploads: streamed to disk, hashed on the way, never whole in memory."""

from __future__ import annotations

import errno
import hashlib
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection

from core.errors import UserError
from core.services import who
from core.settings import settings
from db import uploads as table
from db.session import database

# Left free on the disk, so that an upload never takes the last block from the database.
RESERVE = 64 << 20
# An upload that was begun and not ended for this long belongs to a closed tab.
STALE = 24 * 3600.0
# An upload that ended and that no job reads was looked at and left: a week is time to come back to it.
UNUSED = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came. ``name`` is what the sender called it, for showing only; ``path`` is ours."""

    id: str
    name: str
    path: Path
    size: int
    sha256: str | None
    state: str


class Taken(UserError):
    """Another request writes or wrote this upload."""


class Unknown(UserError):
    """There is no upload of that id."""


class TooLarge(UserError):
    """More bytes came than were announced, or than an upload may have."""


def human(size: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _too_large(size: int) -> TooLarge:
    limit = settings().max_upload_bytes
    return TooLarge(
        f"{human(size)} is more than an upload may have.",
        f"The limit is {human(limit)}.",
        "Set LACUNA_MAX_UPLOAD_GB, or put the file into a folder named in LACUNA_CHECKPOINT_ROOTS.",
    )


def _disk_full(needed: int) -> UserError:
    free = shutil.disk_usage(settings().data_dir).free
    return UserError(
        f"The disk has too little room for {human(needed)}.",
        f"{human(free)} are free under the data folder.",
        "Delete runs or uploads you no longer need, or set LACUNA_DATA_DIR to a larger disk.",
    )


def begin(name: str, size: int) -> str:
    """Announces an upload and returns its id.

    Raises:
        UserError: larger than the limit or than the disk has room for.
    """
    if size < 0 or size > settings().max_upload_bytes:
        raise _too_large(size)
    folder = settings().uploads
    folder.mkdir(parents=True, exist_ok=True)
    _drop_stale()
    if shutil.disk_usage(folder).free < size + RESERVE:
        raise _disk_full(size)
    token = secrets.token_urlsafe(12)
    # The sender's name is kept for showing; on disk only its suffixes survive, and only harmless ones.
    suffix = "".join(re.findall(r"\.[A-Za-z0-9]{1,8}", Path(name).name)[-2:])
    with database().writing() as conn:
        table.add(conn, token, Path(name).name[:200] or "upload", str(folder / f"{token}{suffix}"), size,
                  who.name() or None)  # fmt: skip
    return token


class Writer:
    """Takes the bytes of one upload, counts and hashes them."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self.size = 0
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Appends; raises UserError where the announced size is passed."""
        self.size += len(data)
        if self.size > self._limit:
            raise TooLarge("The upload is larger than it was announced.", f"Announced were {human(self._limit)}.")
        self.hash.update(data)
        self._file.write(data)


@contextmanager
def open_writer(upload_id: str) -> Iterator[Writer]:
    """Writes the upload's bytes; whatever goes wrong, no partial file stays.

    Raises:
        UserError: the disk is full, or more or fewer bytes came than were announced.
    """
    upload = get(upload_id)
    with database().writing() as conn:
        claimed = table.claim(conn, upload_id)
    if not claimed:
        raise Taken("This upload has already ended or is under way.", "", "Begin a new one.")
    try:
        with upload.path.open("wb") as file:
            writer = Writer(file, upload.size)
            yield writer
        if writer.size != upload.size:
            raise UserError(
                "The upload broke off.",
                f"{human(writer.size)} of {human(upload.size)} came.",
                "Send the file again.",
            )
        with database().writing() as conn:
            table.finish(conn, upload_id, writer.size, writer.hash.hexdigest())
    except BaseException as error:
        discard(upload_id)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(upload.size) from error
        raise


def finish(upload_id: str) -> Upload:
    """The upload once all its bytes are there."""
    upload = get(upload_id)
    if upload.state != "done":
        raise UserError(f"The upload of {upload.name} has not ended.", "", "Wait for it, or send the file again.")
    return upload


def get(upload_id: str) -> Upload:
    with database().reading() as conn:
        row = table.get(conn, upload_id)
    if row is None:
        raise Unknown("This upload is not known.", "It was discarded, or broke off.", "Send the file again.")
    return Upload(row["id"], row["name"], Path(row["path"]), row["size"], row["sha256"], row["state"])


def discard(upload_id: str) -> None:
    """Removes the upload and its file; one that is not known is no error."""
    with database().writing() as conn:
        files = forget(conn, [upload_id])
    remove_files(files)


def forget(conn: Connection, upload_ids: Sequence[str]) -> list[Path]:
    """Forgets the uploads; returns their files, for the caller to remove once this is committed."""
    rows = [row for row in (table.get(conn, upload_id) for upload_id in upload_ids) if row is not None]
    for row in rows:
        table.delete(conn, row["id"])
    return [Path(row["path"]) for row in rows]


def remove_files(paths: Iterable[Path]) -> None:
    """Removes files that no row names any more; what a killed process leaves is swept at the next start."""
    for path in paths:
        path.unlink(missing_ok=True)


def _drop_stale() -> None:
    with database().writing() as conn:
        files = forget(conn, table.stale(conn, STALE))
    remove_files(files)
