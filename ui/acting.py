"""What can be done to rows that were chosen: a word of a person about them, a set of them, the way to another page."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.services import causes, clusters, people, samples
from core.text.counts import counted
from core.types import Filter, Run, Term
from ui import charts, errors, filterbar, forms, parts, rowlist, selecting, state


def do(run: Run, selection: Filter, what: str, sids: Sequence[str]) -> None:
    """Do to the samples ``sids`` what ``what`` names; unknown names do nothing, since they come from the browser."""
    if not sids:
        return
    match what:
        case "tag":
            _tag(run, sids)
        case "override":
            _override(run, sids)
        case "exclude":
            left_out = clusters.pick_samples(run.id, sids)
            rowlist.clear()
            standing = next((t.values for t in selection.terms if t.column == "picked" and t.op == "not_in"), ())
            kept = tuple(t for t in selection.terms if not (t.column == "picked" and t.op == "not_in"))
            term = Term("picked", "not_in", (*standing, *left_out.values))
            filterbar.apply(run, Filter((*kept, term), selection.text, selection.sort, selection.descending))
            st.rerun()
        case "set":
            term = clusters.pick_samples(run.id, sids)
            rowlist.clear()
            filterbar.apply(run, selecting.with_terms(selection, [term]))
            st.rerun()
        case "treat":
            state.leave("pages/mitigation.py", state.link(run=run.id, selection=_these(run, sids)))
        case "ask":
            state.leave("pages/routes.py", state.link(run=run.id, selection=_these(run, sids)))
        case "reached":
            parts.leave_for("mitigation", run, [selecting.one_of("reachable_by_reasoning", [1])])
        case "like" | "decide":
            _alike(run, what, sids[0])


def _these(run: Run, sids: Sequence[str]) -> Filter:
    return Filter((Term("sid", "in", tuple(sids)) if len(sids) == 1 else clusters.pick_samples(run.id, sids),))


def _alike(run: Run, what: str, sid: str) -> None:
    """To the treatment of every sample with the row's cause, or to its contradiction group."""
    row = samples.sample(run.id, sid, Filter()).values
    if what == "decide":
        number = float(row["group"])
        parts.leave_for("contradictions", run, [selecting.between("group", number, number)])
    else:
        parts.leave_for("mitigation", run, [selecting.one_of("cause", [row["cause"]])])


@st.dialog("Override the verdict")
def _override(run: Run, sids: Sequence[str]) -> None:
    st.caption(
        f"{counted(len(sids), 'sample')}. Your review stands beside the verdict and is kept when it is judged again."
    )
    key = [state.key("acting", name) for name in ("status", "cause", "author", "reason")]
    statuses = {name: charts.label_of(charts.STATUS[name]) for name in people.statuses()}
    names = {cause: charts.cause_name(cause) for cause in causes.values()}
    status = forms.choose(st, "Status", statuses, key[0], placeholder="As judged")
    cause = forms.choose(st, "Cause", names, key[1], placeholder="As judged")
    author = forms.author(key[2])
    reason = st.text_area("Reason", key=key[3], max_chars=2000, height=80)
    if st.button("Save", type="primary", icon=":material/save:", key=state.key("acting", "save")):
        with errors.shown():
            people.override_all(run.id, sids, status, cause, author, reason or "")
            state.remember_author(author)
            rowlist.clear()
            st.rerun()


@st.dialog("Tag")
def _tag(run: Run, sids: Sequence[str]) -> None:
    st.caption(f"{counted(len(sids), 'sample')}. Tags can be filtered by and stand in every export.")
    known = [tag for tag, _ in people.tag_counts(run.id, Filter())]
    tags = st.multiselect(
        "Tags", known, key=state.key("acting", "tags"), accept_new_options=True, placeholder="Choose or type a tag"
    )
    author = forms.author(state.key("acting", "tagger"))
    with st.container(horizontal=True):
        add = st.button(
            "Add", type="primary", icon=":material/label:", key=state.key("acting", "add"), disabled=not tags
        )
        remove = st.button("Remove", icon=":material/label_off:", key=state.key("acting", "remove"), disabled=not tags)
    if add or remove:
        with errors.shown():
            if add:
                people.add_tags(run.id, sids, tags, author)
            else:
                people.remove_tags(run.id, sids, tags)
            state.remember_author(author)
            rowlist.clear()
            st.rerun()
