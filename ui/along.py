"""Figures along checkpoints and training order. Colours of a status are those of ``ui.charts``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from core.services.clusters import MapPoints
from core.services.dynamics import OrderCount, Points, Stop, Track
from ui import charts

_LEGEND = {
    "orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "title": {"text": ""},
    "traceorder": "normal",
}  # fmt: skip
# Signs of a status on a map, beside its colour.
_SYMBOLS = {"learned": "circle", "partly": "diamond", "unlearned": "x-thin", "unknown": "circle-open"}
# One hue from none to all, readable on both grounds.
_SCALE = [[0.0, "#C8503C"], [0.5, "#E8D9A8"], [1.0, "#3B82B8"]]


def data_map(found: Points, labels: tuple[str, str]) -> go.Figure:
    """The rows as points, WebGL; each carries its id."""
    figure = go.Figure()
    for name, look in charts.STATUS.items():
        at = [i for i, group in enumerate(found.groups) if group == name]
        if not at:
            continue
        thin = _SYMBOLS[name] == "x-thin"
        figure.add_trace(
            go.Scattergl(
                x=[found.x[i] for i in at],
                y=[found.y[i] for i in at],
                mode="markers",
                name=look.label,
                marker={
                    "color": look.colour,
                    "symbol": _SYMBOLS[name],
                    "size": 6 if len(found.sids) > 2000 else 8,
                    "opacity": 0.75,
                    "line": {"width": 1.4 if thin else 0, "color": look.colour},
                },
                customdata=[[i, charts.plain(found.sids[i])] for i in at],
                hovertemplate="%{customdata[1]}<br>%{x:.3f}, %{y:.3f}<extra>" + look.label + "</extra>",
            )
        )
    figure.update_layout(**charts.layout(430, showlegend=True, legend=_LEGEND, dragmode="select", margin=_margin(40)))
    figure.update_xaxes(title={"text": charts.plain(labels[0], 60)})
    figure.update_yaxes(title={"text": charts.plain(labels[1], 60)})
    return figure


# Colours of groups, told apart by sign as well; groups beyond the list share both with an earlier one.
_COLOURS = ("#3B82B8", "#C8503C", "#3E9B6E", "#8E6BB5", "#E0A526", "#2FA4A0", "#B5598A", "#7A8B2F")
_SIGNS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


def cluster_map(found: MapPoints, titles: Mapping[int, str]) -> go.Figure:
    """Unlearned rows as points in the colour and sign of their group, WebGL."""
    figure = go.Figure()
    numbers = [n for n in sorted(set(found.groups)) if n]
    for number in ([0] if 0 in found.groups else []) + numbers:
        at = [i for i, g in enumerate(found.groups) if g == number]
        name = "in no group" if not number else f"{number}  {charts.plain(titles.get(number, ''), 34)}"
        colour = _COLOURS[(number - 1) % len(_COLOURS)] if number else charts.STATUS["unknown"].colour
        sign = _SIGNS[(number - 1) % len(_SIGNS)] if number else "circle-open"
        figure.add_trace(
            go.Scattergl(
                x=[found.x[i] for i in at],
                y=[found.y[i] for i in at],
                mode="markers",
                name=name,
                showlegend=number <= charts.MOST,
                marker={
                    "color": colour,
                    "symbol": sign,
                    "size": 8 if number else 5,
                    "opacity": 0.8 if number else 0.45,
                },
                customdata=[[i, charts.plain(found.sids[i])] for i in at],
                hovertemplate="%{customdata[1]}<extra>" + name + "</extra>",
            )
        )
    legend = {"x": 1.01, "xanchor": "left", "y": 1, "itemclick": "toggleothers"}
    figure.update_layout(**charts.layout(440, showlegend=True, legend=legend, dragmode="lasso", margin=_margin(30)))
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False)
    return figure


def _margin(top: int) -> dict[str, int]:
    return {"l": 8, "r": 8, "t": top, "b": 8}


def _axis(stops: Sequence[Stop]) -> dict[str, Any]:
    words = [stop_name(s) for s in stops]
    return {"tickvals": list(range(len(stops))), "ticktext": words, "fixedrange": True, "automargin": True}


def stop_name(stop: Stop) -> str:
    """A checkpoint as an axis names it."""
    label = charts.plain(stop.label.rsplit("/", 1)[-1], 20)
    return label if stop.step is None or str(stop.step) in label else f"{label} ({stop.step:,})"


def events(stops: Sequence[Stop], track: Track) -> go.Figure:
    """Samples that changed at each checkpoint, gained above and lost below; the share reproduced as a line."""
    figure = go.Figure()
    at = list(range(len(stops)))
    looks = charts.STATUS
    for label, values, name in (("Learned", track.gained, "learned"), ("Forgotten", track.lost, "unlearned")):
        sign = 1 if name == "learned" else -1
        figure.add_bar(
            x=at,
            y=[sign * v for v in values],
            name=label,
            marker=charts.marker(name),
            customdata=values,
            hovertemplate=f"{label} since the previous checkpoint: %{{customdata:,}}<extra></extra>",
        )
    shares = [g / k if k else None for g, k in zip(track.given, track.known, strict=True)]
    figure.add_scatter(
        x=at,
        y=shares,
        yaxis="y2",
        mode="lines+markers",
        name="Share reproduced",
        line={"color": looks["unknown"].colour, "width": 2},
        marker={"size": 8},
        hovertemplate="%{y:.1%} of the samples are reproduced<extra></extra>",
    )
    figure.update_layout(
        **charts.layout(
            300, barmode="relative", showlegend=True, legend=_LEGEND, margin=_margin(34), bargap=0.45,
            yaxis2={"overlaying": "y", "side": "right", "range": [0, 1.02], "tickvals": [0, 0.5, 1],
                    "ticktext": ["0", "50 %", "100 %"],
                    "tickmode": "array", "showgrid": False,
                    "fixedrange": True, "title": {"text": "share reproduced"}},
        )
    )  # fmt: skip
    figure.update_xaxes(**_axis(stops))
    figure.update_yaxes(title={"text": "samples that changed"}, fixedrange=True, selector={"anchor": "x"})
    return figure


def matrix(stops: Sequence[Stop], stages: Sequence[Track]) -> go.Figure:
    """Share of each stage's samples that each checkpoint reproduces."""
    shares = [[g / k if k else None for g, k in zip(s.given, s.known, strict=True)] for s in stages]
    words = [["" if v is None else f"{v:.0%}" for v in row] for row in shares]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(range(len(stops))),
            y=list(range(len(stages))),
            zmin=0,
            zmax=1,
            colorscale=_SCALE,
            text=words,
            texttemplate="%{text}",
            textfont={"color": "#1C2630"},
            xgap=2,
            ygap=2,
            showscale=False,
            customdata=[[[g, k] for g, k in zip(s.given, s.known, strict=True)] for s in stages],
            hovertemplate="%{customdata[0]:,} of %{customdata[1]:,} samples reproduced<extra></extra>",
        )
    )
    figure.update_layout(**charts.layout(70 + 34 * max(len(stages), 2)))
    figure.update_xaxes(**_axis(stops), side="top", showgrid=False)
    figure.update_yaxes(
        showgrid=False,
        tickvals=list(range(len(stages))),
        ticktext=[charts.plain(charts.name_of(s.name), 20) for s in stages],
        autorange="reversed",
        fixedrange=True,
        automargin=True,
    )
    return figure


