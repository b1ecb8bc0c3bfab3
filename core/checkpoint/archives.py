"""A hostile archive to a folder of regular files, or one clear error with nothing left behind.

Zip, tar and gzipped tar are recognised by content. Everything is streamed. No size, name or type that the archive
declares is trusted. Files are written into a hidden folder beside the destination, which is renamed last.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.checkpoint.file_kinds import PICKLED, archive_kind
from core.errors import UserError
from core.intake.bytestreams import File

Progress = Callable[[int, int], None]

CHUNK = 1 << 20
MAX_ENTRIES = 20_000
# The zipfile module holds the table of contents in memory. 20,000 entries with long names need a tenth of this.
MAX_ZIP_DIRECTORY = 16 << 20
# The tarfile module holds long names and pax headers in memory.
MAX_TAR_HEADER = 64 << 10
MAX_DEPTH = 32
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
# Deflate cannot exceed 1,032:1, and trained weights stay below 3:1. Small archives of JSON may be denser: the floor.
MAX_RATIO = 100
RATIO_FLOOR = 64 << 20

_CLUTTER = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    ValueError,
    OverflowError,
    RecursionError,
)


def extract(path: Path, into: Path, max_bytes: int, progress: Progress | None = None, name: str = "") -> Path:
    """Unpacks an archive into the new folder ``into``.

    Args:
        path: a zip, tar or gzipped tar; recognised by content.
        into: the destination; it must not exist, or be an empty folder.
        max_bytes: the largest sum of unpacked file sizes.
        progress: called with the bytes read so far and the bytes of the archive; it may raise to stop.
        name: what a person calls the archive; by default the name of its path.

    Returns:
        The top folder of the contents: ``into``, or, if it holds only a folder, the innermost folder that holds more
        than a single folder.

    Raises:
        UserError: it is not such an archive, damaged, hostile or too large, or the disk is full. Whatever is raised,
            nothing is left behind.
    """
    archive, into = File(Path(path), name or Path(path).name), Path(into)
    kind = archive_kind(archive)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UserError(f"{into.name!r} exists already.", "An archive is unpacked into a new folder.", "Remove it.")
    into.parent.mkdir(parents=True, exist_ok=True)
    # The name is fixed, so that the next attempt removes what a killed process left here.
    partial = into.with_name(f".{into.name}.unpacking")
    _remove(partial)
    try:
        partial.mkdir()
        with archive.path.open("rb") as raw:
            target = _Target(partial, archive, max_bytes, raw, progress)
            with _explained(archive, target):
                (_unzip if kind == "zip" else _untar)(raw, target, kind)
                if not target.files:
                    raise UserError(f"{archive.name} is empty.", "It holds no file.", "Zip the checkpoint folder.")
        inner = top(partial).relative_to(partial)
        partial.replace(into)
    except BaseException:
        _remove(partial)
        raise
    return into / inner


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def top(folder: Path) -> Path:
    """The folder itself or, where it holds a folder alone, the innermost that holds more than one folder."""
    while len(entries := list(folder.iterdir())) == 1 and entries[0].is_dir():
        folder = entries[0]
    return folder


@contextmanager
def _explained(archive: File, target: _Target) -> Iterator[None]:
    """Turns the errors of the standard library into the one error that a person reads."""
    try:
        yield
    except _DAMAGED as error:
        raise _damaged(archive, target, _shown(str(error) or type(error).__name__)) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the beginning of the file, by a wrong offset
            raise _damaged(archive, target, "an offset in it leads nowhere") from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _disk_full(archive, target.folder, max(target.declared, target.written)) from error


def _damaged(archive: File, target: _Target, reason: str) -> UserError:
    return UserError(
        f"{archive.name} is damaged or cut short.",
        f"After {target.files} files: {reason}.",
        "Check that its size is the same as where it came from, make the archive again and upload it again.",
    )


def _disk_full(archive: File, folder: Path, needed: int) -> UserError:
    free = shutil.disk_usage(folder).free
    return UserError(
        f"The disk is too full to unpack {archive.name}.",
        f"It needs at least {_size(needed)}; {_size(free)} are free.",
        "Free some space or let LACUNA_DATA_DIR name a larger disk.",
    )


def _shown(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:60]}…{text[-50:]}"


def _size(n_bytes: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes} bytes"


# ---------------------------------------------------------------------------------------------------- writing


class _Target:
    """The folder to fill. It counts everything that an archive might lie about."""

    def __init__(self, folder: Path, archive: File, max_bytes: int, raw: IO[bytes], progress: Progress | None) -> None:
        self.folder, self.archive, self.max_bytes, self.raw, self.progress = folder, archive, max_bytes, raw, progress
        self.packed = archive.path.stat().st_size
        self.declared = self.packed  # a tar declares nothing as a whole
        self.written = self.files = self.entries = 0
        self._names: set[tuple[str, ...]] = set()

    def declare(self, n_bytes: int) -> None:
        """Refuses early what does not fit by its own account. A smaller account is not believed."""
        self.declared = n_bytes
        if n_bytes > self.max_bytes:
            raise self._too_large(n_bytes)
        if n_bytes > shutil.disk_usage(self.folder).free:
            raise _disk_full(self.archive, self.folder, n_bytes)

    def entry(self, name: str) -> tuple[str, ...] | None:
        """The parts of a safe relative path; () for the top folder, None for clutter that is left out."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise UserError(
                f"{self.archive.name} holds more than {MAX_ENTRIES:,} entries.",
                "A checkpoint folder has a few dozen.",
                "Archive the checkpoint folder alone.",
            )
        parts = _safe_parts(name)
        clutter = any(part in _CLUTTER or part.startswith("._") for part in parts)
        return None if clutter else parts

    def add_folder(self, parts: tuple[str, ...]) -> None:
        try:
            self.folder.joinpath(*parts).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _refused(self.archive, "/".join(parts), "is both a file and a folder") from None

    def add_file(self, parts: tuple[str, ...], source: IO[bytes]) -> None:
        name = "/".join(parts)
        if parts in self._names:
            raise _refused(self.archive, name, "occurs twice")
        self._names.add(parts)
        self.add_folder(parts[:-1])
        try:
            # A plain open leaves the executable bit off. "x" catches names that only differ in case on some disks.
            with self.folder.joinpath(*parts).open("xb") as out:
                while block := source.read(CHUNK):
                    self.count(len(block))
                    out.write(block)
        except (FileExistsError, IsADirectoryError):
            raise _refused(self.archive, name, "clashes with another entry of that name") from None
        self.files += 1

    def count(self, n_bytes: int) -> None:
        """Counts unpacked bytes before they are written, and refuses too many."""
        self.written += n_bytes
        if self.written > self.max_bytes:
            raise self._too_large(self.written)
        self.check_ratio(self.written)
        if self.progress is not None:
            self.progress(min(self.raw.tell(), self.packed), self.packed)

    def check_ratio(self, n_bytes: int) -> None:
        if n_bytes > max(RATIO_FLOOR, MAX_RATIO * self.packed):
            raise UserError(
                f"{self.archive.name} unpacks to more than {MAX_RATIO} times its size.",
                f"{_size(self.packed)} gave {_size(n_bytes)} so far, which weights never do: an archive bomb.",
                "Archive the checkpoint folder again, without sparse or zero-filled files.",
            )

    def _too_large(self, n_bytes: int) -> UserError:
        return UserError(
            f"{self.archive.name} unpacks to more than {_size(self.max_bytes)}.",
            f"At least {_size(n_bytes)} are in it.",
            "Leave optimizer states out, or raise LACUNA_MAX_UNPACKED_GB.",
        )


