"""Runs as bundles: opening one that someone sent, and making one to send."""

from __future__ import annotations

import streamlit as st

from core.services import bundles, runs, uploads
from core.types import Run
from ui import downloads, errors, markup, progress, state, uploader
from ui.routes import address


def opening() -> None:
    """The section of the start page that opens a bundle."""
    with st.expander("Open a bundle", icon=":material/unarchive:", key=state.key("bundle", "open")):
        st.caption("A run that was made elsewhere, as one file: everything that pages show, and no weights.")
        key, job_key = state.key("bundle", "file"), state.key("bundle", "job")
        if (job := state.get(job_key)) is not None:
            _opened(job, job_key)
            return
        upload = uploader.held("Bundle", "A file that `lacuna bundle` or the page of a run made.", key, (".lacuna",))
        if upload is None:
            return
        with st.container(horizontal=True):
            if st.button("Open the bundle", type="primary", key=f"{key}:go"):
                with errors.shown():
                    state.put(job_key, bundles.start_open(upload["id"]))
                    uploader.let_go(key)
                    st.rerun()
            if st.button("Forget the file", key=f"{key}:forget"):
                uploads.discard(upload["id"])
                uploader.let_go(key)
                st.rerun()


def _opened(job: int, job_key: str) -> None:
    result = progress.outcome(job, "Waiting for the worker")
    if result is not None:
        state.put(job_key, None)
        state.leave("pages/overview.py", {"run": str(result["run"])})
    elif st.button("Choose another file", key=f"{job_key}:again"):
        state.put(job_key, None)
        st.rerun()


def offer(run: Run) -> None:
    """A bundle of the run: made by a worker, then downloaded."""
    key = state.key("bundle", run.id, "job")
    job = state.get(key)
    st.markdown("**As a bundle**")
    st.caption("One file for another machine: everything that pages show, and no weights.")
    if job is None:
        if st.button("Make a bundle", key=f"{key}:make", icon=":material/archive:"):
            state.put(key, bundles.start_write(run.id))
            st.rerun()
        return
    result = progress.outcome(job, "Waiting for the worker")
    if result is not None:
        size = uploads.human(result["bytes"])
        url = address(f"api/bundles/{job}")
        link = downloads.Link(label=f"Download the bundle ({size})", url=url, help="Open it on the Start page.")
        downloads.draw([link], key=f"{key}:download")


def note(run: Run) -> None:
    """Says of a run that came as a bundle what cannot be done with it."""
    if run.spec.origin:
        made = run.summary.get("bundle") or {}
        when = progress.when(made.get("made")) if isinstance(made.get("made"), (int, float)) else ""
        text = f"This run came as a bundle{f', made {when}' if when else ''}: measuring again needs the checkpoint."
        st.caption(f":material/archive: {markup.md(text)}")
        if older := runs.older_measurements(run):
            text = f"Measured by other versions: {'; '.join(older)}. It can be read, but not judged anew here."
            st.caption(f":material/history: {markup.md(text)}")
