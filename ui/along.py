"""Figures along checkpoints and training order. Colours of a status are those of ``ui.charts``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.services import causes, knowledge
from core.services.causes import look as cause_look
from core.services.clusters import MapPoints
from core.services.dynamics import OrderCount, Points, Stop, Track
from core.services.recordings import Point, Source
from ui import charts

_LEGEND = charts.LEGEND | {"title": "", "traceorder": "normal"}
# Signs of a status on a map, beside its colour.
_SYMBOLS = {"learned": "circle", "partly": "diamond", "unlearned": "x-thin", "unknown": "circle-open"}
# Shapes of a status where thousands of points lie on each other.
_SHAPES = {"learned": "circle", "partly": "diamond", "unlearned": "x", "unknown": "square"}
# One hue from none to all, pale enough for dark numbers.
_SCALE = [[0.0, "#E58F7D"], [0.5, "#E8D9A8"], [1.0, "#8FBDE3"]]
# An axis of a map can be zoomed.
_MAP = {"fixedrange": False}


def data_map(points: Points, labels: tuple[str, str]) -> go.Figure:
    """The rows as points; a click carries the row's place."""
    x, y = (_MAP | {"title": charts.plain(label, 60)} for label in labels)
    figure = charts.figure(430, x, y, legend=_LEGEND, dragmode="select")
    for name, look in charts.STATUS.items():
        marker = {"color": look.colour, "symbol": _SYMBOLS[name], "size": 6 if len(points.sids) > 2000 else 8}
        line = {"width": 1.4 if name == "unlearned" else 0, "color": look.colour}  # a thin x is all line
        at = [i for i, group in enumerate(points.groups) if group == name]
        charts.add_points(
            figure, points.x, points.y, points.sids, at, "<br>%{x:.3f}, %{y:.3f}", look.label,
            marker=marker | {"opacity": 0.75, "line": line},
        )  # fmt: skip
    return figure


def margins(points: knowledge.Points) -> go.Figure:
    """The base's own answer over the target before and after fine-tuning; a click carries the row's place."""
    figure = charts.figure(
        380,
        _MAP | {"title": "own answer over target, before fine-tuning (nats per token)", "zeroline": False},
        _MAP | {"title": "the same after fine-tuning", "zeroline": False},
        legend=charts.LEGEND,
    )
    for name, look in charts.STATUS.items():
        at = [int(i) for i in np.flatnonzero(np.asarray(points.status) == name)]
        charts.add_points(
            figure, list(points.before), list(points.after), points.sid, at, "<br>before %{x:.2f}, after %{y:.2f}",
            charts.label_of(look), marker={"color": look.colour, "symbol": _SHAPES[name], "size": 7,
                                           "opacity": 0.75},
        )  # fmt: skip
    line = {"color": "rgba(128,128,128,0.55)", "width": 1, "dash": "dot"}
    figure.add_hline(y=0, line=line)
    figure.add_vline(x=0, line=line)
    # The first one stands above the points, of which many lie in that corner.
    for text, y in (("↑ still prefers its own answer", 1.0), ("↓ now prefers the target", 0.01)):
        figure.add_annotation(
            x=0.995, y=y, xanchor="right", yanchor="bottom", text=text, showarrow=False, xref="paper", yref="paper"
        )
    return figure


# Signs of causes, in the order in which causes are listed; beyond the list they begin anew.
_SIGNS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
# How faint points outside a selection are.
_REST = {"marker": {"opacity": 0.12}}


