"""The base's own answer against the target, before and after fine-tuning, as a cloud of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from core.services.knowledge import Points
from ui import charts, markup

# Shapes tell the statuses apart without colour.
_SYMBOLS = {"learned": "circle", "partly": "diamond", "unlearned": "x", "unknown": "square"}
BEFORE, AFTER = "before (nats per token)", "after (nats per token)"


def figure(found: Points) -> go.Figure:
    """One point a row, drawn by WebGL; a click carries the row's id."""
    drawn = go.Figure()
    for name, look in charts.STATUS.items():
        here = [i for i, s in enumerate(found.status) if s == name]
        if not here:
            continue
        drawn.add_scattergl(
            x=found.before[here],
            y=found.after[here],
            mode="markers",
            name=f"{look.mark} {look.label}",
            marker={"color": look.colour, "symbol": _SYMBOLS[name], "size": 7, "opacity": 0.75},
            customdata=[[found.sid[i]] for i in here],
            text=[markup.line(found.sid[i], 40).replace("<", "&lt;") for i in here],
            hovertemplate="%{text}<br>before %{x:.2f}, after %{y:.2f}<extra>" + look.label + "</extra>",
        )
    line = {"color": "rgba(128,128,128,0.55)", "width": 1, "dash": "dot"}
    drawn.add_hline(y=0, line=line)
    drawn.add_vline(x=0, line=line)
    note: dict[str, Any] = {"showarrow": False, "xref": "paper", "yref": "paper", "opacity": 0.75}
    drawn.add_annotation(x=0.995, y=0.99, xanchor="right", yanchor="top", text="still prefers its own answer", **note)
    drawn.add_annotation(x=0.995, y=0.01, xanchor="right", yanchor="bottom", text="now prefers the target", **note)
    drawn.update_layout(
        height=380,
        margin={"l": 8, "r": 8, "t": 34, "b": 8},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        dragmode=False,
        hoverlabel={"align": "left"},
    )
    drawn.update_xaxes(title={"text": "own answer over target, before fine-tuning (nats per token)"}, zeroline=False)
    drawn.update_yaxes(title={"text": "the same after fine-tuning"}, zeroline=False)
    return drawn


def table(found: Points) -> pd.DataFrame:
    """The same points as rows."""
    looks = {name: f"{look.mark} {look.label.lower()}" for name, look in charts.STATUS.items()}
    return pd.DataFrame(
        {
            "id": [markup.line(s, 80) for s in found.sid],
            "status": [looks.get(s, s) for s in found.status],
            BEFORE: found.before,
            AFTER: found.after,
        }
    )


def clicked(event: Mapping[str, Any] | None) -> str | None:
    """The id of the row whose point was clicked."""
    points = ((event or {}).get("selection") or {}).get("points") or []
    return next((str(p["customdata"][0]) for p in points if p.get("customdata")), None)
