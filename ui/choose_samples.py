"""Step 1 of a mitigation: which samples, by cause first."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.services import exports
from core.text.counts import counted
from core.types import Filter, Run
from ui import cached, charts, filterbar, markup, selecting, state

# What can narrow a cause down, as far as the run has it.
_NARROW = ("stage", "source", "cluster")


def draw(run: Run, selection: Filter) -> int:
    """Draw the step; return how many samples are chosen."""
    counts = cached.facets(run, state.query(), filterbar.CHIPS).get("cause", [])
    if any(value is not None for value, _ in counts) or selecting.values_of(selection, "cause"):
        _causes(run, selection, counts)
    else:
        st.caption("No cause is judged in this run. Choose samples by status; any recipe can be tried on them.")
    filterbar.choose_statuses(run, selection)
    filterbar.choose_categories(run, selection, _NARROW)
    if selecting.values_of(selection, "cause"):
        filterbar.choose_range(run, selection, "confidence")
    count = exports.count(run.id, selection)
    st.markdown(f"**{count:,} of {counted(run.n_samples, 'sample')}**")
    if count == run.n_samples:
        st.caption("No filter is set: the recipe would treat every sample, learned ones included.")
    return count


def _causes(run: Run, selection: Filter, counts: list[tuple[Any, int]]) -> None:
    standing = selecting.values_of(selection, "cause")
    values = [v for v, _ in counts if v is not None]
    values += [v for v in standing if v is not None and v not in values]
    by_value = dict(counts)
    key = state.key("mitigate", "cause")
    state.put(key, [values.index(v) for v in standing if v in values])

    def change() -> None:
        picked = [values[i] for i in state.get(key) or ()]
        filterbar.apply(run, selecting.with_terms(state.selection(run.columns), [selecting.one_of("cause", picked)]))

    st.pills(
        "Cause",
        range(len(values)),
        selection_mode="multi",
        format_func=lambda i: f"{markup.md(charts.cause_name(values[i]))}  {by_value.get(values[i], 0):,}",
        key=key,
        on_change=change,
    )