def cluster_map(points: MapPoints) -> go.Figure:
    """Unlearned rows as points in the look of their cause, groups outlined and numbered; a click carries the place."""
    axis = _MAP | {"showticklabels": False, "showgrid": False, "zeroline": False}
    legend = {"x": 1.01, "xanchor": "left", "y": 1, "itemclick": "toggleothers"}
    figure = charts.figure(440, axis, axis, legend=legend, dragmode="lasso", margin={"l": 8, "r": 8, "t": 30, "b": 8})
    grey = charts.STATUS["unknown"].colour
    for number in sorted(set(points.groups) - {0}):
        corners = outline([(x, y) for x, y, g in zip(points.x, points.y, points.groups, strict=True) if g == number])
        figure.add_scatter(
            x=[x for x, _ in corners], y=[y for _, y in corners], mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": grey, "width": 1.5}, name=str(number),
        )  # fmt: skip
        x, y = max(corners, key=lambda corner: corner[1])
        figure.add_annotation(x=x, y=y, yshift=12, text=f"<b>{number}</b>", showarrow=False, font={"size": 14})
    listed = [c for c in causes.values() if c in points.causes]
    for place, cause in enumerate([*listed, None]):
        look = cause_look(cause) if cause is not None else None
        marker = {"color": look.colour if look else grey, "symbol": _SIGNS[place % len(_SIGNS)], "size": 8}
        at = [i for i, c in enumerate(points.causes) if c == cause]
        charts.add_points(
            figure, points.x, points.y, points.sids, at, "", charts.label_of(look) if look else "no cause judged",
            marker=marker | {"opacity": 0.85}, unselected=_REST,
        )  # fmt: skip
    return figure


