"""Figures of the routes page. Right and wrong have the colours and patterns of learned and unlearned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ui import charts

RIGHT, WRONG = charts.STATUS["learned"], charts.STATUS["unlearned"]
_GREY = "#8793A0"
_EGRM = "#C0791B"
# Symbol of each policy in the plane of cost and accuracy.
_SYMBOLS = {"direct_1": "circle-open", "direct_m": "circle", "path_1": "square-open", "path_vote": "square",
            "path_k": "diamond", "oracle": "star"}  # fmt: skip


_LEGEND = charts.LEGEND | charts.STILL
# A share lies between 0 and 100 %, and so does its axis; marks at its ends are drawn whole (``cliponaxis``).
_RIGHT_SHARE = {"title": "right", "tickformat": ".0%", "range": [0, 1]}
_MARGIN = {"l": 8, "r": 14, "t": 74, "b": 8}
# Line of each signal that could route.
_LINES = {
    "consensus": (_EGRM, "solid"), "entropy": ("#2F77AD", "dash"), "words": ("#3E9B6E", "dot"),
    "likelihood": ("#7A5FA8", "dashdot"), "margin": ("#B55C8F", "longdash"), "mix": ("#1C7C7C", "solid"),
}  # fmt: skip


def levels(found: Sequence[Any], wanted: int, m: int) -> go.Figure:
    """Items at each consensus level, right above wrong, with the line from which on items take the short route."""
    places = [level.votes for level in found]
    figure = charts.figure(
        300, {"title": f"direct answers that agree, of {m}", "tickvals": places, "range": [-0.6, m + 0.6]},
        {"title": "items", "range": [0, 1.15 * max(level.n for level in found)]}, legend=_LEGEND, bargap=0.25,
    )  # fmt: skip
    for look, name, counts in (
        (RIGHT, "consensus is right", [level.right for level in found]),
        (WRONG, "consensus is wrong", [level.n - level.right for level in found]),
    ):
        figure.add_bar(
            x=places, y=counts, name=name, marker=charts.marker(look.colour, look.pattern),
            text=[f"{c:,}" if c else "" for c in counts], textposition="inside", textangle=0, constraintext="none",
            textfont={"color": look.ink},
            hovertemplate=f"%{{x}} of {m} agree<br>{name}: %{{y:,}}<extra></extra>",
        )  # fmt: skip
    total = sum(level.n for level in found)
    if total and found[0].chance is not None:
        figure.add_scatter(
            x=places, y=[level.chance * total for level in found], mode="markers", name="if all guessed",
            marker={"symbol": "line-ew", "size": 26, "line": {"width": 2, "color": _GREY}},
            hovertemplate=f"%{{x}} of {m} agree<br>if all guessed: %{{y:.1f}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=wanted - 0.5, line={"dash": "dash", "width": 2, "color": _GREY})
    side = "short →" if wanted <= m else "none short"
    figure.add_annotation(x=min(wanted - 0.5, m + 0.5), y=1, yref="paper", text=side, showarrow=False,
                          xanchor="left" if wanted < m else "right", yanchor="top")  # fmt: skip
    return figure


def curve(points: Sequence[Any], policies: Sequence[Any], wanted: int) -> go.Figure:
    """Accuracy against generated tokens: E-GRM at each τ, a router at random of the same share, the fixed policies."""
    figure = charts.figure(
        380,
        {"title": "generated tokens per item, direct answers counted", "rangemode": "tozero"},
        _RIGHT_SHARE,
        legend=_LEGEND,
        margin=_MARGIN,
    )
    shares = [f"τ: {p.wanted} of {len(points) - 1}, {p.short:.0%} short" if p.wanted < len(points) else "never short"
              for p in points]  # fmt: skip
    figure.add_scatter(
        x=[p.tokens for p in points], y=[p.random for p in points], mode="lines+markers", name="random router",
        line={"color": _GREY, "dash": "dot", "width": 2}, marker={"size": 6}, customdata=shares,
        hovertemplate="random router, %{customdata}<br>%{y:.1%} right, %{x:.1f} tokens<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[p.tokens for p in points], y=[p.accuracy for p in points], mode="lines+markers", name="E-GRM over τ",
        line={"color": _EGRM, "width": 2},
        marker={"size": [13 if p.wanted == wanted else 7 for p in points],
                "line": {"width": [2 if p.wanted == wanted else 0 for p in points], "color": "#1C2630"}},
        customdata=shares, hovertemplate="E-GRM, %{customdata}<br>%{y:.1%} right, %{x:.1f} tokens<extra></extra>",
    )  # fmt: skip
    for policy in policies:
        if policy.name in _SYMBOLS and not math.isnan(policy.accuracy.value):
            figure.add_scatter(
                x=[policy.tokens], y=[policy.accuracy.value], mode="markers", name=policy.label,
                marker={"symbol": _SYMBOLS[policy.name], "size": 11, "color": RIGHT.colour, "line": {"width": 2}},
                hovertemplate=f"{policy.label}<br>%{{y:.1%}} right, %{{x:.1f}} tokens<extra></extra>",
            )  # fmt: skip
    return figure.update_traces(cliponaxis=False)


def routers(found: Sequence[Any], policies: Sequence[Any], tokens: bool) -> go.Figure:
    """Accuracy of every signal as a router against the share of items that reason, or against generated tokens."""
    x_axis: dict[str, Any] = {"title": "generated tokens per item, direct answers counted", "rangemode": "tozero"}
    if not tokens:
        x_axis = {"title": "items sent to reasoning", "tickformat": ".0%", "range": [0, 1]}
    figure = charts.figure(420, x_axis, _RIGHT_SHARE, legend=_LEGEND, margin=_MARGIN | {"t": 96})
    unit = "%{x:.1f} tokens" if tokens else "%{x:.0%} reason"
    for router in found:
        colour, dash = _LINES[router.name]
        figure.add_scatter(
            x=router.tokens if tokens else router.shares, y=router.accuracy, mode="lines", name=router.label,
            line={"color": colour, "dash": dash, "width": 3 if router.name == "consensus" else 2},
            hovertemplate=f"{router.label}<br>%{{y:.1%}} right, {unit}<extra></extra>",
        )  # fmt: skip
    if found:  # at random: the straight line between the ends, which all signals share
        one = found[0]
        figure.add_scatter(
            x=[(one.tokens if tokens else one.shares)[i] for i in (0, -1)], y=[one.accuracy[i] for i in (0, -1)],
            mode="lines", name="random router", line={"color": _GREY, "dash": "dot", "width": 2},
            hovertemplate=f"random router<br>%{{y:.1%}} right, {unit}<extra></extra>",
        )  # fmt: skip
    symbols = _SYMBOLS | {"egrm": "x"}
    for policy in policies:
        if policy.name in ("direct_m", "path_vote", "path_k", "egrm", "oracle"):
            figure.add_scatter(
                x=[policy.tokens if tokens else policy.long], y=[policy.accuracy.value], mode="markers",
                name=policy.label,
                marker={"symbol": symbols[policy.name], "size": 12, "line": {"width": 2},
                        "color": _EGRM if policy.name == "egrm" else RIGHT.colour},
                hovertemplate=f"{policy.label}<br>%{{y:.1%}} right, {unit}<extra></extra>",
            )  # fmt: skip
    return figure.update_traces(cliponaxis=False)


def scores(histogram: Sequence[Sequence[int]]) -> go.Figure:
    """How a scorer's scores of right and wrong paths spread over ten bins."""
    figure = charts.figure(220, {"title": "score", "range": [0, 1]}, {"title": "paths"}, legend=_LEGEND, bargap=0.06)
    for look, name, at in ((RIGHT, "right paths", 1), (WRONG, "wrong paths", 0)):
        figure.add_bar(
            x=[i / 10 + 0.05 for i in range(10)], y=[cell[at] for cell in histogram], name=name,
            marker=charts.marker(look.colour, look.pattern),
            hovertemplate=f"score %{{x:.2f}}<br>{name}: %{{y:,}}<extra></extra>",
        )  # fmt: skip
    return figure
