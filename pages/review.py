"""The review queue: a round of rows that would teach the diagnosis most, and labels as files."""

from __future__ import annotations

import streamlit as st

from core.services import causes, review, samples
from core.services import people as reviews
from core.text.counts import counted
from core.types import Filter, Run
from ui import (
    cached,
    charts,
    errors,
    evidence,
    forms,
    frame,
    label_files,
    markup,
    parts,
    people,
    rowlist,
    state,
    tables,
)
from ui.menu import Entry

PAGE = Entry(title="Review", icon=":material/rate_review:", place=82, group="Fix")


def main() -> None:
    run, _ = frame.open_run("Review")
    st.caption(
        f"The {review.ROUND} rows whose review would teach the diagnosis most: the least sure verdicts, and of those "
        "the ones that stand for most rows. Your reviews stand beside the verdicts and do not change them."
    )
    if word := state.heard():
        st.success(markup.md(word), icon=":material/check_circle:")
    people.agreement(run)
    queue = _round(run)
    if run.spec.final.is_nothing:
        st.info("No model was given, so there is no verdict to review.", icon=":material/info:")
    elif not queue.rows:
        st.info("No verdict of this run needs a review: nothing was left unlearned.", icon=":material/check_circle:")
    else:
        _progress(run, queue)
        _row(run, queue)
        _list(run, queue)
    label_files.draw(run, queue.number)


def _key(run: Run, name: str) -> str:
    return state.key("review", run.id, name)


def _round(run: Run) -> review.Queue:
    return cached.review_queue(run, state.get(_key(run, "round")))


def _progress(run: Run, queue: review.Queue) -> None:
    def go_to(number: int | None) -> None:
        state.put(_key(run, "round"), number)
        state.put(_key(run, "sid"), None)

    text = f"Round {queue.number} of {queue.rounds:,}: {queue.done} of {counted(len(queue.rows), 'row')} reviewed"
    places = (
        queue.number - 1 if queue.number > 1 else None,
        queue.number + 1 if queue.number < queue.rounds else None,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(queue.done / len(queue.rows), text=text, width="stretch")
        parts.turn("round", places, go_to)


def _row(run: Run, queue: review.Queue) -> None:
    """The row that is open: the one chosen in the list, else the first that was not reviewed."""
    chosen = state.get(_key(run, "sid"))
    row = next((r for r in queue.rows if r.sid == chosen), None) or next(
        (r for r in queue.rows if not r.reviewed), None
    )
    if row is None:
        st.success("Every row of this round is reviewed.", icon=":material/check_circle:")
        return
    with st.container(border=True):
        excerpt = cached.excerpts(run, [samples.sample(run.id, row.sid, Filter()).values])[row.sid]
        st.markdown(f"**Prompt**  \n{markup.md(markup.clip(row.prompt, 4000))}")
        if excerpt.output is None:
            st.markdown(f"**Target**  \n{markup.md(markup.clip(row.response, 4000))}")
        else:
            evidence.comparison(markup.clip(excerpt.target, 4000), markup.clip(excerpt.output, 4000))
        sure = "" if row.confidence is None else f"confidence {rowlist.sure(row.confidence)}"
        looks = [(charts.STATUS[row.status], "")]
        evidence.badges(looks if row.cause is None else [*looks, (causes.look(row.cause), sure)])
        st.markdown(markup.md(excerpt.sentence))
        st.caption(f"Doubt {row.doubt:.2f}; {counted(row.alike, 'unlearned row')} of this pattern.")
        _form(run, row)
        _walk(run, queue, row)


def _walk(run: Run, queue: review.Queue, row: review.Queued) -> None:
    """The ways on from the open row, without saying anything about it."""

    def go_to(sid: str) -> None:
        state.put(_key(run, "sid"), sid)

    sids = [r.sid for r in queue.rows]
    place = sids.index(row.sid)
    ways = (("Previous row", "chevron_left", "K", place - 1), ("Next row", "chevron_right", "J", place + 1))
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, icon, key, to in ways:
            inside = 0 <= to < len(sids)
            st.button(
                label, icon=f":material/{icon}:", key=_key(run, label), type="tertiary", shortcut=key,
                disabled=not inside, on_click=go_to, args=(sids[to] if inside else "",),
            )  # fmt: skip
        parts.link("samples", "All evidence", "open_in_new", state.link(run=run.id, sample=row.sid))


def _form(run: Run, row: review.Queued) -> None:
    author = forms.author(_key(run, "author"))
    left, middle, right = st.columns(3)
    marks: dict[str | None, str] = {None: "As judged"}
    with left:
        status = st.selectbox(
            "Status", [*marks, *charts.STATUS], format_func=lambda s: marks.get(s) or charts.label_of(charts.STATUS[s]),
            key=_key(run, f"status:{row.sid}"),
        )  # fmt: skip
    with middle:
        cause = st.selectbox(
            "Cause", [*marks, *causes.values()], format_func=lambda c: marks.get(c) or charts.cause_name(c),
            key=_key(run, f"cause:{row.sid}"),
        )  # fmt: skip
    note = right.text_input("Reason", key=_key(run, f"note:{row.sid}"), max_chars=2000)
    with st.container(horizontal=True):
        agree = st.button(
            "The verdict is right", icon=":material/check:", key=_key(run, "agree"), type="primary", shortcut="A"
        )
        save = st.button("Save this review", icon=":material/save:", key=_key(run, "save"), shortcut="S")
    if agree or save:
        with errors.shown():
            if agree:
                reviews.agree(run.id, row.sid, author)
            else:
                reviews.override(run.id, row.sid, status, cause, author, note or "")
            state.remember_author(author)
            state.put(_key(run, "sid"), None)
            st.rerun()


def _list(run: Run, queue: review.Queue) -> None:
    """The round as a table; a click opens the row above."""
    rows = [
        {
            "Reviewed": "yes" if row.reviewed else "",
            "Prompt": markup.line(row.prompt, 120),
            "Target": markup.line(row.response, 80),
            "Cause": charts.cause_name(row.cause),
            "Doubt": row.doubt,
            "Similar rows": row.alike,
        }
        for row in queue.rows
    ]
    key = state.selectable("review", run.id, queue.number, queue.done)
    picked = tables.pick(
        rows, key, wrapped=True,
        column_config={
            "Reviewed": st.column_config.TextColumn(width=70),
            "Prompt": st.column_config.TextColumn(width=155),
            "Target": st.column_config.TextColumn(width=145),
            "Cause": st.column_config.TextColumn(width=150),
            "Doubt": st.column_config.NumberColumn(format="%.2f", width=55),
            "Similar rows": st.column_config.NumberColumn(width=90),
        },
    )  # fmt: skip
    if picked is not None and state.get(_key(run, "sid")) != queue.rows[picked].sid:
        state.put(_key(run, "sid"), queue.rows[picked].sid)
        st.rerun()


main()
