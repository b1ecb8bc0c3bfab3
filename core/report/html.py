"""HTML of a document that opens anywhere: strings are escaped always, nothing is loaded, nothing runs."""

from __future__ import annotations

import base64
import hashlib
import html
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STYLE = """
:root { color-scheme: light dark; --ink: #1c2630; --dim: #56626e; --line: #d5dbe1; --ground: #fff; --soft: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf2; --dim: #a5b1bd; --line: #3a4550; --ground: #12181e; --soft: #1b232b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 60rem; color: var(--ink); background: var(--ground);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; } p { margin: .4rem 0; }
.lead { font-size: 1.15rem; } .dim { color: var(--dim); font-size: .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
td:first-child { min-width: 9rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .dim { fill: var(--dim); } svg .whisker { stroke: var(--ink); stroke-width: 1.5; }
article { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem; margin: .8rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .4rem .6rem; margin: .2rem 0;
  border-radius: .3rem; font: .85rem/1.45 ui-monospace, monospace; }
ul { margin: .3rem 0; padding-left: 1.2rem; } li { margin: .15rem 0; }
.warn { border-left: 4px solid #b3541e; padding-left: .7rem; }
@media print {
  :root { --ink: #000; --dim: #444; --line: #bbb; --ground: #fff; --soft: #f6f6f6; }
  body { padding: 0; max-width: none; font-size: 10.5pt; }
  article, tr, svg { break-inside: avoid; } h2, h3 { break-after: avoid; }
  svg, pre { print-color-adjust: exact; }
}
"""


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already."""

    text: str


Part = str | Html


def seen(text: str) -> str:
    """``text`` with what a reader cannot see written out: controls, directions, halves of characters."""
    return "".join(
        f"⟨U+{ord(c):04X}⟩" if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
        for c in text
    )


def clipped(text: str, most: int) -> str:
    """The beginning of ``text``, and how much is left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def _text(part: Part) -> str:
    return part.text if isinstance(part, Html) else html.escape(seen(part))


def tag(name: str, *parts: Part, **attributes: str) -> Html:
    """An element; ``class_`` and ``aria_label`` stand for ``class`` and ``aria-label``."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(seen(value))}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{listed}>{''.join(_text(p) for p in parts)}</{name}>")


def join(parts: Iterable[Part]) -> Html:
    return Html("".join(_text(p) for p in parts))


def table(head: Sequence[str], rows: Iterable[Sequence[Part]], numbers: Iterable[int] = ()) -> Html:
    """A table; ``numbers``: places of columns that hold numbers."""
    right = set(numbers)

    def cell(name: str, i: int, part: Part) -> Html:
        extra = {"class_": "n"} if i in right else {}
        return tag(name, part, **extra, **({"scope": "col"} if name == "th" else {}))

    top = [tag("thead", tag("tr", *(cell("th", i, h) for i, h in enumerate(head))))] if any(head) else []
    body = tag("tbody", *(tag("tr", *(cell("td", i, p) for i, p in enumerate(row))) for row in rows))
    return tag("table", *top, body)


def document(title: str, parts: Iterable[Part]) -> bytes:
    """The whole file. Its policy lets nothing load and nothing run; the style is named by its hash."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
        '<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(seen(title))}</title><style>{STYLE}</style></head>"
    )
    return f"{head}<body>{join(parts).text}</body></html>\n".encode("utf-8", "replace")
