"""What people say: a review of one sample, filters kept under a name."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.filters import BY_PEOPLE, by_people
from core.services import causes, people
from core.services.views import SampleView
from core.types import Filter, Run
from ui import charts, errors, filterbar, forms, markup, progress, selecting, state


def judgement(run: Run, view: SampleView) -> None:
    """A person's review of the sample, and the form for it."""
    sid, verdict = view.sample.id, view.verdict
    review = people.overrides(run.id, [view.sample.ordinal]).get(view.sample.ordinal)
    if review is not None:
        words = []
        if review.status is not None:
            same, judged = review.status == verdict.status, charts.STATUS[verdict.status].label.lower()
            words.append(
                f"{charts.STATUS[review.status].label.lower()} ({'as judged' if same else f'judged {judged}'})"
            )
        if review.cause is not None:
            judged = charts.cause_name(verdict.cause) or "none"
            same = review.cause == verdict.cause
            words.append(f"{charts.cause_name(review.cause)} ({'as judged' if same else f'judged {judged}'})")
        st.info(
            f"**{markup.md(review.author)}** reviewed this: {markup.md(', '.join(words))}. "
            f"{markup.md(markup.clip(review.reason, 2000))} :gray[{markup.md(progress.when(review.created))}]",
            icon=":material/person:",
        )
    with st.expander("Your review" if review is None else "Change your review", icon=":material/rate_review:"):
        _form(run, sid, review)


def _form(run: Run, sid: str, review: people.Override | None) -> None:
    keys = {name: state.key("judge", run.id, sid, name) for name in ("status", "cause", "author", "reason")}
    left, right = st.columns(2)
    marks = {s: charts.label_of(charts.STATUS[s]) for s in people.statuses()}
    names = {cause: charts.cause_name(cause) for cause in causes.values()}
    held = (review.status, review.cause) if review else (None, None)
    status = forms.choose(left, "Status", marks, keys["status"], held[0], placeholder="As judged")
    cause = forms.choose(right, "Cause", names, keys["cause"], held[1], placeholder="As judged")
    author = forms.author(keys["author"], review.author if review else "", box=left)
    reason = right.text_area(
        "Reason", value=review.reason if review else "", key=keys["reason"], max_chars=2000, height=80
    )
    thing = ("review", run.id, sid)
    now = None if review is None else review.created
    seen = state.seen(thing, now)
    with st.container(horizontal=True):
        if st.button("Save", type="primary", key=state.key("judge", "save"), icon=":material/save:"):
            with errors.shown():
                state.forget_seen(thing)
                people.override(run.id, sid, status, cause, author, reason or "", seen)
                state.remember_author(author)
                st.rerun()
        if review is not None and st.button("Withdraw", key=state.key("judge", "withdraw"), icon=":material/undo:"):
            with errors.shown():
                state.forget_seen(thing)
                people.withdraw(run.id, sid, seen)
                state.drop(state.key("judge", run.id, sid))
                st.rerun()
    st.caption("Your review is kept when the run is judged again. It stands beside the verdict and does not change it.")


def agreement(run: Run) -> None:
    """How often verdicts agree with reviews, where there are any."""
    shares = people.agreement(run.id)
    if not shares:
        return
    parts = [
        f"{field} {share.k:,} of {share.n:,} ({100 * share.low:.0f} to {100 * share.high:.0f}%)"
        for field, share in shares.items()
    ]
    st.caption(f":material/person: Verdicts that agree with reviews: {markup.md('; '.join(parts))}.")


def switch(run: Run, selection: Filter) -> None:
    """The switch that lets reviews count in place of verdicts, in the filter and what follows, where there are any."""
    if by_people(selection) or people.agreement(run.id):
        _switch(run, selection)


def _switch(run: Run, selection: Filter) -> None:
    key = state.key("judged", run.id)
    state.put(key, by_people(selection))

    def change() -> None:
        standing = state.selection(run.columns)
        rest = selecting.without(standing, BY_PEOPLE)
        chosen = replace(rest, terms=(*rest.terms, BY_PEOPLE)) if state.get(key) else rest
        filterbar.apply(run, chosen)

    st.toggle(
        "Use my judgement", key=key, on_change=change,
        help="Where a person reviewed a sample, their status and cause count in place of the verdict's: in filters, "
        "counts, recipes and exports.",
    )  # fmt: skip


def filters(run: Run, selection: Filter) -> None:
    """Filters kept under a name: apply one, save the current one, delete one."""
    with st.popover("Saved filters", icon=":material/bookmark:", width="content"):
        saved_filters = people.saved_filters()
        if not saved_filters:
            st.caption("No filter is saved yet.")
        for saved in saved_filters:
            open_at, bin = st.columns([6, 1])
            if open_at.button(
                markup.md(markup.line(saved.name, 60)), key=state.key("saved", saved.id), width="stretch",
                help=markup.md(markup.line(saved.query, 200)),
            ):  # fmt: skip
                with errors.shown():
                    filterbar.apply(run, people.open_filter(run.id, saved))
                    st.rerun()
            if bin.button(
                "Delete", key=state.key("saved", "delete", saved.id), icon=":material/delete:", type="tertiary"
            ):
                people.delete_filter(saved.id)
                st.rerun()
        name = st.text_input("Name", key=state.key("saved", "name"), max_chars=120, placeholder="Name for this filter")
        standing = bool(selection.terms or selection.text or selection.sort != "ordinal" or selection.descending)
        if st.button(
            "Save the current filter",
            key=state.key("saved", "save"),
            icon=":material/bookmark_add:",
            disabled=not standing,
        ):
            with errors.shown():
                people.save_filter(name or "", selection)
                st.rerun()
