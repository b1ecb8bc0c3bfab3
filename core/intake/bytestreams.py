"""A file as UTF-8 bytes: gzip is unpacked within limits, a byte order mark removed, UTF-16 and UTF-32 rewritten.

Memory holds one chunk and one line of up to ``ROW_BYTES``, however large the file is.
"""

from __future__ import annotations

import codecs
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import UserError
from core.settings import settings

CHUNK = 1 << 20
# The largest row of any container. A longer one is rejected and harms no other row.
ROW_BYTES = 256 << 20
# Bytes of a rejected row that are kept to be shown.
KEPT_BYTES = 2000
# Deflate packs at most 1032:1. Rows of text stay below about 350:1, even one short row repeated for ever: a match of
# 258 bytes at a distance above 32 costs at least six bits. Only runs of a few bytes reach 500:1.
GZIP_RATIO = 500
GZIP_FREE_BYTES = 64 << 20
# Compressed bytes that are fed at once. A damaged block costs the output of one such piece.
_PACKED = 16 << 10
_GZIP = b"\x1f\x8b"

# UTF-32 comes first, because its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class CutShort(Exception):
    """The bytes end too early. What came before is good."""


@dataclass(frozen=True, slots=True)
class File:
    """A file, and the name a person knows it by: the path of an upload tells them nothing."""

    path: Path
    name: str


@dataclass(slots=True)
class Line:
    """One line without its newline. A line above ``ROW_BYTES`` is ``too_long`` and keeps its first ``KEPT_BYTES``."""

    number: int
    data: bytes
    ended: bool
    too_long: bool = False


def over_limit() -> str:
    """The message for a row above ``ROW_BYTES``."""
    return f"the row is longer than {ROW_BYTES:,} bytes, the limit for one row"


def open_file(file: File) -> BinaryIO:
    """The file, opened for reading.

    Raises:
        UserError: it is missing, a folder, or not readable.
    """
    try:
        return file.path.open("rb")
    except IsADirectoryError as error:
        raise UserError(f"{file.name} is a folder.", "A dataset is one file or several.", "Name the files.") from error
    except FileNotFoundError as error:
        raise UserError(f"There is no file {file.name}.", "", "Check the path.") from error
    except OSError as error:
        raise UserError(f"{file.name} cannot be read.", f"{error.strerror}.", "Check its permissions.") from error


def unpacked(file: File) -> Iterator[bytes]:
    """The file's bytes in chunks. Gzip is unpacked, also with several members.

    Raises:
        CutShort: the gzip stream is damaged or ends early; everything before that point has been yielded.
        UserError: the file cannot be opened, or unpacks to more than the limits.
    """
    with open_file(file) as stream:
        first = stream.read(2)
        stream.seek(0)
        if first == _GZIP:
            yield from _gunzip(stream, file.name)
        else:
            while chunk := stream.read(CHUNK):
                yield chunk


def _gunzip(stream: BinaryIO, name: str) -> Iterator[bytes]:
    packed = size = 0
    member, started, rest = zlib.decompressobj(wbits=31), False, b""
    while True:
        data = rest
        if not data:
            data = stream.read(_PACKED)
            packed += len(data)
        if not data and not started:
            return
        try:
            out = member.decompress(data, CHUNK)
        except zlib.error as error:
            raise CutShort(f"the gzip stream is damaged after {size:,} unpacked bytes ({error})") from error
        started, size = True, size + len(out)
        check_bomb(name, packed, size)
        if out:
            yield out
        if member.eof:
            # Gzip pads with zero bytes. Anything else must be the next member.
            rest = member.unused_data.lstrip(b"\0")
            member, started = zlib.decompressobj(wbits=31), bool(rest)
        elif not data and not out:
            raise CutShort(f"the gzip stream ends early, after {size:,} unpacked bytes")
        else:
            rest = member.unconsumed_tail


