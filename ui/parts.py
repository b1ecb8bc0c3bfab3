"""Boxes that pages of figures share: a chart with the switch to its table, pages of a list, the way to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.types import Filter, Run, Term
from ui import charts, markup, selecting, state, tables

# Plotly's tool bar where there is a choice of tools: rectangle, outline, zoom.
TOOLS = {name: value for name, value in charts.CONFIG.items() if name != "modeBarButtons"} | {
    "displayModeBar": True,
    "modeBarButtonsToRemove": ["autoScale2d", "zoomIn2d", "zoomOut2d"],
}
Event = Mapping[str, Any]


def figure(
    key: Sequence[object], text: str, rows: Callable[[], Any], drawing: Callable[[], go.Figure], alt: str,
    selects: Sequence[str] = (), tools: bool = False, **table: Any,
) -> Event | None:  # fmt: skip
    """A heading with the switch between a chart and the table of its numbers, and what is chosen.

    Returns:
        What was selected on the chart; None where the table stands.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"**{markup.md(text)}**", width="content")
        view = st.segmented_control(
            "View", ("Chart", "Table"), default="Chart", required=True, key=state.key("view", *key),
            label_visibility="collapsed",
        )  # fmt: skip
    if view == "Table":
        tables.draw(rows(), key=state.key("table", *key), **table)
        return None
    return chart(key, drawing(), f"{alt}; the table has the same numbers", selects, tools)


def chart(
    key: Sequence[object], figure: go.Figure, alt: str, selects: Sequence[str] = (), tools: bool = False
) -> Event:
    """The figure; what was selected on it, where it can be selected on. It keeps no earlier selection."""
    how: dict[str, Any] = {"on_select": "rerun", "selection_mode": tuple(selects)} if selects else {}
    config = (TOOLS if tools else charts.CONFIG) | {"toImageButtonOptions": charts.picture(*key)}
    event = st.plotly_chart(figure, key=state.selectable("chart", *key), config=config, alt=alt, **how)
    return event if selects else {}


def turn(name: str, places: Iterable[Any], go_to: Callable[[Any], None]) -> None:
    """Buttons to the place before and after, beside each other; a place that is None cannot be gone to."""
    ways = (("Previous", ":material/chevron_left:"), ("Next", ":material/chevron_right:"))
    with st.container(horizontal=True, horizontal_alignment="right", width="content", gap="small"):
        for place, (label, icon) in zip(places, ways, strict=True):
            st.button(
                label, icon=icon, disabled=place is None, key=state.key(name, label), on_click=go_to, args=(place,)
            )


def open_samples(run: Run, selection: Filter, terms: Iterable[Term] = ()) -> None:
    """Go to the samples that pass ``selection`` with ``terms`` in place of its own for their columns."""
    state.leave("pages/samples.py", state.link(run=run.id, selection=selecting.with_terms(selection, terms)))


def leave_for(page: str, run: Run, terms: Iterable[Term]) -> None:
    """Go to another page with a filter of its own."""
    state.leave(f"pages/{page}.py", state.link(run=run.id, selection=Filter(tuple(terms))))


def open_chosen(run: Run, selection: Filter, terms: Sequence[Term]) -> None:
    """``open_samples`` where a selection asks for any."""
    if terms:
        open_samples(run, selection, terms)


def open_sample(run: Run, sid: str | None) -> None:
    """Go to one sample; nothing where none was clicked."""
    if sid is not None:
        state.leave("pages/samples.py", state.link(run=run.id, sample=sid))


def link(page: str, label: str, icon: str, parameters: Mapping[str, str] | None = None) -> None:
    """A link to another page. ``label`` is Markdown, ``icon`` the name of a Material symbol."""
    st.page_link(f"pages/{page}.py", label=label, icon=f":material/{icon}:", query_params=parameters)
