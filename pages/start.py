"""The way in: what Lacuna gives, the runs there are, and a new one in three steps."""

from __future__ import annotations

import streamlit as st

from ui import bundles, choose_checkpoint, choose_dataset, choose_setup, choose_training, frame, landing, markup, state
from ui.menu import Entry

PAGE = Entry(title="Start", icon=":material/home:", place=10, group="Diagnose")


def main() -> None:
    frame.title(
        "What did your fine-tune not learn?",
        "Lacuna says, sample by sample, what a fine-tuned model did not learn from its own training data, why, and "
        "what to do about it.",
    )
    landing.draw()
    bundles.opening()
    st.subheader("New diagnosis", anchor=False)
    if word := state.heard():
        st.toast(markup.md(word))
    setup = choose_setup.draw()
    with st.container(border=True):
        st.subheader("1  Dataset", anchor=False)
        dataset = choose_dataset.draw(setup)
    with st.container(border=True):
        st.subheader("2  Checkpoint", anchor=False)
        chosen = choose_checkpoint.draw(setup)
    with st.container(border=True):
        st.subheader("3  How it was trained", anchor=False)
        choose_training.draw(dataset, chosen, setup)


main()
