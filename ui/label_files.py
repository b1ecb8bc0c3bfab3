"""Labels as files: downloads, taking one in by row id, and undoing that."""

from __future__ import annotations

import streamlit as st

from core.services import labels, uploads
from core.text.counts import counted
from core.types import Run
from ui import downloads, errors, markup, progress, state, uploader
from ui.routes import address

_ACCEPT = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def draw(run: Run, number: int) -> None:
    """The section; ``number`` is the round of the queue that can be downloaded."""
    st.subheader("Labels as a file", anchor=False)
    downloads.draw(
        [
            downloads.Link(
                label="This round (JSONL)",
                url=address(f"api/runs/{run.id}/queue.jsonl") + f"?round={number}",
                help="The rows above, to be filled in elsewhere and imported again.",
            ),
            downloads.Link(
                label="All labels (JSONL)",
                url=address(f"api/runs/{run.id}/labels.jsonl"),
                help="Every sample that people reviewed or tagged.",
            ),
        ],
        key=state.key("labels", "downloads"),
        quiet=True,
    )
    _take(run)
    _taken(run)


def _take(run: Run) -> None:
    key = state.key("labels", run.id, "file")
    hint = "JSONL or CSV, one sample a row, with the columns of the files above. Nothing is overwritten without asking."
    upload = uploader.held("Import labels", hint, key, _ACCEPT)
    if upload is None:
        return
    with errors.shown():
        author = st.text_input(
            "Author of rows that name none", value=state.author(), key=f"{key}:author", max_chars=120
        )
        labelled = labels.check(run.id, uploads.finish(upload["id"]).path, author or "", upload["name"])
        st.markdown(markup.md(labels.sentence(labelled)))
        markup.notes(f"Row {m.row}: {m.why}." for m in labelled.mismatches)
        if labelled.n_mismatches > len(labelled.mismatches):
            st.caption(f"And {counted(labelled.n_mismatches - len(labelled.mismatches), 'more row')}.")
        replace = False
        if labelled.standing:
            markup.notes(
                f"Row {label.row}: there is another review of {label.sid}." for label in labelled.standing[:20]
            )
            replace = st.checkbox("Let the file replace the other reviews", key=f"{key}:replace")
        with st.container(horizontal=True):
            taken = st.button("Import", type="primary", key=f"{key}:take", disabled=not (labelled.new or replace))
            if taken or st.button("Forget the file", key=f"{key}:forget"):
                if taken:
                    labels.take(run.id, labelled, replace)
                uploads.discard(upload["id"])
                uploader.let_go(key)
                st.rerun()


def _taken(run: Run) -> None:
    files = [f for f in labels.label_files(run.id) if f.undone is None]
    for file in files[:5]:
        with st.container(horizontal=True, vertical_alignment="center"):
            what = f"{counted(file.n, 'sample')} from {markup.line(file.name, 60)} ({progress.when(file.created)})"
            st.markdown(f":material/description: {markup.md(what)}", width="content")
            if st.button("Undo", key=state.key("labels", "undo", file.id), icon=":material/undo:", type="tertiary"):
                with errors.shown():
                    undone = labels.undo(run.id, file.id)
                    left = f"; {counted(len(undone.left), 'sample')} reviewed since left alone" if undone.left else ""
                    state.say(f"{counted(undone.restored, 'sample')} put back{left}.")
                    st.rerun()
