"""The limits behind a status: movable, with live counts. No model runs."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.services import judging, results
from core.types import Run, Thresholds
from ui import charts, errors, state

_SLIDERS = (
    (
        "unlearned_below",
        "Unlearned below a success rate of",
        (0.05, 0.95, 0.05),
        "A sample whose answers are right in fewer draws than this counts as unlearned.",
    ),
    (
        "certainty",
        "Certainty required",
        (0.5, 0.99, 0.01),
        "Posterior probability required before the rate counts as below or above the limit; otherwise: unknown.",
    ),
    (
        "success_cut",
        "A graded score counts as right from",
        (0.5, 1.0, 0.1),
        "Used by scorers that grade, such as word overlap. Exact scorers give 0 or 1.",
    ),
)


@st.fragment
def panel(run: Run, counts: dict[str, int]) -> None:
    """Sliders, the counts they would give, Apply and Reset.

    Args:
        run: whose verdicts.
        counts: samples by status now, over the whole run.
    """
    chosen = run.thresholds
    for column, (name, label, (low, high, step), help) in zip(st.columns(3), _SLIDERS, strict=True):
        value = column.slider(
            label, low, high, float(getattr(run.thresholds, name)), step, key=_key(run, name), help=help
        )
        chosen = replace(chosen, **{name: float(value)})
    moved = chosen != run.thresholds
    preview = results.status_preview(run.id, chosen) if moved else counts
    for column, (name, look) in zip(st.columns(4), charts.STATUS.items(), strict=True):
        change = preview.get(name, 0) - counts.get(name, 0)
        column.metric(
            f"{look.mark} {look.label}",
            f"{preview.get(name, 0):,}",
            f"{change:+,}" if change else None,
            delta_color="off",
        )
    with st.container(horizontal=True):
        if st.button("Apply", type="primary", disabled=not moved, key=state.key("thresholds", "apply")):
            with errors.shown():
                judging.start_rejudge(run.id, chosen)
                st.rerun()
        st.button("Reset", disabled=not moved, key=state.key("thresholds", "reset"), on_click=_reset, args=(run,))
        if run.thresholds != Thresholds() and st.button("Restore defaults", key=state.key("thresholds", "default")):
            with errors.shown():
                judging.start_rejudge(run.id, Thresholds())
                st.rerun()


def _key(run: Run, name: str) -> str:
    # The limits are in the key: a judged run's sliders start from what it was judged by.
    t = run.thresholds
    return state.key("thresholds", run.id, name, t.unlearned_below, t.certainty, t.success_cut)


def _reset(run: Run) -> None:
    """Callback: the sliders stand where the run was judged."""
    for name, *_ in _SLIDERS:
        state.put(_key(run, name), float(getattr(run.thresholds, name)))
