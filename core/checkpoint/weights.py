"""Safetensors files: headers are read and checked without loading a tensor, values are streamed in constant memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError

# The header of a mixture of experts with 100,000 tensors needs about 15 MB.
MAX_HEADER = 32 << 20
# Bits of one element, from the table of the format.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
# The types that can be compared and searched for NaN, by their names in safetensors and in torch.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Tensor:
    """One stored tensor. ``start`` is the absolute offset of its bytes in ``file``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file by name, after checking that the file holds what its header promises.

    Raises:
        UserError: it is truncated, not safetensors, or has a header that contradicts itself or the file's size.
    """
    size = file.stat().st_size
    with file.open("rb") as handle:
        prefix = handle.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= MAX_HEADER:
            raise _invalid(file, f"Its first 8 bytes promise a header of {length:,} bytes; {MAX_HEADER:,} is the limit")
        if 8 + length > size:
            raise _invalid(file, f"Its header should be {length:,} bytes long, the file is {size:,}")
        try:
            header = json.loads(handle.read(length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _invalid(file, "Its header is not JSON") from error
    if not isinstance(header, dict):
        raise _invalid(file, "Its header is not a JSON object")
    tensors, spans = {}, []
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name], span = _tensor(file, name, entry, 8 + length)
            spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise _invalid(file, f"Its tensors leave a gap or overlap at byte {start:,}")
        end = stop
    if 8 + length + end != size:
        raise _invalid(file, f"Its tensors end at byte {8 + length + end:,}, the file is {size:,} bytes long")
    return tensors


def _tensor(file: Path, name: str, entry: Any, data: int) -> tuple[Tensor, tuple[int, int]]:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if any(type(n) is not int or n < 0 for n in (*shape, start, stop)):
            raise ValueError
        fits = math.prod(shape) * BITS[dtype] == 8 * (stop - start)
    except (TypeError, KeyError, ValueError) as error:
        raise _invalid(file, f"The header's entry {name[:80]!r} is malformed or of an unknown type") from error
    if not fits:
        raise _invalid(file, f"The header's entry {name[:80]!r} has {stop - start:,} bytes for {dtype} {shape}")
    return Tensor(name, dtype, tuple(shape), file, data + start), (start, stop)


def _invalid(file: Path, why: str) -> UserError:
    return UserError(
        f"{file.name} is not a whole safetensors file.",
        f"{why}.",
        "Copy it again from where it was saved; an upload or download was probably cut short.",
    )


# ----------------------------------------------------------------------------------------------------- values


def _chunks(tensor: Tensor) -> Iterator[Any]:
    """The tensor's values as flat torch tensors of at most ``CHUNK_ELEMENTS`` elements."""
    import torch

    width = BITS[tensor.dtype] // 8
    left = tensor.n_elements
    with tensor.file.open("rb") as handle:
        handle.seek(tensor.start)
        while left:
            size = min(left, CHUNK_ELEMENTS)
            block = bytearray(width * size)
            if handle.readinto(block) < width * size:
                raise _invalid(tensor.file, "It became shorter while it was read")
            left -= size
            yield torch.frombuffer(block, dtype=getattr(torch, FLOATS[tensor.dtype]))


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sets of weights side by side, tensors matched by name.

    Attributes:
        n_common: number of tensors in both.
        n_changed: number of those with a different value or shape.
        changed: their names.
        max_abs: largest absolute difference between values of tensors with equal shape.
        reshaped: names whose shapes differ.
        only_first, only_second: names without a partner.
        skipped: names of tensors that were not compared, because they are not floating point of 16, 32 or 64 bits.
    """

    n_common: int
    n_changed: int
    max_abs: float
    reshaped: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    skipped: tuple[str, ...]
    changed: tuple[str, ...] = ()


def compare(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Difference:
    """Streams both sets and compares them in the coarser of the two types.

    So a model saved in bfloat16 from the same float32 values counts as unchanged.
    """
    common = [name for name in first if name in second]
    reshaped = tuple(n for n in common if first[n].shape != second[n].shape)
    skipped = tuple(n for n in common if first[n].dtype not in FLOATS or second[n].dtype not in FLOATS)
    changed, largest = list(reshaped), 0.0
    for name in common:
        if name not in reshaped and name not in skipped:
            differs, most = _compare(first[name], second[name])
            changed += [name] if differs else []
            largest = max(largest, most)
    return Difference(
        n_common=len(common) - len(set(skipped) - set(reshaped)),
        n_changed=len(changed),
        max_abs=largest,
        reshaped=reshaped,
        only_first=tuple(sorted(set(first) - set(second))),
        only_second=tuple(sorted(set(second) - set(first))),
        skipped=skipped,
        changed=tuple(changed),
    )


def _compare(first: Tensor, second: Tensor) -> tuple[bool, float]:
    import torch

    coarse = getattr(torch, FLOATS[min(first.dtype, second.dtype, key=lambda d: (BITS[d], d))])
    differs, largest = False, 0.0
    for a, b in zip(_chunks(first), _chunks(second), strict=True):
        a, b = a.to(coarse), b.to(coarse)
        if not torch.equal(a.view(torch.uint8), b.view(torch.uint8)) and not torch.equal(a, b):
            differs = True
            largest = max(largest, (a.double() - b.double()).abs().nan_to_num(0.0).max().item())
    return differs, largest


def not_finite(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Names of floating-point tensors that contain NaN or infinity, with the number of such values."""
    counts = {}
    for name, tensor in tensors.items():
        if tensor.dtype in FLOATS:
            bad = sum(_n_not_finite(chunk) for chunk in _chunks(tensor))
            if bad:
                counts[name] = bad
    return counts


def _n_not_finite(chunk: Any) -> int:
    import torch

    # One NaN or infinity makes the sum NaN or infinity, and a sum is several times faster than a look at each value.
    if chunk.sum(dtype=torch.float64 if chunk.dtype == torch.float64 else torch.float32).isfinite():
        return 0
    return int((~chunk.isfinite()).sum())


def all_zero(tensor: Tensor) -> bool:
    """Whether every value is zero."""
    return all(not chunk.any() for chunk in _chunks(tensor))
