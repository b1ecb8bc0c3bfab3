"""Plotly figures. Status colours are fixed, readable on light and dark, told apart by pattern and label as well.

Names come from outside and Plotly reads a little HTML in labels, so every text goes through ``_text``.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from core.services.causes import look as cause_look
from core.services.views import Breakdown, CheckpointView, Histogram, Share
from core.types import Look
from ui import markup, selecting

STATUS: Mapping[str, Look] = {
    "learned": Look("#3B82B8", "✓", "", "Learned"),
    "partly": Look("#E0A526", "◐", "/", "Partly"),
    "unlearned": Look("#C8503C", "✗", "x", "Unlearned"),
    "unknown": Look("#8793A0", "?", ".", "Unknown"),
}
_ROW = 26
# Values of a column drawn as bars; the table has them all.
MOST = 12
# Plotly's own settings: no tool bar over the bars.
CONFIG = {"displayModeBar": False, "scrollZoom": False}


def _text(value: object, limit: int = 26) -> str:
    return html.escape(markup.line(str(value), limit), quote=False)


def name_of(value: str | None) -> str:
    """A category's value as a label."""
    return "not given" if value is None else value if value != "" else "(empty)"


def cause_name(cause: str | None) -> str:
    """A cause as people read it, mark first; empty where none was judged."""
    if cause is None:
        return ""
    look = cause_look(cause)
    return f"{look.mark} {look.label}"


def _marker(status: str) -> dict[str, Any]:
    look = STATUS[status]
    pattern = {"shape": look.pattern, "fillmode": "overlay", "fgcolor": "rgba(0,0,0,0.38)", "size": 7, "solidity": 0.22}
    return {"color": look.colour, "pattern": pattern, "line": {"width": 0}}


def _layout(height: int, **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "barmode": "stack",
        "height": height,
        "margin": {"l": 8, "r": 18, "t": 8, "b": 8},
        "showlegend": False,
        "bargap": 0.28,
        "uniformtext": {"mode": "hide", "minsize": 11},
        "hoverlabel": {"align": "left"},
        "dragmode": False,
    }
    return base | more


# The same texts, marks and margins for figures that are drawn in other files.
plain, marker, layout = _text, _marker, _layout


def status_bar(status: Mapping[str, Share]) -> go.Figure:
    """One bar for the whole run. Clicking a part carries ``[0, status]``."""
    figure = go.Figure()
    for name, look in STATUS.items():
        share = status.get(name)
        if share is None or share.k == 0:
            continue
        figure.add_bar(
            x=[share.k],
            y=[0],
            orientation="h",
            name=look.label,
            marker=_marker(name),
            customdata=[[0, name]],
            text=[f"{look.label} {share.share:.0%}"],
            textposition="inside",
            insidetextanchor="middle",
            textfont={"color": look.ink},
            hovertemplate=f"{look.label}: %{{x:,}} of {share.n:,}<extra></extra>",
        )
    figure.update_layout(**_layout(50, bargap=0, margin={"l": 0, "r": 0, "t": 4, "b": 4}))
    figure.update_xaxes(visible=False, fixedrange=True, range=[0, max((s.n for s in status.values()), default=1)])
    figure.update_yaxes(visible=False, fixedrange=True)
    return figure


