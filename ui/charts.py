"""Plotly figures. Status colours are fixed, readable on light and dark, told apart by pattern and label as well.

Names come from outside and Plotly reads a little HTML in labels, so every text goes through ``plain``.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from core.services import causes as service
from core.services.views import Breakdown, CheckpointView, Histogram, Share
from core.types import Look
from ui import markup, selecting

cause_look = service.look
STATUS: Mapping[str, Look] = {
    "learned": Look("#2F77AD", "✓", "", "Learned"),
    "partly": Look("#B8860B", "◐", "/", "Partly"),
    "unlearned": Look("#C54B37", "✗", "x", "Unlearned"),
    "unknown": Look("#8793A0", "?", ".", "Unknown"),
}
_ROW = 26
# Lines of intervals: seen on a light and on a dark ground.
LINE = "#6B7885"
# Values of a column drawn as bars; the table has them all.
MOST = 12
# Plotly's own settings: over the bars only the button that saves a picture, while the pointer is there.
CONFIG: dict[str, Any] = {
    "displayModeBar": "hover",
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
    "scrollZoom": False,
}


def picture(first: object, *names: object) -> dict[str, str]:
    """How the button in a chart's corner saves it: as SVG, under a name that says what it shows of which run."""
    head = f"run {first}" if isinstance(first, int) else str(first)
    words = re.findall(r"[a-z0-9]+", " ".join([head, *map(str, names)]).lower())
    return {"format": "svg", "filename": "-".join(["lacuna", *words])}


# One line above the figure.
LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
# A legend whose entries hide nothing.
STILL = {"itemclick": False, "itemdoubleclick": False}
PERCENT = {"tickvals": [0, 0.5, 1], "ticktext": ["0%", "50%", "100%"]}
_BARE = {"showgrid": False, "zeroline": False}


def plain(value: object, limit: int = 26) -> str:
    """A text for a label: one short line without markup."""
    return html.escape(markup.line(str(value), limit), quote=False)


def name_of(value: str | None) -> str:
    """A category's value as a label."""
    return "not given" if value is None else value if value != "" else "(empty)"


def label_of(look: Look) -> str:
    """Mark and label, as legends and headings show them."""
    return f"{look.mark} {look.label}"


def status_name(status: str | None) -> str | None:
    """A status as people read it, mark first; None where there is none."""
    look = STATUS.get(str(status))
    return status if look is None else label_of(look)


def cause_name(cause: str | None) -> str:
    """A cause as people read it, mark first; empty where none was judged."""
    return "" if cause is None else label_of(cause_look(cause))


def marker(colour: Any, pattern: Any) -> dict[str, Any]:
    """A bar's fill, or a list of each for the bars of one trace."""
    colours = [colour] if isinstance(colour, str) else list(colour)
    # The hatch is as pale as the ink is dark, so that a number on it stays readable.
    hatches = ["rgba(0,0,0,0.38)" if Look(c, "").ink == "#FFFFFF" else "rgba(255,255,255,0.45)" for c in colours]
    fore = hatches[0] if isinstance(colour, str) else hatches
    hatch = {"shape": pattern, "fillmode": "overlay", "fgcolor": fore, "size": 7, "solidity": 0.22}
    return {"color": colour, "pattern": hatch, "line": {"width": 0}}


def figure(height: int, x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> go.Figure:
    """A figure without traces: two axes that cannot be zoomed unless they say so, a legend above where one is given."""
    top = {"l": 8, "r": 8, "t": 34} if "legend" in more else {"l": 8, "r": 18, "t": 8}
    base: dict[str, Any] = {
        "barmode": "stack",
        "height": height,
        "margin": top | {"b": 8},
        "showlegend": "legend" in more,
        "bargap": 0.28,
        "uniformtext": {"mode": "hide", "minsize": 11},
        "hoverlabel": {"align": "left"},
        "dragmode": False,
    }
    return go.Figure(layout=base | more | {"xaxis": {"fixedrange": True, **x}, "yaxis": {"fixedrange": True, **y}})


def ticks(labels: Sequence[str], **more: Any) -> dict[str, Any]:
    """An axis that names the places 0, 1, … in turn."""
    return {"tickvals": list(range(len(labels))), "ticktext": list(labels)} | more


def interval(shares: Iterable[tuple[float, float, float]], **more: Any) -> dict[str, Any]:
    """Error bars from (share, low, high)."""
    triples = list(shares)
    above, below = [high - share for share, _, high in triples], [share - low for share, low, _ in triples]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below} | more


