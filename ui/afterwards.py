"""Step 5 of a mitigation: the model trained on it is diagnosed and set beside this run."""

from __future__ import annotations

import streamlit as st

from core.services import runs
from core.types import Run
from ui import markup, parts

# Later runs that are offered; all others are on the compare page.
_SHOWN = 5


def draw(run: Run) -> None:
    """Draw the step: how to go on, and the later runs that this one can be compared with."""
    st.caption(
        "Train on the exported rows, then diagnose the new checkpoint on the same dataset or on the repaired one. "
        "Samples are matched by id or question: fixed, still not learned, newly broken."
    )
    parts.link("start", "Diagnose the trained checkpoint", "add_circle")
    for later in later_runs(run):
        parts.link(
            "compare",
            f"Compare with run {later.id}: {markup.md(markup.line(later.name, 60))}",
            "compare",
            {"run": str(run.id), "other": str(later.id)},
        )


def later_runs(run: Run) -> list[Run]:
    """Judged runs of a model made after this one, the same dataset's first, then the newest."""
    judged = [r for r in runs.list_runs() if r.state == "judged" and not r.spec.final.is_nothing]
    newer = [r for r in judged if r.created > run.created and r.id != run.id]
    newer.sort(key=lambda r: (r.spec.dataset_id != run.spec.dataset_id, -r.created))
    return newer[:_SHOWN]


def back(run: Run) -> None:
    """The way from a comparison to what was done about the earlier run."""
    parts.link("mitigation", f"Recipes and proofs of run {run.id}", "healing", {"run": str(run.id)})
