"""How much is learned, as four tiles: what the eye meets first on the overview."""

from __future__ import annotations

from collections.abc import Mapping

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


def _tile(name: str, share: Share) -> Node:
    look = charts.STATUS[name]
    swatch = f"background:{_PATTERNS[look.pattern]};background-color:{look.colour}"
    samples = counted(share.k, "sample")
    return node(
        "div",
        node("div", class_="lac-swatch", style=swatch),
        node(
            "div",
            node("div", f"{look.mark} {look.label}", class_="lac-name"),
            node("div", f"{share.share:.1%}", class_="lac-big"),
            node(
                "div",
                f"{samples}, {100 * share.low:.1f} to {100 * share.high:.1f} %",
                class_="lac-small",
                title="The range is a 95 % Wilson interval for the share.",
            ),
            class_="lac-cell",
        ),
        class_="lac-tile",
    )


def status(found: Mapping[str, Share]) -> None:
    """Share, count and interval of each status, with the colour and pattern it has in every chart."""
    markup.draw(node("div", *(_tile(name, found[name]) for name in charts.STATUS), class_="lac-tiles"), STYLE)