def add_points(
    drawn: go.Figure, x: Sequence[float], y: Sequence[float], sids: Sequence[str], at: Sequence[int], hover: str,
    name: str, **more: Any,
) -> None:  # fmt: skip
    """Some of a map's samples as one trace, drawn by WebGL; points carry ``[place in sids, id]``."""
    if not at:
        return
    drawn.add_scattergl(
        x=[x[i] for i in at], y=[y[i] for i in at], mode="markers", name=name,
        customdata=[[i, plain(sids[i], 40)] for i in at],
        hovertemplate=f"%{{customdata[1]}}{hover}<extra>{name}</extra>", **more,
    )  # fmt: skip


def add_shares(drawn: go.Figure, rows: Sequence[Mapping[str, int]], labels: Sequence[str], upright: bool) -> None:
    """A bar for each of ``rows``, cut into the shares of the statuses; each part carries ``[row, status]``."""
    totals = [sum(row.values()) for row in rows]
    for name, look in STATUS.items():
        counts = [int(row.get(name, 0)) for row in rows]
        if not any(counts):
            continue
        shares, places = [k / n if n else 0 for k, n in zip(counts, totals, strict=True)], list(range(len(rows)))
        drawn.add_bar(
            x=places if upright else shares,
            y=shares if upright else places,
            orientation="v" if upright else "h",
            name=look.label,
            marker=marker(look.colour, look.pattern),
            customdata=[[i, name, *rest] for i, rest in enumerate(zip(counts, totals, labels, strict=True))],
            hovertemplate=f"%{{customdata[4]}}<br>{look.label}: %{{customdata[2]:,}} of %{{customdata[3]:,}} "
            f"(%{{{'y' if upright else 'x'}:.1%}})<extra></extra>",
            **({} if upright else _inside([f"{k:,}" if k else "" for k in counts], look) | {"textangle": 0}),
        )


def _inside(texts: Sequence[str], look: Look) -> dict[str, Any]:
    font = {"color": look.ink}
    return {"text": texts, "textposition": "inside", "insidetextanchor": "middle", "textfont": font}


def status_bar(status: Mapping[str, Share]) -> go.Figure:
    """One bar for the whole run. Clicking a part carries ``[0, status]``."""
    whole = [0, max((s.n for s in status.values()), default=1)]
    hidden = {"visible": False}
    drawn = figure(50, hidden | {"range": whole}, hidden, bargap=0, margin={"l": 0, "r": 0, "t": 4, "b": 4})
    for name, look in STATUS.items():
        share = status.get(name)
        if share is not None and share.k:
            drawn.add_bar(
                x=[share.k],
                y=[0],
                orientation="h",
                name=look.label,
                marker=marker(look.colour, look.pattern),
                customdata=[[0, name]],
                hovertemplate=f"{look.label}: %{{x:,}} of {share.n:,}<extra></extra>",
                **_inside([f"{look.label} {share.share:.0%}"], look),
            )
    return drawn


