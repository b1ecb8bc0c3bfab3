"""What a file is by its first bytes: an archive that can be opened here, or what it looks like instead."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from typing import IO, Literal

from core.errors import UserError
from core.intake.bytestreams import File
from core.intake.magic import file_kind

PICKLED = (
    "This is a file of pickled PyTorch weights, not an archive of a checkpoint folder.",
    "Pickles can run code when they are opened, so they never are.",
    "Convert with save_pretrained(safe_serialization=True) and archive the whole folder.",
)
_ACCEPTED = "Accepted are zip, tar and tar.gz."


def archive_kind(file: File) -> Literal["zip", "tar", "tar.gz"]:
    """Which kind of archive this is, whatever its name.

    Raises:
        UserError: it is none of these; says what the file looks like and what to do with it.
    """
    try:
        with file.path.open("rb") as stream:
            head = stream.read(1024)
            if head.startswith(b"\x1f\x8b"):
                stream.seek(0)
                if not _is_tar(_gunzipped_head(stream, file)):
                    raise _refused(file, "gzip data with no tar inside")
                return "tar.gz"
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"There is no archive {file.name!r}.", "A file is needed.", _ACCEPTED) from error
    kind = file_kind(head, but=("tar",))
    if kind is not None and kind[0] == "zip":
        return "zip"
    if _is_tar(head):
        return "tar"
    raise _other(file, head, kind)


def _other(file: File, head: bytes, kind: tuple[str, str] | None) -> UserError:
    if kind is None:
        return _refused(file, _looks_like(head))
    if kind[0] == "pickle":
        return UserError(*PICKLED)
    if kind[0] == "gguf":
        return UserError(
            f"{file.name} is a GGUF file.",
            "GGUF holds weights converted for llama.cpp; learning is measured on the checkpoint that was trained.",
            "Archive the Hugging Face folder (config.json, safetensors, tokenizer) that it was made from.",
        )
    if kind[0] == "safetensors":
        return UserError(
            f"{file.name} is a bare safetensors file.",
            "Weights alone are not enough. config.json and the tokenizer files are needed too.",
            "Archive the whole checkpoint folder as zip or tar.gz.",
        )
    return _refused(file, kind[1])


def _looks_like(head: bytes) -> str:
    first = head.lstrip()[:1]
    if not head:
        return "an empty file"
    if first == b"<":
        return "a web page"
    if first in (b"{", b"["):
        return "JSON"
    return f"something that begins with the bytes {head[:8].hex(' ')}"


def _refused(file: File, looks_like: str) -> UserError:
    return UserError(f"{file.name} is not an archive that is opened here.", f"It is {looks_like}.", _ACCEPTED)


def _gunzipped_head(stream: IO[bytes], file: File) -> bytes:
    try:
        return gzip.GzipFile(fileobj=stream).read(1024)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{file.name} is damaged or cut short.", f"{error}.", "Make and upload it again.") from error


def _is_tar(head: bytes) -> bool:
    block = head[: tarfile.BLOCKSIZE]
    if len(block) == tarfile.BLOCKSIZE and not any(block):
        return True  # a tar of nothing
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
