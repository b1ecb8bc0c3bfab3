"""What takes how much of the disk, and deleting it."""

from __future__ import annotations

import streamlit as st

from core.services import storage, uploads
from core.services.storage import Measured, Stored
from core.text.counts import counted
from ui import errors, frame, markup, progress, state, tables
from ui.menu import Entry

PAGE = Entry(title="Storage", icon=":material/hard_drive:", place=130, group="System")

_KINDS = {"run": "Runs", "dataset": "Datasets", "checkpoint": "Checkpoints", "upload": "Uploads"}
_ABOUT = {
    "run": "The evidence that a run alone rests on. What it shares with others stays when it is deleted.",
    "dataset": "About what its rows take in the database. A database file keeps its size; the room is used again.",
    "checkpoint": "Unpacked here from an upload. One that was chosen from a folder takes no room, and its files stay.",
    "upload": f"Uploads that were not used yet. After {uploads.UNUSED / 86400:.0f} days unused they are removed at "
    "the next start.",
}
# Things of a kind that are listed; the largest stand first, so what is left out frees little.
_MOST = 50


def main() -> None:
    frame.title("Storage", "What takes how much of the disk. Nothing here is deleted by itself, except unused uploads.")
    usage = storage.overview()
    if word := state.heard():
        st.toast(markup.md(word))
    taken = {label: n for label, n in usage.totals.items() if n}
    total = uploads.human(sum(taken.values()))
    st.markdown(f"**{total}** taken, **{uploads.human(usage.free)}** free on this disk.")
    rows = [{"what": label, "size": uploads.human(n)} for label, n in sorted(taken.items(), key=lambda t: -t[1])]
    tables.draw(rows, width="content")
    _measured(usage.measured)
    for kind, title in _KINDS.items():
        mine = [thing for thing in usage.stored if thing.kind == kind]
        st.subheader(title, anchor=False)
        st.caption(_ABOUT[kind] if mine else "There are none.")
        for thing in mine[:_MOST]:
            _thing(thing)
        if len(mine) > _MOST:
            st.caption(f"The {_MOST} largest of {len(mine):,} are shown.")


def _measured(measured: Measured) -> None:
    st.subheader("Measurements", anchor=False)
    limit = f"{storage.KEPT_DAYS} days and at most {uploads.human(storage.KEPT_BYTES)}"
    st.caption(
        f"{counted(measured.rows, 'measured row')}, {uploads.human(measured.size)}. Each is measured once, however "
        f"many runs use it. What no run uses is kept {limit} for later runs: {counted(measured.kept_rows, 'row')}, "
        f"{uploads.human(measured.kept_size)}."
    )
    if st.button("Remove what no run uses", key=state.key("prune"), disabled=not measured.kept_rows):
        with errors.shown():
            state.say(f"Removed: {counted(storage.prune(), 'measured row')}")
            st.rerun()


def _thing(thing: Stored) -> None:
    with st.container(border=True, horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        about = f"{uploads.human(thing.size)} · last used {progress.when(thing.used)}"
        if thing.needed_by:
            n = len(thing.needed_by)
            about += f" · needed by {counted(n, 'run') if len(thing.runs) == n else f'{n:,} others'}"
        name = thing.name if isinstance(thing.id, str) else f"{thing.id}  {thing.name}"
        st.markdown(f"**{markup.md(markup.line(name, 80))}** :gray[{markup.md(about)}]", width="stretch")
        with st.popover("Delete", icon=":material/delete:", key=state.key("delete", "open", thing.kind, thing.id)):
            _delete(thing)


def _delete(thing: Stored) -> None:
    """What goes, by name, and the button that deletes it; what cannot go with it is said instead."""
    other = len(thing.needed_by) - len(thing.runs)
    if thing.needed_by:
        st.markdown("Needed by:\n\n" + "\n".join(f"- {markup.md(markup.line(n, 100))}" for n in thing.needed_by))
    if other:
        st.caption("Delete or cancel what is no diagnosis first, on its own page.")
        return
    label = f"Delete it and {counted(len(thing.runs), 'run')}" if thing.runs else "Delete it"
    if st.button(label, key=state.key("delete", thing.kind, thing.id), type="primary"):
        with errors.shown():
            storage.delete(thing.kind, thing.id, thing.runs)
            state.say(f"Deleted: {markup.line(thing.name, 60)}")
            st.rerun()


main()
