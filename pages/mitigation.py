"""What to do about what was not learned: choose samples, a recipe, look, export, and prove that it works."""

from __future__ import annotations

import streamlit as st

from core.types import Filter, Run
from ui import advising, afterwards, choose_recipe, choose_samples, filterbar, frame, mitigating, people, proving
from ui.menu import Entry

PAGE = Entry(title="Mitigation", icon=":material/healing:", place=90, group="Fix")


def main() -> None:
    run, selection = frame.open_run("Mitigation")
    with st.container(border=True):
        st.subheader("1  Samples to treat", anchor=False)
        people.switch(run, selection)
        people.agreement(run)
        count = choose_samples.draw(run, selection)
        filterbar.chips(run, selection)
        advising.draw(run, selection)
    if not selection.terms and not selection.text:
        st.info("Choose a cause, or a selection of samples, to see what can be done.", icon=":material/healing:")
        proving.made(run)
    elif not count:
        st.info("No sample passes this filter. Remove a condition above.", icon=":material/filter_alt_off:")
    else:
        _steps(run, selection)
    with st.container(border=True):
        st.subheader("5  After training", anchor=False)
        afterwards.draw(run)


def _steps(run: Run, selection: Filter) -> None:
    """The recipe, what it makes of the samples, and its proof."""
    with st.container(border=True):
        st.subheader("2  Recipe", anchor=False)
        chosen = choose_recipe.draw(run, selection)
    with st.container(border=True):
        st.subheader("3  Preview and export", anchor=False)
        mitigating.draw(run, selection, chosen)
    with st.container(border=True):
        st.subheader("4  Prove it", anchor=False)
        proving.draw(run, selection, chosen)


main()
