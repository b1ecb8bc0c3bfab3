"""Boxes that pages of figures share: a heading with the switch to the table, a chart that keeps no old selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.types import Filter, Run
from ui import charts, markup, state

# Plotly's tool bar where there is a choice of tools: rectangle, outline, zoom.
TOOLS = {
    "displayModeBar": True,
    "displaylogo": False,
    "scrollZoom": False,
    "modeBarButtonsToRemove": ["toImage", "autoScale2d", "zoomIn2d", "zoomOut2d"],
}


def wants_table(text: str, key: str) -> bool:
    """A chart's heading with the switch to its table; whether the table is wanted."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"**{markup.md(text)}**", width="content")
        view = st.segmented_control(
            "View", ("Chart", "Table"), default="Chart", required=True, key=key, label_visibility="collapsed"
        )
    return view == "Table"


def heading(text: str, run: Run, name: str) -> bool:
    """``wants_table`` for a chart of a run."""
    return wants_table(text, state.key("view", run.id, name))


def chart(
    run: Run, name: str, figure: go.Figure, alt: str, selects: Sequence[str] = (), tools: bool = False
) -> Mapping[str, Any] | None:
    """The figure; what was selected on it, where it can be selected on."""
    key = state.selectable("chart", run.id, name)
    config = TOOLS if tools else charts.CONFIG
    if not selects:
        st.plotly_chart(figure, key=key, config=config, alt=alt)
        return None
    return st.plotly_chart(figure, key=key, config=config, alt=alt, on_select="rerun", selection_mode=tuple(selects))


def table(run: Run, name: str, rows: Sequence[Mapping[str, Any]], **config: Any) -> None:
    """The figure's numbers."""
    st.dataframe(list(rows), hide_index=True, key=state.key("table", run.id, name), column_config=config or None)


def open_samples(run: Run, selection: Filter) -> None:
    """Go to the samples that pass ``selection``."""
    state.leave("pages/samples.py", state.link(run=run.id, selection=selection))


def open_sample(run: Run, sid: str) -> None:
    """Go to one sample."""
    state.leave("pages/samples.py", state.link(run=run.id, sample=sid))
