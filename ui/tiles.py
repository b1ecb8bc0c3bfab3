"""How much is learned, as tiles: what the eye meets first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core.services.views import Share
from core.text.counts import counted
from ui import charts, markup
from ui.markup import Node, node

_HATCH = "rgba(0,0,0,.34)"
_PATTERNS = {
    "": "none",
    "/": f"repeating-linear-gradient(135deg, {_HATCH} 0 1.5px, transparent 1.5px 6px)",
    "x": f"repeating-linear-gradient(45deg, {_HATCH} 0 1px, transparent 1px 6px), "
    f"repeating-linear-gradient(135deg, {_HATCH} 0 1px, transparent 1px 6px)",
    ".": f"radial-gradient({_HATCH} 1.1px, transparent 1.3px) 0 0 / 5px 5px",
}
STYLE = """
.lac-tiles {display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem}
.lac-tile {display: flex; border: 1px solid rgba(128,140,152,.35); border-radius: .3rem; overflow: hidden}
.lac-swatch {flex: none; width: .85rem}
.lac-cell {padding: .55rem .8rem .6rem}
.lac-name {font-size: .9rem; opacity: .85}
.lac-big {font-size: 1.85rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums}
.lac-small {font-size: .85rem; opacity: .75; font-variant-numeric: tabular-nums}
"""


def tile(name: str, value: str, small: Iterable[tuple[str, str]], style: str = "", swatch: Node | str = "") -> Node:
    """A tile: what is counted, its value, lines below it with what they mean, and its colour at the side."""
    lines = (node("div", text, class_="lac-small", title=title) for text, title in small)
    heads = node("div", name, class_="lac-name"), node("div", value, class_="lac-big")
    return node("div", swatch, node("div", *heads, *lines, class_="lac-cell"), class_="lac-tile", style=style)


def draw(tiles: Iterable[Node]) -> None:
    """The tiles beside each other."""
    markup.draw(node("div", *tiles, class_="lac-tiles"), STYLE)


def _status(name: str, share: Share) -> Node:
    look = charts.STATUS[name]
    colour = f"background:{_PATTERNS[look.pattern]};background-color:{look.colour}"
    small = f"{counted(share.k, 'sample')}, {100 * share.low:.1f} to {100 * share.high:.1f}%"
    interval = "The range is a 95% Wilson interval for the share."
    swatch = node("div", class_="lac-swatch", style=colour)
    return tile(charts.label_of(look), f"{share.share:.1%}", [(small, interval)], swatch=swatch)


def status(shares: Mapping[str, Share]) -> None:
    """Share, count and interval of each status, with the colour and pattern it has in every chart."""
    draw(_status(name, shares[name]) for name in charts.STATUS)
