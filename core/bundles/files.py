"""The file of a bundle: a ZIP of tables and artefacts with a table of contents that names the hash of each.

What is opened may come from anyone. Names are taken from a short list, sizes are counted while reading and never
believed, every byte is hashed, and nothing is unpacked to a path that the file names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import UserError
from core.intake.bytestreams import GZIP_FREE_BYTES, GZIP_RATIO, ROW_BYTES

# Raised when an older Lacuna could not read the file any more.
VERSION = 1
CONTENTS = "bundle.json"
_TABLE = re.compile(r"tables/([a-z_]{1,40})\.jsonl")
_ARTEFACT = re.compile(r"artefacts/([0-9a-f]{64}\.json\.gz)")
# The list of all files, as JSON; and the ZIP's own. A run of a million samples has some thousand artefacts.
CONTENTS_BYTES = 64 << 20
# A row holds the raw row, in base64, and its text up to three times.
LINE_BYTES = 5 * ROW_BYTES
# Epoch seconds beyond which no date is believed: some clocks cannot show them.
LATEST = 2**33
_BLOCK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a bundle says it holds.

    Attributes:
        lacuna: the version that wrote it; ``made``: epoch seconds.
        about: facts for people: the run's name, its samples.
        tables: table to number of rows.
        files: member to (bytes, SHA-256).
    """

    lacuna: str
    made: float
    about: Mapping[str, Any]
    tables: Mapping[str, int]
    files: Mapping[str, tuple[int, str]]


class Writer:
    """Writes the members of a bundle one after the other; ``writing`` makes one."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive
        self._tables: dict[str, int] = {}
        self._files: dict[str, tuple[int, str]] = {}

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        lines = (json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode() + b"\n" for row in rows)
        n = self._member(f"tables/{name}.jsonl", lines, zipfile.ZIP_DEFLATED)
        self._tables[name] = n

    def artefact(self, name: str, data: bytes) -> None:
        """``name``: the hash of the content, as the store names it."""
        self._member(f"artefacts/{name}", [data], zipfile.ZIP_STORED)

    def _member(self, name: str, parts: Iterable[bytes], how: int) -> int:
        digest, size, n = hashlib.sha256(), 0, 0
        info = zipfile.ZipInfo(name)  # its date is the fixed one of ZIP: equal content gives equal bytes
        info.compress_type = how
        with self._zip.open(info, "w", force_zip64=True) as file:
            for part in parts:
                file.write(part)
                digest.update(part)
                size, n = size + len(part), n + 1
        self._files[name] = (size, digest.hexdigest())
        return n

    def close(self, lacuna: str, made: float, about: Mapping[str, Any]) -> None:
        """Writes the table of contents."""
        value = {"lacuna_bundle": VERSION, "lacuna": lacuna, "made": made, "about": dict(about),
                 "tables": self._tables, "files": self._files}  # fmt: skip
        self._zip.writestr(zipfile.ZipInfo(CONTENTS), json.dumps(value, indent=1), zipfile.ZIP_DEFLATED)


@contextmanager
def writing(out: Path) -> Iterator[Writer]:
    """A bundle at ``out``, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=".part-", delete=False) as part:
        try:
            with zipfile.ZipFile(part, "w") as archive:
                yield Writer(archive)
            part.flush()
            os.chmod(part.name, 0o644)  # a temporary file is its owner's alone, a bundle is for others
            os.replace(part.name, out)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


# ---------------------------------------------------------------------------------------------------------- reading