def causes(found: Mapping[str, Share]) -> go.Figure:
    """One bar a cause with its 95 % interval, the largest first. A click carries ``[row, cause]``."""
    names = sorted(found, key=lambda name: -found[name].k)
    looks = [cause_look(name) for name in names]
    shares = [found[name] for name in names]
    figure = go.Figure(
        go.Bar(
            x=[s.share for s in shares],
            y=list(range(len(names))),
            orientation="h",
            marker={
                "color": [look.colour for look in looks],
                "pattern": {
                    "shape": [look.pattern for look in looks], "fillmode": "overlay", "fgcolor": "rgba(0,0,0,0.3)",
                    "size": 7, "solidity": 0.2,
                },
                "line": {"width": 0},
            },
            error_x={
                "type": "data", "symmetric": False, "thickness": 1, "width": 3,
                "array": [s.high - s.share for s in shares], "arrayminus": [s.share - s.low for s in shares],
            },
            customdata=[[i, name, s.k, s.n] for i, (name, s) in enumerate(zip(names, shares, strict=True))],
            hovertemplate="%{customdata[2]:,} of %{customdata[3]:,} (%{x:.1%})<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(**_layout(_ROW * max(len(names), 1) + 40))
    top = max((s.high for s in shares), default=1.0)
    figure.update_xaxes(range=[0, min(1.0, top * 1.05) or 1.0], tickformat=".0%", fixedrange=True)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[f"{look.mark} {_text(look.label, 30)}  ({s.k:,})" for look, s in zip(looks, shares, strict=True)],
        autorange="reversed",
        fixedrange=True,
    )
    return figure


def breakdown(found: Breakdown) -> go.Figure:
    """Stacked bars of shares by the values of one column; counts in the hover. A click carries ``[row, status]``."""
    figure = go.Figure()
    places = list(range(len(found.rows)))
    totals = [sum(counts.values()) for _, counts in found.rows]
    labels = [_text(name_of(value), 20) for value, _ in found.rows]
    for name, look in STATUS.items():
        counts = [int(row.get(name, 0)) for _, row in found.rows]
        if not any(counts):
            continue
        shares = [k / n if n else 0 for k, n in zip(counts, totals, strict=True)]
        figure.add_bar(
            x=shares,
            y=places,
            orientation="h",
            name=look.label,
            marker=_marker(name),
            customdata=[
                [place, name, k, n, label] for place, k, n, label in zip(places, counts, totals, labels, strict=True)
            ],
            text=[f"{k:,}" if k else "" for k in counts],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": look.ink},
            hovertemplate="%{customdata[4]}<br>"
            + look.label
            + ": %{customdata[2]:,} of %{customdata[3]:,} (%{x:.1%})<extra></extra>",
        )
    figure.update_layout(**_layout(_ROW * max(len(places), 1) + 40))
    figure.update_xaxes(range=[0, 1.001], tickvals=[0, 0.5, 1], ticktext=["0", "50 %", "100 %"], fixedrange=True)
    figure.update_yaxes(
        tickvals=places,
        ticktext=[f"{label}  ({n:,})" for label, n in zip(labels, totals, strict=True)],
        autorange="reversed",
        fixedrange=True,
    )
    return figure


def histogram(found: Histogram, label: str) -> go.Figure:
    """Counts per bin, stacked by status; a range can be drawn over it. A last bin for everything above is so marked."""
    figure = go.Figure()
    edges = selecting.drawn_edges(found.edges)
    bins = list(itertools.pairwise(edges))
    words = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(found.edges)]
    for name, look in STATUS.items():
        counts = found.counts.get(name)
        if not counts or not any(counts):
            continue
        figure.add_bar(
            x=[(low + high) / 2 for low, high in bins],
            y=list(counts),
            width=[high - low for low, high in bins],
            name=look.label,
            marker=_marker(name),
            customdata=words,
            hovertemplate=f"%{{customdata}}<br>{look.label}: %{{y:,}}<extra></extra>",
        )
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "itemclick": False}
    figure.update_layout(
        **_layout(260, bargap=0.04, dragmode="select", selectdirection="h", showlegend=True, legend=legend)
        | {"legend": legend | {"itemdoubleclick": False}, "margin": {"l": 8, "r": 8, "t": 30, "b": 8}}
    )
    figure.update_xaxes(title={"text": _text(label, 60)}, fixedrange=True)
    if selecting.overflow(found.edges):
        figure.add_annotation(
            x=edges[-1], y=0, yref="paper", xanchor="right", yanchor="top", showarrow=False, text=f"≥ {edges[-2]:.3g}"
        )
    figure.update_yaxes(title={"text": "samples"}, fixedrange=True)
    return figure


def confusion(counts: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> go.Figure:
    """Rows true causes, columns named ones; the shade is the share of the row, the number the count."""
    rows = list(counts)
    totals = [max(1, sum(counts[r].values())) for r in rows]
    shares = [[counts[r].get(c, 0) / n for c in columns] for r, n in zip(rows, totals, strict=True)]
    figure = squares(shares, [[counts[r].get(c, 0) for c in columns] for r in rows])
    looks = [cause_look(c) for c in columns]
    figure.update_layout(**_layout(300))
    # The rows say what the marks mean; six words do not fit beside each other.
    figure.update_xaxes(
        tickvals=list(range(len(columns))), ticktext=[look.mark for look in looks], side="top", tickangle=0,
        tickfont={"size": 15}, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[f"{cause_look(r).mark} {cause_look(r).label}" for r in rows],
        autorange="reversed", fixedrange=True,
    )  # fmt: skip
    return figure


def squares(shares: Sequence[Sequence[float]], counts: Sequence[Sequence[int]]) -> go.Figure:
    """A square for each count, the darker the larger its share of the row; numbers legible in light and dark."""
    down, across = range(len(shares)), range(len(shares[0]) if shares else 0)
    figure = go.Figure(
        go.Heatmap(
            z=shares, text=[[f"{n:,}" for n in row] for row in counts], zmin=0, zmax=1, xgap=2, ygap=2,
            showscale=False, x=list(across), y=list(down),
            colorscale=[[0, "rgba(59,130,184,0.06)"], [1, "#3B82B8"]],
            hovertemplate="%{text} samples, %{z:.0%} of the row<extra></extra>",
        )
    )  # fmt: skip
    # Plotly would take a faint square for a white one: numbers on it have the theme's colour instead.
    for full, font in ((False, None), (True, {"color": "#FFFFFF"})):
        cells = [(x, y) for y in down for x in across if (shares[y][x] > 0.55) is full]
        figure.add_scatter(
            x=[x for x, _ in cells], y=[y for _, y in cells], text=[f"{counts[y][x]:,}" for x, y in cells],
            mode="text", textfont=font, hoverinfo="skip",
        )  # fmt: skip
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False)
    return figure