def outline(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the convex hull, closed (Andrew's monotone chain); of fewer than three points the points."""
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return [*ordered, *ordered[:1]]

    def half(along: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        chain: list[tuple[float, float]] = []
        for x, y in along:
            while len(chain) > 1:
                (x1, y1), (x2, y2) = chain[-2:]
                if (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    corners = half(ordered) + half(reversed(ordered))
    return [*corners, corners[0]]


def stop_name(stop: Stop) -> str:
    """A checkpoint as an axis names it."""
    label = charts.plain(stop.label.rsplit("/", 1)[-1], 20)
    return label if stop.step is None or str(stop.step) in label else f"{label} ({stop.step:,})"


def _axis(stops: Sequence[Stop], **more: Any) -> dict[str, Any]:
    return charts.ticks([stop_name(s) for s in stops], automargin=True, **more)


def _shares(track: Track) -> list[float | None]:
    return [g / k if k else None for g, k in zip(track.given, track.known, strict=True)]


def events(stops: Sequence[Stop], track: Track) -> go.Figure:
    """Share reproduced at each checkpoint, and below it the samples that changed: gained up, lost down."""
    at = list(range(len(stops)))
    above = {"domain": [0.7, 1], "range": [0, 1.05], "fixedrange": True, "title": "reproduced"}
    figure = charts.figure(
        380, _axis(stops, anchor="y"), {"title": "samples that changed", "domain": [0, 0.6]}, barmode="relative",
        legend=_LEGEND, bargap=0.45, yaxis2=above | charts.PERCENT,
    )  # fmt: skip
    for label, values, name, sign in (
        ("Learned", track.gained, "learned", 1),
        ("Forgotten", track.lost, "unlearned", -1),
    ):
        look = charts.STATUS[name]
        figure.add_bar(
            x=at, y=[sign * v for v in values], name=label, marker=charts.marker(look.colour, look.pattern),
            customdata=values, hovertemplate=f"{label} since the previous checkpoint: %{{customdata:,}}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=at, y=_shares(track), yaxis="y2", mode="lines+markers", name="Share reproduced", marker={"size": 8},
        cliponaxis=False,
        line={"color": charts.STATUS["unknown"].colour, "width": 2},
        hovertemplate="%{y:.1%} of the samples are reproduced<extra></extra>",
    )  # fmt: skip
    return figure


def matrix(stops: Sequence[Stop], stages: Sequence[Track]) -> go.Figure:
    """Share of each stage's samples that each checkpoint reproduces."""
    names = [charts.plain(charts.name_of(s.name), 20) for s in stages]
    figure = charts.figure(
        70 + 34 * max(len(stages), 2),
        _axis(stops, side="top", showgrid=False),
        charts.ticks(names, autorange="reversed", automargin=True, showgrid=False),
    )
    shares = [_shares(s) for s in stages]
    figure.add_heatmap(
        z=shares, x=list(range(len(stops))), y=list(range(len(stages))), zmin=0, zmax=1, colorscale=_SCALE,
        text=[["" if v is None else f"{v:.0%}" for v in row] for row in shares], texttemplate="%{text}",
        textfont={"color": "#1C2630"}, xgap=2, ygap=2, showscale=False,
        customdata=[[[g, k] for g, k in zip(s.given, s.known, strict=True)] for s in stages],
        hovertemplate="%{customdata[0]:,} of %{customdata[1]:,} samples reproduced<extra></extra>",
    )  # fmt: skip
    return figure


def flow(status: Mapping[tuple[str, str], int]) -> go.Figure:
    """Samples by status before (down) and after (across); the diagonal is what did not change."""
    names = [n for n in charts.STATUS if any(n in pair for pair in status)]
    counts = [[status.get((a, b), 0) for b in names] for a in names]
    axis = charts.ticks([charts.label_of(charts.STATUS[n]) for n in names], automargin=True)
    across, down = axis | {"side": "top", "title": "after"}, axis | {"autorange": "reversed", "title": "before"}
    return charts.squares(90 + 38 * len(names), counts, [sum(row) for row in counts], across, down)


def order(parts: Sequence[OrderCount]) -> go.Figure:
    """Status by part of the training order, as shares. A click carries ``[part, status]``."""
    marks = range(0, len(parts), max(1, len(parts) // 10))
    axis = {"tickvals": list(marks), "ticktext": [f"{parts[i].low:,}" for i in marks]}
    figure = charts.figure(
        260, axis | {"title": "position in the training order"}, {"range": [0, 1.001], "tickformat": ".0%"},
        bargap=0.06, legend=_LEGEND,
    )  # fmt: skip
    charts.add_shares(figure, [p.status for p in parts], [f"rows {p.low:,} to {p.high:,}" for p in parts], upright=True)
    return figure


def loss(points: Sequence[tuple[int, float]], stops: Sequence[Stop]) -> go.Figure:
    """Training loss by step, with the measured checkpoints marked."""
    figure = charts.figure(220, {"title": "step"}, {"title": "training loss", "rangemode": "tozero"})
    figure.add_scatter(
        x=[s for s, _ in points], y=[v for _, v in points], mode="lines",
        line={"color": charts.STATUS["learned"].colour, "width": 1.6},
        hovertemplate="step %{x:,}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    for stop in stops:
        if stop.step and points and stop.step <= points[-1][0]:
            figure.add_vline(x=stop.step, line={"color": charts.STATUS["unknown"].colour, "width": 1, "dash": "dot"})
    return figure


def recorded(points: Sequence[Point]) -> go.Figure:
    """Mean and highest loss of the samples of each step; a click carries the step's place."""
    figure = charts.figure(260, {"title": "step"}, {"title": "loss (nats)", "rangemode": "tozero"}, legend=_LEGEND)
    steps, places = [p.step for p in points], [[i] for i in range(len(points))]
    sides = (("highest", [p.highest for p in points], "unlearned"), ("mean", [p.mean for p in points], "learned"))
    for name, values, look in sides:
        figure.add_scatter(
            x=steps, y=values, customdata=places, name=name, mode="lines+markers",
            line={"color": charts.STATUS[look].colour, "width": 1.4}, marker={"size": 5},
            hovertemplate=f"step %{{x:,}}: {name} %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    return figure


def sources(tracks: Sequence[Source]) -> go.Figure:
    """Mean loss of each source, epoch by epoch."""
    figure = charts.figure(260, {"title": "step"}, {"title": "loss (nats)", "rangemode": "tozero"}, legend=_LEGEND)
    for track in tracks:
        name = charts.plain(charts.name_of(track.name), 40)
        figure.add_scatter(
            x=[p.step for p in track.points], y=[p.mean for p in track.points], name=name, mode="lines+markers",
            text=[f"{p.label}, {p.rows:,} samples" for p in track.points],
            hovertemplate="%{text}: %{y:.3f}<extra>" + name + "</extra>",
        )  # fmt: skip
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
