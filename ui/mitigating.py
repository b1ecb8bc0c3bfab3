"""Step 3 of a mitigation: the first rows with their diff and all counts, then the export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.services import again as again_from_base
from core.services import mitigation
from core.text.counts import counted
from core.types import Filter, Run
from ui import downloads, evidence, forms, markup, progress, state
from ui.choose_recipe import Recipe
from ui.routes import address

_FIRST = ("mitigation.jsonl", "manifest.json")
_WAYS = {False: "Go on from the checkpoint", True: "Train again from the base"}
_CAPTIONS = ("These rows.", "The dataset with these rows in it, and configurations that begin with the base.")
_LOGGED = {"batch": "as logged", "learning_rate": "as logged"}


def draw(run: Run, selection: Filter, chosen: Recipe) -> None:
    """Draw the step."""
    course = _course(run) if again_from_base.has_base(run) else None
    asked = mitigation.request(run.id, selection, chosen.form.name, chosen.settings, chosen.uploads, course=course)
    now = state.fingerprint(asked)
    current = state.chosen("asked") == now
    preview = state.chosen("preview") if current else None
    export = state.chosen("export") if current else None
    if not current and state.chosen("asked") is not None:
        st.caption("Something changed since the last preview.")
    with st.container(horizontal=True):
        if st.button("Preview", key=state.key("mitigate", "preview"), type="secondary" if preview else "primary"):
            state.choose(preview=mitigation.start_preview(asked), asked=now, export=export)
            st.rerun()
        if st.button("Export", key=state.key("mitigate", "export"), icon=":material/output:"):
            state.choose(export=mitigation.start_export(asked), asked=now, preview=preview)
            st.rerun()
    if export is not None and (files := progress.outcome(export, "Waiting for the export")) is not None:
        _exported(export, files)
    if preview is not None and (rows := progress.outcome(preview, "Waiting for the preview")) is not None:
        _preview(rows)


def _course(run: Run) -> dict[str, Any] | None:
    """How to train again, as filled in; None where training goes on from the checkpoint."""
    again = st.radio(
        "What the export is for", list(_WAYS), format_func=_WAYS.__getitem__, captions=_CAPTIONS, horizontal=True,
        key=state.key("mitigate", "way", run.id),
    )  # fmt: skip
    if not again:
        return None
    fields = again_from_base.SETTINGS
    return forms.draw(fields, f"again-{run.id}", boxes=st.columns(len(fields)), automatic=_LOGGED)


def _preview(found: Mapping[str, Any]) -> None:
    total = found["total"]
    st.markdown(f"**{counted(total, 'row')} from {counted(found['treated'], 'sample')}**")
    shares = [f"{n:,} {name} ({n / total:.0%})" for name, n in found["parts"].items()] if total else []
    training = found["training"]
    epochs = training["epochs"]
    how = f"{epochs:g} {'epoch' if epochs == 1 else 'epochs'}, {counted(training['batch'], 'row')} per step"
    how += ", in the order of the file" if training["sequential"] else ", shuffled"
    st.caption(markup.md(" · ".join([*shares, how])))
    markup.notes(found["notes"])
    for i, row in enumerate(found["rows"]):
        _row(i, row)


def _row(i: int, row: Mapping[str, Any]) -> None:
    source = f"sample {row['sample']}" if row["sample"] is not None else "your file"
    label = f"{row['part']} · {source} · {row['change'] or 'unchanged'}"
    with st.expander(markup.md(markup.line(label, 110)), expanded=i == 0):
        if not row["diff"]:
            evidence.text(row["raw"])
        for change in row["diff"]:
            st.caption(markup.md(change["field"]))
            if "before" in change and "after" in change:
                evidence.comparison(change["before"], change["after"], ("Original", "Exported"))
            else:
                evidence.text(
                    change.get("before", change.get("after", "")), "removed" if "before" in change else "added"
                )


def _exported(job_id: int, found: Mapping[str, Any]) -> None:
    parts = ", ".join(f"{n:,} {name}" for name, n in found["parts"].items())
    st.success(
        markup.md(
            f"{counted(found['rows'], 'row')}: {parts}. {found['changed']:,} changed; all others are exact copies."
        ),
        icon=":material/check_circle:",
    )
    names = sorted(found["files"], key=lambda n: (n not in _FIRST, _FIRST.index(n) if n in _FIRST else 0, n))
    links = [
        downloads.Link(
            label=name, url=address(f"api/mitigations/{job_id}/{name}"), help=f"{found['files'][name]:,} bytes"
        )
        for name in names
    ]
    downloads.draw(links, key=state.key("mitigate", "files", job_id))
    markup.notes(found.get("notes", ()))
    st.caption(f"SHA-256 of the rows: {found['sha256'][:16]}…; the configurations expect all files in one folder.")