def _safe_parts(name: str) -> tuple[str, ...]:
    path = name.replace("\\", "/")  # some Windows tools write backslashes
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    wrong = ""
    if path.startswith("/"):
        wrong = "is an absolute path"
    elif re.match(r"[A-Za-z]:", path):
        wrong = "begins with a drive letter"
    elif ".." in parts:
        wrong = "leads out of the folder"
    elif any(ord(character) < 32 for character in name):
        wrong = "contains a control character"
    elif len(parts) > MAX_DEPTH:
        wrong = f"is nested deeper than {MAX_DEPTH} folders"
    elif any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts) or len(os.fsencode(path)) > MAX_PATH_BYTES:
        wrong = f"is longer than {MAX_NAME_BYTES} bytes ({MAX_PATH_BYTES} with its folders)"
    if wrong:
        raise UserError(
            f"The archive's entry {_shown(name)!r} {wrong}.",
            "Such an archive is not unpacked, not even in part.",
            "Archive the checkpoint folder itself, for example: tar -czf checkpoint.tar.gz my-checkpoint",
        )
    return parts


def _refused(archive: File, name: str, wrong: str) -> UserError:
    return UserError(
        f"{archive.name} is refused: its entry {_shown(name)!r} {wrong}.",
        "Only regular files and folders with names of their own are unpacked.",
        "Archive the checkpoint folder again; with tar, -h stores the files that links point to.",
    )