def flow(status: Mapping[tuple[str, str], int]) -> go.Figure:
    """Samples by status before (down) and after (across); the diagonal is what did not change."""
    names = [n for n in charts.STATUS if any(n in pair for pair in status)]
    counts = [[status.get((a, b), 0) for b in names] for a in names]
    totals = [max(1, sum(row)) for row in counts]
    labels = [f"{charts.STATUS[n].mark} {charts.STATUS[n].label}" for n in names]
    figure = charts.squares([[n / total for n in row] for row, total in zip(counts, totals, strict=True)], counts)
    figure.update_layout(**charts.layout(90 + 38 * len(names)))
    ticks = {"tickvals": list(range(len(names))), "ticktext": labels, "fixedrange": True, "automargin": True}
    figure.update_xaxes(**ticks, side="top", title={"text": "after"})
    figure.update_yaxes(**ticks, autorange="reversed", title={"text": "before"})
    return figure


def order(found: Sequence[OrderCount]) -> go.Figure:
    """Status by part of the training order, as shares. A click carries ``[part, status]``."""
    figure = go.Figure()
    totals = [sum(part.status.values()) for part in found]
    for name, look in charts.STATUS.items():
        counts = [part.status.get(name, 0) for part in found]
        if not any(counts):
            continue
        figure.add_bar(
            x=list(range(len(found))),
            y=[k / n if n else 0 for k, n in zip(counts, totals, strict=True)],
            name=look.label,
            marker=charts.marker(name),
            customdata=[
                [i, name, k, n, f"rows {p.low:,} to {p.high:,}"]
                for i, (p, k, n) in enumerate(zip(found, counts, totals, strict=True))
            ],
            hovertemplate="%{customdata[4]}<br>" + look.label + ": %{customdata[2]:,} of %{customdata[3]:,} (%{y:.0%})"
            "<extra></extra>",
        )
    figure.update_layout(**charts.layout(260, bargap=0.06, showlegend=True, legend=_LEGEND, margin=_margin(34)))
    step = max(1, len(found) // 10)
    ticks = list(range(0, len(found), step))
    figure.update_xaxes(
        tickvals=ticks,
        ticktext=[f"{found[i].low:,}" for i in ticks],
        title={"text": "position in the training order"},
        fixedrange=True,
    )
    figure.update_yaxes(range=[0, 1.001], tickformat=".0%", fixedrange=True)
    return figure


def loss(points: Sequence[tuple[int, float]], stops: Sequence[Stop]) -> go.Figure:
    """Training loss by step, with the measured checkpoints marked."""
    figure = go.Figure(
        go.Scatter(
            x=[s for s, _ in points],
            y=[v for _, v in points],
            mode="lines",
            line={"color": charts.STATUS["learned"].colour, "width": 1.6},
            hovertemplate="step %{x:,}: %{y:.3f}<extra></extra>",
        )
    )
    for stop in stops:
        if stop.step and points and stop.step <= points[-1][0]:
            figure.add_vline(x=stop.step, line={"color": charts.STATUS["unknown"].colour, "width": 1, "dash": "dot"})
    figure.update_layout(**charts.layout(220))
    figure.update_xaxes(title={"text": "step"}, fixedrange=True)
    figure.update_yaxes(title={"text": "training loss"}, rangemode="tozero", fixedrange=True)
    return figure


def as_rows(stops: Sequence[Stop], track: Track) -> list[Mapping[str, Any]]:
    """The chart of events as a table."""
    return [
        {
            "checkpoint": charts.plain(stop.label, 60),
            "step": stop.step,
            "share of the training": stop.place,
            "samples measured": known,
            "reproduced": given,
            "newly learned": gained,
            "newly forgotten": lost,
        }
        for stop, known, given, gained, lost in zip(
            stops, track.known, track.given, track.gained, track.lost, strict=True
        )
    ]