def check_bomb(name: str, packed: int, size: int, kind: str = "gzip bomb") -> None:
    """Raises UserError if ``packed`` bytes of a file have become more than the limits allow."""
    limit = settings().max_unpacked_bytes
    if size > limit:
        raise UserError(
            f"{name} unpacks to more than {limit:,} bytes.",
            "That is the limit for unpacked data.",
            "Split the file, or raise LACUNA_MAX_UNPACKED_GB.",
        )
    if size > GZIP_FREE_BYTES and size > GZIP_RATIO * packed:
        raise bomb(name, packed, f"{size:,} bytes", kind)


def bomb(name: str, packed: int, became: str, kind: str = "gzip bomb") -> UserError:
    """The error for a file that becomes far more than any text does."""
    return UserError(
        f"{name} unpacks to more than {GZIP_RATIO} times its size.",
        f"{packed:,} packed bytes have become {became}, which no text does: it looks like a {kind}.",
        "If it is a real dataset, write its rows as plain JSONL.",
    )


class ByteStream:
    """One file as UTF-8 bytes.

    Attributes:
        magic: the first unpacked bytes, unchanged.
        notes: what was done to the bytes; complete once the first chunk has come.
        broken: why the bytes end too early, or empty; known at the end.
    """

    def __init__(self, file: File) -> None:
        self.file = file
        self.magic = b""
        self.notes: tuple[str, ...] = ()
        self.broken = ""

    def chunks(self) -> Iterator[bytes]:
        """UTF-8 bytes in order. Invalid UTF-8 passes unchanged, and its row is rejected later."""
        source = self._sound(unpacked(self.file))
        start = b""
        for chunk in source:
            start += chunk
            if len(start) >= 4096:
                break
        self.magic = start[:512]
        encoding, mark = _encoding(start)
        source = itertools.chain((start[mark:],), source)
        if encoding == "utf-8":
            yield from source
            return
        self.notes = (f"text rewritten from {encoding.upper()} to UTF-8",)
        # With surrogatepass half a surrogate pair becomes invalid UTF-8 and spoils only its own row.
        decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        for chunk in self._sound(source):
            try:
                yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                self.broken = f"the text is not {encoding.upper()} ({error.reason})"
                return
        if decoder.getstate()[0]:
            self.broken = self.broken or f"the file ends in the middle of a {encoding.upper()} character"

    def _sound(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except CutShort as cut:
            self.broken = str(cut)

    def head(self, size: int = CHUNK) -> tuple[bytes, bool]:
        """At least the first ``size`` bytes in UTF-8, and whether they are the whole file."""
        data = bytearray()
        for chunk in self.chunks():
            data += chunk
            if len(data) > size:
                return bytes(data), False
        return bytes(data), True

    def lines(self) -> Iterator[Line]:
        """The lines, split at newlines only. A carriage return stays in its line."""
        pending: list[bytes] = []
        size, number = 0, 1
        for chunk in self.chunks():
            pieces = chunk.split(b"\n")
            for piece in pieces[:-1]:
                yield _line(number, pending, size, piece, ended=True)
                pending, size, number = [], 0, number + 1
            size += len(pieces[-1])
            if size <= ROW_BYTES or not pending:
                pending.append(pieces[-1])
            else:
                pending = [b"".join(pending)[:KEPT_BYTES]]
        if size:
            yield _line(number, pending, size, b"", ended=False)


def _line(number: int, pending: list[bytes], size: int, piece: bytes, *, ended: bool) -> Line:
    too_long = size + len(piece) > ROW_BYTES
    data = b"".join([*pending, piece]) if pending else piece
    return Line(number, data[:KEPT_BYTES] if too_long else data, ended, too_long)


def _encoding(start: bytes) -> tuple[str, int]:
    """The encoding, from the byte order mark or the zeros of UTF-16, and the length of the mark."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    sample = start[:4096]
    if len(sample) >= 4:
        even, odd = sample[::2], sample[1::2]
        zeros = even.count(0) / len(even), odd.count(0) / len(odd)
        if zeros[1] > 0.4 and zeros[0] < 0.05:
            return "utf-16-le", 0
        if zeros[0] > 0.4 and zeros[1] < 0.05:
            return "utf-16-be", 0
    return "utf-8", 0
