"""A new run in three steps: the dataset, the checkpoint, how it was trained."""

from __future__ import annotations

import streamlit as st

from core.services import demo
from ui import choose_checkpoint, choose_dataset, choose_training, frame, markup, parts, progress, state
from ui.menu import Entry

PAGE = Entry(title="Start", icon=":material/add_circle:", place=10)


def main() -> None:
    frame.title(
        "Start a run",
        "Which of your fine-tuning samples does the checkpoint reproduce, and which not? Three steps to find out.",
    )
    _demo()
    if word := state.heard():
        st.toast(markup.md(word))
    with st.container(border=True):
        st.subheader("1  Dataset", anchor=False)
        dataset = choose_dataset.draw()
    with st.container(border=True):
        st.subheader("2  Checkpoint", anchor=False)
        chosen = choose_checkpoint.draw()
    with st.container(border=True):
        st.subheader("3  How it was trained", anchor=False)
        choose_training.draw(dataset, chosen)


def _demo() -> None:
    """The way in for someone without data at hand."""
    what, number = demo.state()
    if what == "ready":
        parts.link(
            "overview", "Look at the demo: a tiny model that did not learn everything", "science", {"run": str(number)}
        )
    elif number is not None:
        with st.container(border=True):
            doing = "is being built" if what == "building" else "could not be built"
            st.markdown(f"**The demo {doing}**: a tiny model is trained here and diagnosed.")
            progress.ended(progress.watch(number, "Waiting for the worker"))
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                "No data at hand? The demo trains a tiny model here and diagnoses it: two minutes on an idle machine."
            )
            if st.button("Build the demo", icon=":material/science:", key=state.key("demo"), type="tertiary"):
                demo.start()
                st.rerun()


main()