class Reader:
    """The members of a bundle, each checked while it is read; ``reading`` makes one."""

    def __init__(self, archive: zipfile.ZipFile, name: str, most: int) -> None:
        self._zip, self._name, self._most = archive, name, most
        self._infos = _members(archive, name)
        self.contents = self._contents()

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table in their order; all of them are checked only once all were read.

        Raises:
            UserError: changed bytes, a line that is too long, or one that is no JSON object.
        """
        member = f"tables/{table}.jsonl"
        with self._open(member) as stream:
            n = 0
            while line := stream.readline():
                n += 1
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise self._changed(f"Line {n} of {member} is not JSON.") from error
                if not isinstance(value, dict):
                    raise self._changed(f"Line {n} of {member} is not an object.")
                yield value
        if n != self.contents.tables[table]:
            raise self._changed(f"{member} has {n:,} rows, and {self.contents.tables[table]:,} were named.")

    def artefacts(self) -> list[str]:
        """Names of the artefacts."""
        return [found[1] for member in self.contents.files if (found := _ARTEFACT.fullmatch(member))]

    def artefact(self, name: str) -> bytes:
        """An artefact, whose name is the hash of its content and which unpacks within the limits.

        Raises:
            UserError: changed bytes, or a bomb.
        """
        with self._open(f"artefacts/{name}") as stream:
            data = stream.read()
        if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
            raise self._changed(f"The artefact {name[:12]}… has another content than its name says.")
        self._check_gzip(name, data)
        return data

    def _check_gzip(self, name: str, data: bytes) -> None:
        """Unpacks the artefact without keeping it: it must be gzip, whole, one JSON list, and no bomb."""
        size, member = 0, zlib.decompressobj(wbits=31)
        rest, head = data, b""
        try:
            while rest and not member.eof:
                block = member.decompress(rest, _BLOCK)
                rest = member.unconsumed_tail
                size, head = size + len(block), head or block[:1]
                if size > self._most or (size > GZIP_FREE_BYTES and size > GZIP_RATIO * len(data)):
                    raise self._too_large(f"The artefact {name[:12]}… unpacks to more than {size:,} bytes.")
        except zlib.error as error:
            raise self._changed(f"The artefact {name[:12]}… is not gzip.") from error
        if not member.eof or head != b"[":
            raise self._changed(f"The artefact {name[:12]}… is cut short or no list.")

    def _contents(self) -> Contents:
        if CONTENTS not in self._infos:
            raise UserError(
                f"{self._name} is not a bundle.", f"It has no {CONTENTS}.", "Make one with: lacuna bundle RUN"
            )
        if self._infos[CONTENTS].file_size > CONTENTS_BYTES:
            raise self._too_large(f"Its {CONTENTS} has {self._infos[CONTENTS].file_size:,} bytes.")
        with self._zip.open(CONTENTS) as stream:
            data = stream.read(CONTENTS_BYTES + 1)
        try:
            value = json.loads(data)
            version = value["lacuna_bundle"]
            if version != VERSION:
                raise UserError(
                    f"{self._name} is a bundle of version {str(version)[:20]}.",
                    f"This Lacuna reads version {VERSION}. It was made by Lacuna {str(value.get('lacuna'))[:40]}.",
                    "Open it with that version, or make it again with this one.",
                )
            contents = Contents(
                str(value["lacuna"]), float(value["made"]), dict(value["about"]),
                {str(k): int(v) for k, v in value["tables"].items()},
                {str(k): (int(size), str(digest)) for k, (size, digest) in value["files"].items()},
            )  # fmt: skip
            if not 0 <= contents.made <= LATEST:
                raise ValueError("no date")
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._changed(f"Its {CONTENTS} cannot be read.") from error
        if set(contents.files) != set(self._infos) - {CONTENTS}:
            raise self._changed("It holds other files than it names.")
        if {f"tables/{t}.jsonl" for t in contents.tables} != {m for m in contents.files if _TABLE.fullmatch(m)}:
            raise self._changed("It holds other tables than it names.")
        declared = sum(size for size, _ in contents.files.values())
        if declared > self._most or any(size < 0 for size, _ in contents.files.values()):
            raise self._too_large(f"It unpacks to {declared:,} bytes.")
        return contents

    @contextmanager
    def _open(self, member: str) -> Iterator[_Checked]:
        size, digest = self.contents.files[member]
        packed = self._infos[member].compress_size
        if size > GZIP_FREE_BYTES and size > GZIP_RATIO * max(packed, 1):
            raise self._too_large(f"{member} unpacks to {GZIP_RATIO} times its size.")
        with self._zip.open(member) as raw:
            stream = _Checked(raw, size, self._changed(f"{member} is longer than was named."))
            yield stream
            stream.drain()
        if stream.size != size or stream.digest.hexdigest() != digest:
            raise self._changed(f"The bytes of {member} are not those that were written.")

    def _changed(self, why: str) -> UserError:
        return UserError(
            f"{self._name} is damaged or was changed.", why, "Copy it again from where it came, or ask for a new one."
        )

    def _too_large(self, why: str) -> UserError:
        return UserError(
            f"{self._name} is too large to be opened.", f"{why} The limit is {self._most:,} bytes.",
            "If it is a real bundle, raise LACUNA_MAX_UNPACKED_GB.",
        )  # fmt: skip


class _Checked:
    """A member's bytes, counted and hashed as they are read; never more than were named."""

    def __init__(self, raw: Any, most: int, longer: UserError) -> None:
        self._raw, self._most, self._longer = raw, most, longer
        self.size, self.digest = 0, hashlib.sha256()

    def _seen(self, data: bytes) -> bytes:
        self.size += len(data)
        if self.size > self._most:
            raise self._longer
        self.digest.update(data)
        return data

    def readline(self) -> bytes:
        line: bytes = self._raw.readline(LINE_BYTES + 1)
        if len(line) > LINE_BYTES:
            raise UserError("The bundle holds a row that is too long.", f"At most {LINE_BYTES:,} bytes are read.")
        return self._seen(line)

    def read(self) -> bytes:
        return self._seen(self._raw.read(self._most + 1))

    def drain(self) -> None:
        while block := self._raw.read(_BLOCK):
            self._seen(block)


