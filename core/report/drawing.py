"""Charts as SVG inside the document: bars with intervals, and a histogram in layers. No script, no font, no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.report.html import Html, clipped, seen, tag

WIDTH = 720
_LABEL, _ROW, _VALUE = 230, 26, 130


@dataclass(frozen=True, slots=True)
class Bar:
    """A share in [0, 1] with its interval, and the words beside it."""

    label: str
    colour: str
    share: float
    low: float
    high: float
    words: str


def bars(items: Sequence[Bar], title: str) -> Html:
    """Horizontal bars on a scale from 0 to 1, each with its interval."""
    width, height = WIDTH - _LABEL - _VALUE, _ROW * len(items) + 4

    def x(share: float) -> str:
        return f"{_LABEL + width * min(max(share, 0.0), 1.0):.1f}"

    parts: list[Html] = [tag("title", title)]
    for i, item in enumerate(items):
        top, middle = i * _ROW + 4, i * _ROW + 4 + (_ROW - 8) / 2
        long = max(width * min(max(item.share, 0.0), 1.0), 0.5)
        name = clipped(seen(item.label).replace("\n", " "), 34)
        parts += [
            tag("text", name, x=str(_LABEL - 8), y=f"{middle + 4.5:.1f}", text_anchor="end"),
            tag("rect", x=str(_LABEL), y=str(top), width=f"{long:.1f}", height=str(_ROW - 8), fill=item.colour),
            tag("line", x1=x(item.low), x2=x(item.high), y1=f"{middle:.1f}", y2=f"{middle:.1f}", class_="whisker"),
            tag("text", item.words, x=str(WIDTH - _VALUE + 8), y=f"{middle + 4.5:.1f}"),
        ]
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)


def histogram(
    edges: Sequence[float], counts: Mapping[str, Sequence[int]], looks: Mapping[str, tuple[str, str]], title: str
) -> Html:
    """Stacked bars over bins, with a legend. ``looks``: layer to (label, colour), in the order to stack."""
    height, left, base = 180, 50, 160
    totals = [sum(counts[name][i] for name in looks if name in counts) for i in range(len(edges) - 1)]
    most, step = max([*totals, 1]), (WIDTH - left - 10) / max(1, len(totals))
    parts: list[Html] = [tag("title", title)]
    for i in range(len(totals)):
        y = float(base)
        for name, (_, colour) in looks.items():
            if n := counts.get(name, [0] * len(totals))[i]:
                tall = n / most * (base - 24)
                y -= tall
                parts.append(
                    tag("rect", x=f"{left + i * step:.1f}", y=f"{y:.1f}", width=f"{max(step - 1, 0.5):.1f}",
                        height=f"{tall:.1f}", fill=colour)
                )  # fmt: skip
    parts += [
        tag("text", f"{edges[0]:.2f}", x=str(left), y=str(base + 16), class_="dim"),
        tag("text", f"{edges[-1]:.2f}", x=str(WIDTH - 10), y=str(base + 16), class_="dim", text_anchor="end"),
        tag("text", f"{most:,}", x=str(left - 6), y="32", class_="dim", text_anchor="end"),
        tag("text", "0", x=str(left - 6), y=str(base), class_="dim", text_anchor="end"),
    ]
    at = left
    for label, colour in looks.values():
        parts += [
            tag("rect", x=str(at), y="2", width="12", height="12", fill=colour),
            tag("text", label, x=str(at + 17), y="13"),
        ]
        at += 110
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)
