"""Text of unknown origin as markup: the one place where strings become HTML or Markdown.

Row text, names, file names and errors are data. Here they are escaped, always, and characters that a reader cannot see
(terminal escapes, bidirectional controls, zero-width characters) become visible signs.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import NamedTuple

import streamlit as st

# Longest text drawn at once; what is left out is said, and the raw row stays whole in the export.
LIMIT = 20_000

_BIDI = {
    0x061C: "ALM",
    0x200E: "LRM",
    0x200F: "RLM",
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
    0x200B: "ZWSP",
    0x2060: "WJ",
    0xFEFF: "BOM",
    0x00AD: "SHY",
    0x2028: "LS",
    0x2029: "PS",
}
_SIGNS = {code: f"⟨{name}⟩" for code, name in _BIDI.items()}
_NAMED = {0x00: "NUL", 0x07: "BEL", 0x08: "BS", 0x0D: "CR", 0x1B: "ESC", 0x7F: "DEL"}
_CONTROLS = (*(c for c in range(0x20) if c not in (0x09, 0x0A)), *range(0x7F, 0xA0))
_SIGNS |= {code: f"⟨{_NAMED.get(code, f'{code:02X}')}⟩" for code in _CONTROLS}
# Halves of characters that stand alone: bytes of a file name that are no UTF-8 come as U+DC80 to U+DCFF (PEP 383). They
# cannot be sent to a browser.
_HALF = re.compile("[\ud800-\udfff]")
_HIDDEN = re.compile("[" + "".join(re.escape(chr(code)) for code in _SIGNS) + "]")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def visible(text: str) -> str:
    """``text`` with invisible and direction-changing characters written out; tab and line feed stay."""
    return _HALF.sub(_half, _HIDDEN.sub(lambda match: _SIGNS[ord(match[0])], text))


def _half(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"⟨{code - 0xDC00:02X}⟩" if 0xDC80 <= code <= 0xDCFF else f"⟨U+{code:04X}⟩"


def clip(text: str, limit: int = LIMIT) -> str:
    """``text``, or its beginning and how many characters are left out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def line(text: str, limit: int = 80) -> str:
    """``text`` as one short line of plain text, for options and captions."""
    flat = " ".join(visible(text[: limit * 4]).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def md(text: object) -> str:
    """``text`` for a Streamlit label or message: every mark that Markdown reads is escaped."""
    return _PUNCTUATION.sub(r"\\\1", visible(str(text))).replace("\n", " ")


class Node(NamedTuple):
    """An HTML element. Children that are strings are text and are escaped when rendered."""

    tag: str
    attributes: dict[str, str]
    children: tuple[Node | str, ...]


def node(tag: str, *children: Node | str, **attributes: str) -> Node:
    """An element; ``class_`` and ``aria_label`` stand for ``class`` and ``aria-label``."""
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    return Node(tag, {names[name]: value for name, value in attributes.items()}, children)


def render(part: Node | str) -> str:
    """HTML of ``part``. The only place that writes it: strings are made visible and escaped, attributes too."""
    if isinstance(part, str):
        return html.escape(visible(part))
    attributes = "".join(f' {k}="{html.escape(visible(v).replace(chr(10), "⏎"))}"' for k, v in part.attributes.items())
    return f"<{part.tag}{attributes}>{''.join(render(child) for child in part.children)}</{part.tag}>"


def draw(part: Node, style: str = "") -> None:
    """Put ``part`` on the page. ``style``: our own CSS for its classes, written in this program, never data."""
    # The style stands last: a leading <style> is stripped by the browser-side sanitiser.
    st.html(render(part) + (f"<style>{style}</style>" if style else ""))


def notes(texts: Iterable[object]) -> None:
    """Remarks, one a line."""
    for text in texts:
        st.caption(f":material/info: {md(text)}")
