"""The recorded training on the page *Dynamics*: loss by step, the rows behind a step, loss by source."""

from __future__ import annotations

import streamlit as st

from core.services import recordings as service
from core.services.recordings import Recorded
from core.text.counts import counted
from core.types import Filter, Run
from ui import along, cached, charts, markup, parts, selecting, state, tables


def draw(run: Run, selection: Filter) -> None:
    """Draws both boxes; nothing where the run has no recording."""
    if not service.has_recording(run):
        return
    found = cached.recording(run, state.query())
    with st.container(border=True):
        if not found.points:
            st.markdown("**Recorded loss, step by step**")
            st.caption("No sample of this selection was recorded.")
            return
        event = parts.figure(
            (run.id, "recorded"),
            "Recorded loss, step by step",
            lambda: [{"step": p.step, "samples": p.rows, "mean": p.mean, "highest": p.highest} for p in found.points],
            lambda: along.recorded(found.points),
            "Mean and highest loss of the samples of each step",
            ("points",),
        )
        _behind(run, selection, found, selecting.step_from(event, [p.step for p in found.points]))
    if found.sources:
        with st.container(border=True):
            parts.figure(
                (run.id, "sources"),
                "Recorded loss by source",
                lambda: [
                    {
                        "source": markup.line(charts.name_of(s.name), 60),
                        "epoch": p.label,
                        "samples": p.rows,
                        "mean": p.mean,
                    }
                    for s in found.sources
                    for p in s.points
                ],
                lambda: along.sources(found.sources),
                "Mean loss of each source in each epoch",
            )
            st.caption("Mean over the samples of a source that pass the filter, one point an epoch.")


def _behind(run: Run, selection: Filter, found: Recorded, clicked: int | None) -> None:
    """The samples of one step, the highest loss first: the one that was clicked, else the one with the highest mean."""
    highest = max(found.points, key=lambda p: p.mean).step
    steps = [p.step for p in found.points]
    key = state.key("recorded", "step", run.id, clicked)
    first = clicked if clicked in steps else highest
    step = st.select_slider("Samples behind step", steps, first, key=key) if len(steps) > 1 else steps[0]
    rows = service.rows_at(run.id, selection, step)
    tables.draw(
        [
            {
                "id": markup.line(r.sid, 60),
                "loss": r.loss,
                "status": charts.status_name(r.status),
                "source": markup.line(r.source or "", 60),
            }
            for r in rows
        ],
        key=state.key("recorded", "rows", run.id),
    )
    st.caption(
        f"{counted(len(rows), 'sample')} took part in step {step:,}. A click on the chart chooses another step. "
        "Losses are those before the step, in training mode, so dropout is in them. Of rows that are equal the first "
        "visit of an epoch stands."
    )