def calibration(bins: Sequence[Mapping[str, float]]) -> go.Figure:
    """Share right against stated confidence, the dot's area by the count; the diagonal is perfect."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": STATUS["unknown"].colour}, hoverinfo="skip"
    )
    largest = max((b["n"] for b in bins), default=1)
    figure.add_scatter(
        x=[b["confidence"] for b in bins], y=[b["right"] for b in bins], mode="lines+markers",
        marker={"size": [8 + 16 * (b["n"] / largest) ** 0.5 for b in bins], "color": STATUS["learned"].colour},
        line={"color": STATUS["learned"].colour, "width": 1.5}, customdata=[b["n"] for b in bins],
        hovertemplate="confidence %{x:.2f}, right %{y:.2f}, %{customdata:,} samples<extra></extra>",
    )  # fmt: skip
    figure.update_layout(**_layout(330))
    figure.update_xaxes(title={"text": "stated confidence"}, range=[0, 1.03], fixedrange=True)
    figure.update_yaxes(title={"text": "share right"}, range=[0, 1.05], fixedrange=True)
    return figure


def trajectory(found: Sequence[CheckpointView]) -> go.Figure:
    """Mean loss of one sample from checkpoint to checkpoint."""
    known = [c for c in found if c.nll is not None]
    labels = [_text(c.label.rsplit("/", 1)[-1], 18) for c in known]
    figure = go.Figure(
        go.Scatter(
            x=list(range(len(known))),
            y=[c.nll for c in known],
            mode="lines+markers",
            line={"color": STATUS["learned"].colour, "width": 2},
            marker={"size": 8, "symbol": ["circle" if c.greedy_exact else "circle-open" for c in known]},
            customdata=labels,
            hovertemplate="%{customdata}<br>mean loss %{y:.3f}<extra></extra>",
        )
    )
    figure.update_layout(**_layout(190))
    figure.update_xaxes(tickvals=list(range(len(known))), ticktext=labels, automargin=True, fixedrange=True)
    figure.update_yaxes(title={"text": "mean loss"}, rangemode="tozero", fixedrange=True)
    return figure


def arms(rows: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, float] | None]]]]) -> go.Figure:
    """Shares of a proof's arms as points with their 95 % intervals, one line an arm.

    Args:
        rows: (arm, [(what was asked, share as ``{k, n, share, low, high}`` or None), ...]), the first one filled.
    """
    figure = go.Figure()
    looks = (("#3B82B8", "circle"), ("#E0A526", "diamond-open"))
    offsets = (-0.13, 0.13)
    for at, (colour, symbol) in enumerate(looks):
        found = [(place, name, shares[at]) for place, (name, shares) in enumerate(rows) if at < len(shares)]
        found = [f for f in found if f[2][1] is not None]
        if not found:
            continue
        label = found[0][2][0]
        values = [f[2][1] for f in found]
        figure.add_scatter(
            x=[v["share"] for v in values],
            y=[place + offsets[at] for place, _, _ in found],
            mode="markers",
            name=label,
            marker={"color": colour, "symbol": symbol, "size": 12, "line": {"width": 2, "color": colour}},
            error_x={
                "type": "data", "symmetric": False, "thickness": 2, "width": 5, "color": colour,
                "array": [v["high"] - v["share"] for v in values],
                "arrayminus": [v["share"] - v["low"] for v in values],
            },
            customdata=[[v["k"], v["n"], v["low"], v["high"]] for v in values],
            hovertemplate=label + ": %{customdata[0]:,} of %{customdata[1]:,} (%{x:.0%}; "
            "%{customdata[2]:.0%} to %{customdata[3]:.0%})<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        **_layout(
            46 * len(rows) + 66, showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
        )
    )
    ticks = [0, 0.25, 0.5, 0.75, 1]
    figure.update_xaxes(range=[-0.02, 1.02], tickvals=ticks, ticktext=[f"{t:.0%}" for t in ticks], fixedrange=True)
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[_text(name, 34) for name, _ in rows], range=[len(rows) - 0.5, -0.5],
        fixedrange=True, zeroline=False,
    )  # fmt: skip
    return figure