def causes(shares: Mapping[str, Share]) -> go.Figure:
    """One bar a cause with its 95% interval, the largest first. A click carries ``[row, cause]``."""
    pairs = sorted(shares.items(), key=lambda pair: -pair[1].k)
    looks = [cause_look(name) for name, _ in pairs]
    labels = [f"{look.mark} {plain(look.label, 30)}  ({s.k:,})" for look, (_, s) in zip(looks, pairs, strict=True)]
    top = max((s.high for _, s in pairs), default=1.0)
    drawn = figure(
        (_ROW + 6) * max(len(pairs), 1) + 40,
        {"range": [0, min(1.0, top * 1.05) or 1.0], "tickformat": ".0%"},
        ticks(labels, range=[len(pairs) - 0.4, -0.5]),
        bargap=0.42,
    )
    drawn.add_bar(
        x=[s.share for _, s in pairs],
        y=list(range(len(pairs))),
        orientation="h",
        marker=marker([look.colour for look in looks], [look.pattern for look in looks]),
        customdata=[[i, name, s.k, s.n] for i, (name, s) in enumerate(pairs)],
        hovertemplate="%{customdata[2]:,} of %{customdata[3]:,} (%{x:.1%})<extra></extra>",
    )
    # Below its bar, where it is seen on both grounds and hides none of the bar.
    drawn.add_scatter(
        x=[s.share for _, s in pairs],
        y=[i + 0.4 for i in range(len(pairs))],
        mode="markers",
        marker={"size": 5, "color": LINE},
        error_x=interval(((s.share, s.low, s.high) for _, s in pairs), thickness=2, width=3, color=LINE),
        hoverinfo="skip",
    )
    return drawn


def breakdown(values: Breakdown) -> go.Figure:
    """Stacked bars of shares by the values of one column; counts in the hover. A click carries ``[row, status]``."""
    labels = [plain(name_of(value), 20) for value, _ in values.rows]
    totals = [f"{label}  ({sum(counts.values()):,})" for label, (_, counts) in zip(labels, values.rows, strict=True)]
    height = _ROW * max(len(labels), 1) + 40
    drawn = figure(height, {"range": [0, 1.001]} | PERCENT, ticks(totals, autorange="reversed"))
    add_shares(drawn, [counts for _, counts in values.rows], labels, upright=False)
    return drawn


def histogram(spread: Histogram, label: str) -> go.Figure:
    """Counts per bin, stacked by status; a range can be drawn over it. A last bin for everything above is so marked."""
    edges = selecting.drawn_edges(spread.edges)
    bins = list(itertools.pairwise(edges))
    drawn = figure(
        260, {"title": plain(label, 60)}, {"title": "samples"}, bargap=0.04, dragmode="select", selectdirection="h",
        legend=LEGEND | STILL | {"x": 1, "xanchor": "right"},
    )  # fmt: skip
    for name, look in STATUS.items():
        counts = spread.counts.get(name, ())
        if any(counts):
            drawn.add_bar(
                x=[(low + high) / 2 for low, high in bins],
                y=list(counts),
                width=[high - low for low, high in bins],
                name=look.label,
                marker=marker(look.colour, look.pattern),
                customdata=[f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(spread.edges)],
                hovertemplate=f"%{{customdata}}<br>{look.label}: %{{y:,}}<extra></extra>",
            )
    if selecting.overflow(spread.edges):
        drawn.add_annotation(
            x=edges[-1], y=0, yref="paper", xanchor="right", yanchor="top", showarrow=False, text=f"≥ {edges[-2]:.3g}"
        )
    return drawn


