"""Step 1 of a mitigation: which samples, by cause first."""

from __future__ import annotations

import streamlit as st

from core.services import exports
from core.services.causes import look as cause_look
from core.text.counts import counted
from core.types import Filter, Run
from ui import cached, filterbar, selecting, state

# What can narrow a cause down, as far as the run has it.
_NARROW = ("stage", "source", "cluster")


def draw(run: Run, selection: Filter) -> int:
    """Draw the step; return how many samples are chosen."""
    counts = dict(cached.facets(run, state.query(), filterbar.CHIPS).get("cause", []))
    names = [n for n in dict.fromkeys((*counts, *selecting.values_of(selection, "cause"))) if n is not None]
    if names:
        causes = {name: (cause_look(name), counts.get(name, 0)) for name in names}
        filterbar.pills(run, selection, "cause", causes, labelled=True)
    else:
        st.caption("No cause is judged in this run. Choose samples by status; any recipe can be tried on them.")
    filterbar.choose_statuses(run, selection, labelled=True)
    filterbar.choose_categories(run, selection, _NARROW)
    if selecting.values_of(selection, "cause"):
        filterbar.choose_range(run, selection, "confidence")
    count = exports.count(run.id, selection)
    st.markdown(f"**{count:,} of {counted(run.n_samples, 'sample')}**")
    return count