# -------------------------------------------------------------------------------------------------------- zip


def _unzip(raw: IO[bytes], target: _Target, kind: str) -> None:
    # ZipFile uses this private function, so the size that is checked is the size that it will read.
    end = zipfile._EndRecData(raw)  # type: ignore[attr-defined]
    if end is None:
        raise zipfile.BadZipFile("the table of contents at the end is missing")
    size = end[zipfile._ECD_SIZE]  # type: ignore[attr-defined]
    if size > MAX_ZIP_DIRECTORY:
        raise UserError(
            f"{target.archive.name} has a table of contents of {_size(size)}.",
            f"A checkpoint folder needs a few kilobytes; the limit is {_size(MAX_ZIP_DIRECTORY)}.",
            "Archive the checkpoint folder alone.",
        )
    with zipfile.ZipFile(raw) as archive:
        entries = sorted(archive.infolist(), key=lambda info: info.header_offset)
        if any(info.filename.endswith("/data.pkl") for info in entries):
            raise UserError(*PICKLED)
        target.declare(sum(info.file_size for info in entries))
        for info in entries:
            parts = target.entry(info.orig_filename)
            _check_zip_entry(info, target.archive)
            if parts and info.is_dir():
                target.add_folder(parts)
            elif parts:
                with archive.open(info) as source:
                    target.add_file(parts, source)


_ZIP_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 98: "ppmd"}


def _check_zip_entry(info: zipfile.ZipInfo, archive: File) -> None:
    file_type = stat.S_IFMT(info.external_attr >> 16)
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, info.filename, "is a link" if file_type == stat.S_IFLNK else "is a device or socket")
    if info.flag_bits & 0x41:
        raise UserError(
            f"{archive.name} is encrypted.",
            f"The entry {_shown(info.filename)!r} needs a password.",
            "Make the archive without one; it stays on this machine.",
        )
    # LZMA and bzip2 let the archive choose how much memory unpacking takes.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _ZIP_METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise UserError(
            f"{archive.name} is compressed with {method}.",
            "Zip archives may be stored or deflated.",
            "Zip the folder again with the default method, or use tar.gz.",
        )


# -------------------------------------------------------------------------------------------------------- tar


_TAR_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _TarEntry(tarfile.TarInfo):
    """A wrong or missing header is an error here. The tarfile module silently takes it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarEntry:
        entry = super().frombuf(buf, encoding, errors)
        if entry.size < 0 or (entry.type in _TAR_HEADERS and entry.size > MAX_TAR_HEADER):
            raise tarfile.ReadError(f"a header names the size {entry.size}")
        return entry

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _TarEntry:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError("the archive ends in the middle") from error
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"a header is invalid ({error})") from error

    def _refuse_sparse(self, *_: object) -> None:
        raise UserError(
            f"The archive's entry {_shown(self.name)!r} is a sparse file.",
            "Only regular files and folders are unpacked.",
            "Make the tar without -S (--sparse).",
        )

    # Here tarfile would read a map of holes, of any length, into memory.
    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


class _Counted(io.RawIOBase):
    """A stream that counts unzipped bytes, because headers, padding and what follows the last entry cost time too."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile, target: _Target) -> None:
        super().__init__()
        self._source, self._target, self._read = source, target, 0

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self._read += len(block)
        self._target.check_ratio(self._read)
        return block


def _untar(raw: IO[bytes], target: _Target, kind: str) -> None:
    stream = _Counted(gzip.GzipFile(fileobj=raw) if kind == "tar.gz" else raw, target)
    # Stream mode never seeks, so gzip is read once from front to back.
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarEntry) as archive:
        while (member := archive.next()) is not None:
            _untar_member(archive, member, target)
            # tarfile keeps every header it has met.
            archive.members.clear()  # type: ignore[attr-defined]
            archive.pax_headers = {}
    # To the end of the file: gzip's length and checksum stand there.
    while stream.read(CHUNK):
        pass


def _untar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: _Target) -> None:
    parts = target.entry(member.name)
    if member.issym() or member.islnk():
        raise _refused(target.archive, member.name, "is a link")
    if member.size < 0 or not (member.isreg() or member.isdir()):
        raise _refused(target.archive, member.name, "is neither a regular file nor a folder")
    try:
        tarfile.data_filter(member, str(target.folder))
    except tarfile.FilterError as error:
        raise _refused(target.archive, member.name, f"is unsafe ({error})") from error
    if parts and member.isdir():
        target.add_folder(parts)
    elif parts and (source := archive.extractfile(member)) is not None:
        target.add_file(parts, source)
