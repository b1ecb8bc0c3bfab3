"""A Streamlit page of one table and two buttons: what a turned page and a rerun cost before Lacuna does anything."""

import streamlit as st

COLUMNS = ("status", "cause", "prompt", "target", "p_exact", "success_rate", "confidence")


def table(start: int) -> None:
    rows = [{c: f"{c} of row {i}, some words long" for c in COLUMNS} for i in range(start, start + 50)]
    st.dataframe(rows, hide_index=True, height=668, key=f"rows{start}", on_select="rerun", selection_mode="single-row")


@st.fragment
def rows() -> None:
    if st.button("Next"):
        st.session_state["start"] = st.session_state.get("start", 0) + 50
    table(st.session_state.get("start", 0))


if st.button("Other"):
    st.session_state["start"] = st.session_state.get("start", 0) + 50
rows()