@contextmanager
def reading(path: Path, most: int, name: str = "") -> Iterator[Reader]:
    """The bundle at ``path``.

    Args:
        most: the largest sum of unpacked sizes, in bytes.
        name: what a person calls the file.

    Raises:
        UserError: it is no bundle, damaged, of another version, too large, or holds what a bundle does not.
    """
    shown = name or path.name
    try:
        with path.open("rb") as file:
            _check_directory(file, shown)
            with zipfile.ZipFile(file) as archive:
                yield Reader(archive, shown, most)
    except _DAMAGED as error:
        raise UserError(
            f"{shown} is not a bundle, or is damaged.", f"{type(error).__name__}: {str(error)[:200]}",
            "Copy it again from where it came. A bundle is made with: lacuna bundle RUN",
        ) from error  # fmt: skip


def _check_directory(file: BinaryIO, name: str) -> None:
    """Refuses a ZIP whose list of members is absurdly long, before it is read into memory."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - (1 << 16) - 42))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise UserError(f"{name} is not a bundle.", "It is no ZIP file.", "Make one with: lacuna bundle RUN")
    size = struct.unpack_from("<I", tail, at + 12)[0]
    if size == 0xFFFFFFFF and tail[at - 20 : at - 16] == b"PK\x06\x07":
        file.seek(struct.unpack_from("<Q", tail, at - 12)[0])
        size = struct.unpack_from("<Q", file.read(56), 40)[0]
    file.seek(0)
    if size > CONTENTS_BYTES:
        raise UserError(f"{name} is not a bundle.", f"Its list of files alone has {size:,} bytes.")


def _members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Member to its entry; only names that a bundle has, each once, none encrypted or packed in another way."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        known = info.filename == CONTENTS or _TABLE.fullmatch(info.filename) or _ARTEFACT.fullmatch(info.filename)
        plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not info.flag_bits & 1
        if not known or not plain or info.filename in found:
            raise UserError(
                f"{name} is not a bundle.", f"It holds {info.filename[:120]!r}, which a bundle does not.",
                "Make one with: lacuna bundle RUN",
            )  # fmt: skip
        found[info.filename] = info
    return found
