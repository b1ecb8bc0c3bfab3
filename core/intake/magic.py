"""What a file is by its first bytes, whatever its name."""

from __future__ import annotations

import re
from collections.abc import Container

# Kind, pattern of the first bytes, and what a person calls it. The mark of tar stands at byte 257.
# A CSV file whose header begins with PARENT is not Parquet.
_KINDS: tuple[tuple[str, bytes, str], ...] = (
    ("zip", rb"PK\x03\x04|PK\x05\x06", "a zip archive (an Excel file is one, too)"),
    ("tar", rb".{257}ustar", "a tar archive"),
    ("gzip", rb"\x1f\x8b", "gzip data"),
    ("zstd", rb"\x28\xb5\x2f\xfd", "a zstd file"),
    ("bzip2", rb"BZh[1-9]1AY", "a bzip2 file"),
    ("xz", rb"\xfd7zXZ", "an xz file"),
    ("7z", rb"7z\xbc\xaf", "a 7z archive"),
    ("rar", rb"Rar!", "a RAR archive"),
    ("pickle", rb"\x80[\x02-\x05]", "a Python pickle, which is never opened"),
    ("arrow", rb"ARROW1|FEA1", "an Arrow or Feather file"),
    ("parquet", rb"PAR1(?![ -~]{4})", "a Parquet file"),
    ("encrypted parquet", rb"PARE(?![ -~]{4})", "an encrypted Parquet file"),
    ("numpy", rb"\x93NUMPY", "a NumPy array"),
    ("sqlite", rb"SQLite format 3", "a SQLite database"),
    ("hdf5", rb"\x89HDF", "an HDF5 file"),
    ("gguf", rb"GGUF", "a GGUF model"),
    ("safetensors", rb".{3}\x00{5}\{", "safetensors weights"),
    ("png", rb"\x89PNG", "a PNG image"),
    ("jpeg", rb"\xff\xd8\xff", "a JPEG image"),
    ("pdf", rb"%PDF", "a PDF"),
    ("rtf", rb"\{\\rtf", "an RTF document"),
    ("lfs", rb"version https://git-lfs", "a Git LFS pointer, not the file itself (git lfs pull fetches it)"),
    ("web page", rb"\s*<(?:!|\?|(?i:html|svg))", "a web page or XML"),
)


def file_kind(head: bytes, but: Container[str] = ()) -> tuple[str, str] | None:
    """The kind of a file that begins with ``head``, and what a person calls it; None if it is not recognised.

    Args:
        but: kinds to leave out.
    """
    for kind, pattern, name in _KINDS:
        if kind not in but and re.match(pattern, head, re.DOTALL):
            return kind, name
    return None
