"""Strict reading of JSON, and the elements of a JSON list as slices of the file.

Slices are cut by brackets and strings alone, so a broken element is one broken slice and the next one is whole.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from core.intake import bytestreams
from core.intake.bytestreams import KEPT_BYTES

# ------------------------------------------------------------------------------------------------ one object


# Lists and objects inside each other. Whoever reads a row again may stand deeper in the stack than its first reader,
# and Python stops at a thousand calls.
MAX_DEPTH = 200


class _Refused(ValueError):
    """The reason, in plain words."""


class _Decoder:
    """A JSON decoder that refuses NaN, Infinity and overflowing numbers, and remembers duplicate keys."""

    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self.decode = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_float=self._float
        ).decode

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.duplicates += [key for key in value if counts[key] > 1]
        return value

    @staticmethod
    def _constant(name: str) -> float:
        raise _Refused(f"{name} is not JSON; write null or a text instead")

    @staticmethod
    def _float(text: str) -> float:
        value = float(text)
        if not isfinite(value):
            raise _Refused(f"the number {text[:40]} is too large for a 64-bit float; write it as text")
        return value


_OF_THREAD = threading.local()


def _decoder() -> _Decoder:
    """The thread's own decoder, without duplicates. Making one costs as much as decoding a short row."""
    decoder: _Decoder | None = getattr(_OF_THREAD, "decoder", None)
    if decoder is None:
        decoder = _OF_THREAD.decoder = _Decoder()
    decoder.duplicates = []
    return decoder


