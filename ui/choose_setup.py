"""Before the steps of a new run: the trainer's own configuration, from which they are filled in."""

from __future__ import annotations

import streamlit as st

from core.services import setups, uploads
from core.types import Setup
from ui import markup, progress, state, tables
from ui.uploader import uploader

_ENDINGS = (".yaml", ".yml", ".json", ".md", ".bin")
_NOTHING = Setup({})


def draw() -> Setup:
    """Draw the drop zone, or what was taken over and from where; return what the steps begin with."""
    job_id = state.chosen("setup")
    if job_id is None:
        _offer()
        return _NOTHING
    setup = setups.standing(job_id)
    if setup is None:
        job = progress.watch(job_id, "Reading the configuration")
        progress.ended(job)
        if job.state in ("failed", "cancelled") and st.button("Dismiss", key=state.key("setup", "dismiss")):
            for upload_id in job.payload.get("uploads", ()):
                uploads.discard(upload_id)
            state.choose(setup=None)
            st.rerun()
        if job.state == "done":
            st.rerun()
        return _NOTHING
    if setup.files:
        with st.container(border=True):
            _taken(setup)
    elif setup.unmet:
        _offer()
        markup.notes(unmet.reason for unmet in setup.unmet)
    else:
        _offer()
    return setup


def _offer() -> None:
    with st.expander("Fill in the steps from your training configuration", icon=":material/upload_file:"):
        finished = uploader(
            "Upload the trainer's configuration",
            "The YAML of LLaMA-Factory (with dataset_info.json) or Axolotl, args.json of ms-swift, TRL's arguments.",
            key=state.key("upload", "setup"),
            accept=_ENDINGS,
            multiple=True,
        )
        if finished:
            state.choose(setup=setups.start_setup([f["id"] for f in finished]))
            st.rerun()


def _taken(setup: Setup) -> None:
    words, button = st.columns([5, 1.4], vertical_alignment="top")
    read = ", ".join(f"{markup.line(file, 60)} ({label})" for file, label in setup.files.items())
    words.markdown(f"**Filled in from {markup.md(read)}.** What you change below counts instead.")
    if button.button("Leave it out", key=state.key("setup", "drop"), width="stretch"):
        state.choose(setup=None)
        st.rerun()
    if setup.stated:
        tables.draw(
            [
                {
                    "what": markup.line(stated.label, 60),
                    "value": markup.line(str(stated.value), 200),
                    "from": markup.line(f"{stated.file}: {stated.key}" if stated.key else stated.file, 100),
                }
                for stated in setup.stated
            ],
            wrapped=True,
        )
    if setup.unmet:
        st.warning(
            "Lacuna cannot follow these settings:\n\n"
            + "\n".join(
                f"- {markup.md(markup.line(f'{unmet.key}: {unmet.value}', 120))} ({markup.md(unmet.file)}). "
                f"{markup.md(unmet.reason)}"
                for unmet in setup.unmet
            ),
            icon=":material/warning:",
        )
