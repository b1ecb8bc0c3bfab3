"""From a selection to what can be done with it: the same three ways wherever rows are chosen."""

from __future__ import annotations

import streamlit as st

from core.types import Run
from ui import state


def draw(run: Run, count: int) -> None:
    """Links that take the filter along: ask both routes, look for contradictions, choose a mitigation."""
    these = "this sample" if count == 1 else f"these {count:,} samples"
    ways = [
        ("pages/mitigation.py", f"Treat {these}", ":material/healing:"),
        ("pages/routes.py", f"Ask {these} directly and by reasoning", ":material/alt_route:"),
    ]
    if any(c.name == "group" for c in run.columns):
        ways.insert(1, ("pages/contradictions.py", f"Contradictions of {these}", ":material/compare_arrows:"))
    with st.container(horizontal=True):
        for page, label, icon in ways:
            st.page_link(page, label=label, icon=icon, query_params=state.link(run=run.id))