def decode_json(text: str) -> tuple[Any, tuple[str, ...]]:
    """The value of strict JSON text, and notes on duplicate keys at any depth, of which the last one counts.

    NaN and Infinity are refused. Integers of any size stay exact.

    Raises:
        ValueError: with the reason in plain words.
    """
    decoder = _decoder()
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")  # "Unterminated string starting at"
        raise ValueError(f"not valid JSON: {reason} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except _Refused:
        raise
    except ValueError as error:
        raise ValueError("a whole number has more than 4,300 digits") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if not decoder.duplicates:
        return value, ()
    notes = [f"duplicate key {key[:80]!r}: the last value counts" for key in decoder.duplicates]
    return value, tuple(dict.fromkeys(notes))


def depth(value: Any) -> int:
    """How many lists and objects lie inside each other."""
    level, levels = [value], 0
    while level := [inner for inner in level if isinstance(inner, dict | list)]:
        levels += 1
        level = [part for inner in level for part in (inner.values() if isinstance(inner, dict) else inner)]
    return levels


def decode_object(data: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """One JSON object and notes on it.

    Raises:
        ValueError: it is not UTF-8, not JSON, or not an object; says what and where.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte 0x{data[error.start]:02X} at position {error.start + 1}; save the file as UTF-8"
        ) from error
    value, notes = decode_json(text)
    if not isinstance(value, dict):
        turns = (
            isinstance(value, list)
            and value
            and all(isinstance(t, dict) and t.keys() & {"role", "from"} for t in value)
        )
        way = '; the row is a list of turns, wrap it as {"messages": [...]}' if turns else ""
        raise ValueError(f"{named_type(value)}, not a JSON object{way}")
    return value, notes


def named_type(value: Any) -> str:
    """The type of a JSON value, as a person would say it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = ((str, "text"), (int | float, "a number"), (list, "a list"), (dict, "an object"))
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def one_line(data: bytes) -> bytes:
    """Valid JSON without line breaks. Keys, order, numbers and escapes stay untouched.

    A line break inside a JSON string is an escape. So every raw line break is white space between tokens.
    """
    lines = [line.strip() for line in data.splitlines()]
    return b"".join(line + b" " if line.endswith(b",") else line for line in lines).rstrip()


# ------------------------------------------------------------------------------------------ elements of a list

# Keys that mark an object as a row, not as a wrapper of rows.
_ROW_KEYS = frozenset(
    b"messages conversations conversation instruction instances prompt completion chosen rejected tools functions "
    b"history text question query problem input output".split()
)
_TURN_KEYS = frozenset((b"role", b"from", b"content", b"value", b"type"))

_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*+)"|[\[\]{}]', re.DOTALL)
_KEY = re.compile(rb"\s*:\s*")
_LIST_OF_OBJECTS = re.compile(rb'\[\s*\{\s*(?:"([^"\\]*)"|\})')


def wrapped_list(head: bytes) -> tuple[str, int] | None:
    """The list of rows inside a top-level object, as in ``{"data": [{...}, ...]}``.

    Args:
        head: the first bytes of the file, beginning with ``{``.

    Returns:
        The key of the list and the offset behind its ``[``; None if the object is itself a row.
    """
    depth = 0
    for token in _TOKEN.finditer(head):
        sign = token[0][:1]
        if sign != b'"':
            depth += 1 if sign in b"[{" else -1
            if not depth:
                return None
        elif depth == 1 and (colon := _KEY.match(head, token.end())):
            if token[1] in _ROW_KEYS:
                return None
            match = _LIST_OF_OBJECTS.match(head, colon.end())
            if match and match[1] not in _TURN_KEYS:
                return token[1].decode("utf-8", "replace"), colon.end() + 1
    return None


@dataclass(frozen=True, slots=True)
class Element:
    """A slice of the file. ``fault``: why it cannot be an element; empty if it may be one."""

    line: int
    data: bytes
    fault: str = ""


_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SHALLOW = re.compile(rb'[^"\[\]{},]*+')
_DEEP = re.compile(rb'[^"\[\]{}]*+')


def _end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    """Where the match at ``start`` ends."""
    match = pattern.match(data, start)
    return start if match is None else match.end()


class _Slicer:
    """Cuts chunks of JSON text into elements. Memory holds one element of up to ``ROW_BYTES``.

    Args:
        line: 1-based number of the line that the first chunk begins in.
        listed: True inside a list, with commas between elements and ``]`` at its end; False for objects in a row.
    """

    def __init__(self, line: int, *, listed: bool) -> None:
        self.line, self.listed = line, listed
        self.parts: list[bytes] = []
        self.size = self.lines = 0
        self.open = bytearray()
        self.in_string = self.closed = False

    def feed(self, chunk: bytes) -> Iterator[Element]:
        """The elements that end in ``chunk``. After the end of the list ``parts`` holds what follows it."""
        start = pos = 0
        while pos < len(chunk) and not self.closed:
            if self.in_string:
                pos = _end(_STRING, chunk, pos)
                if pos < len(chunk):
                    self.in_string = False
                    pos += 1
                continue
            pos = _end(_DEEP if self.open else _SHALLOW, chunk, pos)
            if pos == len(chunk):
                break
            ends, pos = self._step(chunk[pos : pos + 1]), pos + 1
            if ends:
                self._keep(chunk[start : pos - (ends == "before")])
                start = pos
                if element := self.take():
                    yield element
        self._keep(chunk[start:])

    def _step(self, sign: bytes) -> str:
        """Moves over one sign. Returns ``before`` or ``behind`` if an element ends there, else an empty text."""
        if sign == b'"':
            self.in_string = True
        elif sign in b"[{":
            self.open += sign
        elif sign == b",":
            return "" if self.open else "before"
        elif not self.open:
            self.closed = self.listed and sign == b"]"
            return "before" if self.closed else ""
        else:
            # A bracket without its partner belongs to a broken element, which must not swallow the next one. If it was
            # never opened, it is skipped. If it was never closed, it is closed together with its surroundings.
            partner = self.open.rfind(b"[" if sign == b"]" else b"{")
            if partner >= 0:
                del self.open[partner:]
            if not self.open and not self.listed:
                return "behind"
        return ""

    def _keep(self, piece: bytes) -> None:
        self.lines += piece.count(b"\n")
        self.size += len(piece)
        self.parts.append(piece)
        if self.size > bytestreams.ROW_BYTES:
            self.parts = [b"".join(self.parts)[:KEPT_BYTES]]

    def take(self) -> Element | None:
        """The element collected so far; None if there is only white space."""
        data = b"".join(self.parts)
        stripped = data.lstrip()
        line = self.line + data.count(b"\n", 0, len(data) - len(stripped))
        fault = bytestreams.over_limit() if self.size > bytestreams.ROW_BYTES else ""
        self.line += self.lines
        self.parts, self.size, self.lines = [], 0, 0
        return Element(line, stripped.rstrip(), fault) if stripped else None


def elements(chunks: Iterator[bytes]) -> Iterator[Element]:
    """The elements of the rows in a JSON file: a top-level list, a list wrapped in an object, or objects in a row.

    A list that is not closed, or text behind its end, becomes one more element with a fault.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) > bytestreams.CHUNK:
            break
    offset = len(head) - len(head.lstrip())
    wrapped = wrapped_list(head[offset:]) if head.startswith(b"{", offset) else None
    listed = bool(wrapped) or head.startswith(b"[", offset)
    if listed:
        offset += wrapped[1] if wrapped else 1
    slicer = _Slicer(1 + head.count(b"\n", 0, offset), listed=listed)
    stream = itertools.chain((head[offset:],), chunks)
    carry = b""
    for chunk in stream:
        chunk = carry + chunk
        # A chunk must not end between a backslash and what it escapes.
        carry = b"\\" if _odd_backslashes(chunk) else b""
        yield from slicer.feed(chunk[: len(chunk) - len(carry)])
        if slicer.closed:
            break
    yield from _ending(slicer, stream, wrapped[0] if wrapped else "")


def _odd_backslashes(chunk: bytes) -> bool:
    return (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 == 1


def _ending(slicer: _Slicer, stream: Iterator[bytes], key: str) -> Iterator[Element]:
    """The last element, and a fault if the list is not closed or text follows it."""
    if not slicer.closed:
        last = slicer.take()
        if last:
            yield last
        if slicer.listed and (last is None or _is_whole(last)):
            yield Element(slicer.line, b"", "the list is not closed, the file ends before its ]")
        return
    behind = b"".join(slicer.parts)
    for chunk in stream:
        if len(behind) > bytestreams.CHUNK:
            break
        behind += chunk
    rest = behind.strip()
    if key:
        other = wrapped_list(b"{" + rest.lstrip(b","))
        if other:
            yield Element(slicer.line, rest, f"only the list {key!r} is read; there is another one, {other[0]!r}")
    elif rest:
        yield Element(slicer.line, rest, "there is text behind the end of the list; it is not read")


def _is_whole(element: Element) -> bool:
    try:
        decode_object(element.data)
    except ValueError:
        return False
    return True
