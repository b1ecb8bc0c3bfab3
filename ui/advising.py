"""What would pay: for each cause, what may come back, what it may cost, and how much training it takes."""

from __future__ import annotations

import streamlit as st

from core.services import advice, jobs
from core.services.advice import Option
from core.services.causes import look
from core.types import Filter, Run
from ui import markup, state, tables

# Four ways for each of five causes.
_SHOWN = 20
# Pixels of its columns: together they fit a window of 768.
_WIDTHS = {"cause": 110, "what to do": 110, "may come back": 95, "may be lost": 85, "rows to train": 85, "time": 70,
           "from": 125}  # fmt: skip


def draw(run: Run, selection: Filter) -> None:
    """Draw the table, which is computed once it is opened; nothing where no cause is judged."""
    if not any(column.name == "cause" for column in run.columns):
        return
    box = st.expander("What would pay", icon=":material/balance:", key=state.key("advice", "open"), on_change="rerun")
    if not box.open:
        return
    with box:
        options = advice.options(run.id, selection)
        if not options:
            st.caption("No sample under this filter has a cause that a recipe treats.")
            return
        tables.draw(
            [_row(option) for option in options[:_SHOWN]], wrapped=True, key=state.key("advice", run.id),
            column_config={name: st.column_config.TextColumn(width=width) for name, width in _WIDTHS.items()},
        )  # fmt: skip
        st.caption(
            "Rows that may come back less learned rows that may be lost, the most first; 95% intervals over samples. "
            "Where the figures are from planted worlds, they are from small models and say little about this one: a "
            "proof below replaces them. Time is known once something was proven on this machine."
        )


def _row(option: Option) -> dict[str, str]:
    label = look(option.cause).label
    return {
        "cause": f"{label} ({option.n:,})",
        "what to do": advice.WORDS[option.what],
        "may come back": advice.in_rows(option.restored),
        "may be lost": advice.in_rows(option.at_risk),
        "rows to train": "not possible" if option.rows is None else f"{option.rows:,}",
        "time": "none"
        if option.rows == 0
        else "not known"
        if option.seconds is None
        else jobs.duration(option.seconds),
        "from": markup.line(option.source, 120),
    }