def confusion(counts: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> go.Figure:
    """Rows true causes, columns named ones; the shade is the share of the row, the number the count."""
    # The rows say what the marks mean; six words do not fit beside each other.
    marks = ticks([cause_look(c).mark for c in columns], side="top", tickangle=0, tickfont={"size": 15})
    names = ticks([cause_name(r) for r in counts], autorange="reversed")
    totals = [sum(row.values()) for row in counts.values()]
    return squares(300, [[row.get(c, 0) for c in columns] for row in counts.values()], totals, marks, names)


def squares(
    height: int, counts: Sequence[Sequence[int]], totals: Sequence[int], x: Mapping[str, Any], y: Mapping[str, Any]
) -> go.Figure:
    """A square for each count, the darker the larger its share of the row; numbers legible in light and dark."""
    shares = [[n / max(1, total) for n in row] for row, total in zip(counts, totals, strict=True)]
    down, across = range(len(shares)), range(len(shares[0]) if shares else 0)
    drawn = figure(height, {**_BARE, **x}, {**_BARE, **y})
    drawn.add_heatmap(
        z=shares, text=[[f"{n:,}" for n in row] for row in counts], zmin=0, zmax=1, xgap=2, ygap=2,
        showscale=False, x=list(across), y=list(down), colorscale=[[0, "#EEF4F9"], [1, "#7FB3DE"]],
        texttemplate="%{text}", textfont={"color": "#1C2630"},
        hovertemplate="%{text} samples, %{z:.0%} of the row<extra></extra>",
    )  # fmt: skip
    return drawn


def calibration(bins: Sequence[Mapping[str, float]]) -> go.Figure:
    """Share right against stated confidence, the dot's area by the count; the diagonal is perfect."""
    drawn = figure(
        330, {"title": "stated confidence", "range": [0, 1.03]}, {"title": "share right", "range": [0, 1.05]}
    )
    diagonal = {"dash": "dot", "color": STATUS["unknown"].colour}
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, hoverinfo="skip")
    largest = max((b["n"] for b in bins), default=1)
    drawn.add_scatter(
        x=[b["confidence"] for b in bins], y=[b["right"] for b in bins], mode="lines+markers",
        marker={"size": [8 + 16 * (b["n"] / largest) ** 0.5 for b in bins], "color": STATUS["learned"].colour},
        line={"color": STATUS["learned"].colour, "width": 1.5}, customdata=[b["n"] for b in bins],
        hovertemplate="confidence %{x:.2f}, right %{y:.2f}, %{customdata:,} samples<extra></extra>",
    )  # fmt: skip
    return drawn


def trajectory(checkpoints: Sequence[CheckpointView]) -> go.Figure:
    """Mean loss of one sample from checkpoint to checkpoint."""
    measured = [c for c in checkpoints if c.nll is not None]
    labels = [plain(c.label.rsplit("/", 1)[-1], 18) for c in measured]
    drawn = figure(190, ticks(labels, automargin=True), {"title": "mean loss", "rangemode": "tozero"})
    drawn.add_scatter(
        x=list(range(len(measured))),
        y=[c.nll for c in measured],
        mode="lines+markers",
        line={"color": STATUS["learned"].colour, "width": 2},
        marker={"size": 8, "symbol": ["circle" if c.greedy_exact else "circle-open" for c in measured]},
        customdata=labels,
        hovertemplate="%{customdata}<br>mean loss %{y:.3f}<extra></extra>",
    )
    return drawn


def arms(rows: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, float] | None]]]]) -> go.Figure:
    """Shares of a proof's arms as points with their 95% intervals, one line an arm.

    Args:
        rows: (arm, [(what was asked, share as ``{k, n, share, low, high}`` or None), ...]), the first one filled.
    """
    marks = [0, 0.25, 0.5, 0.75, 1]
    drawn = figure(
        46 * len(rows) + 66,
        {"range": [-0.02, 1.02], "tickvals": marks, "ticktext": [f"{t:.0%}" for t in marks]},
        ticks([plain(name, 34) for name, _ in rows], range=[len(rows) - 0.5, -0.5], zeroline=False),
        legend=LEGEND,
    )
    for at, (colour, symbol, offset) in enumerate((("#2F77AD", "circle", -0.13), ("#B8860B", "diamond-open", 0.13))):
        shares = [(place, *arm[at]) for place, (_, arm) in enumerate(rows) if at < len(arm)]
        measured = [(place, label, v) for place, label, v in shares if v is not None]
        if not measured:
            continue
        values, label = [v for _, _, v in measured], measured[0][1]
        drawn.add_scatter(
            x=[v["share"] for v in values],
            y=[place + offset for place, _, _ in measured],
            mode="markers",
            name=label,
            marker={"color": colour, "symbol": symbol, "size": 12, "line": {"width": 2, "color": colour}},
            error_x=interval(((v["share"], v["low"], v["high"]) for v in values), thickness=2, width=5, color=colour),
            customdata=[[v["k"], v["n"], v["low"], v["high"]] for v in values],
            hovertemplate=label + ": %{customdata[0]:,} of %{customdata[1]:,} (%{x:.0%}; "
            "%{customdata[2]:.0%} to %{customdata[3]:.0%})<extra></extra>",
        )
    return drawn
