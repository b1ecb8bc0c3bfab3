"""Rows that ask the same and answer otherwise, group by group: both sides, the evidence, and what is decided."""

from __future__ import annotations

import streamlit as st

from core.filters import to_query
from core.services import contradictions
from core.services.views import ContradictionGroup
from core.text.counts import counted
from core.types import Filter, Run, Term
from ui import downloads, errors, evidence, filterbar, forms, frame, markup, parts, state
from ui.menu import Entry

PAGE = Entry(title="Contradictions", icon=":material/compare_arrows:", place=85, group="Fix")

_PAGE = 10
# Characters of a question in the line of its group: about one line of a wide page.
_TITLE = 80
_ANSWER = 30
_ORDERS = {"size": "Largest first", "strength": "Most certain first"}
_KINDS = {
    "number": "two numbers",
    "choice": "two options",
    "list": "two lists",
    "short": "two short answers",
    "long": "a difference inside two long answers",
    "same": "two answers",
}


def main() -> None:
    run, selection = frame.open_run("Contradictions")
    filterbar.chips(run, selection)
    head, order_at, ways = st.columns([3, 2, 2.2], vertical_alignment="bottom")
    order = forms.choose(order_at, "Order", _ORDERS, state.key("groups", "order"), "size")
    number = _page_number(run)
    listed = contradictions.groups(run.id, selection, order, number, _PAGE)
    if not listed.measured:
        st.info(
            "This run was made before contradictions were measured. Start it again to see them.", icon=":material/info:"
        )
        return
    head.subheader(counted(listed.total, "group"), anchor=False)
    pages = max(1, -(-listed.total // _PAGE))
    places = [step if 0 <= step < pages else None for step in (number - 1, number + 1)]
    with ways, st.container(horizontal=True, horizontal_alignment="right"):
        parts.turn("groups", places, lambda step: state.go(state.link(run=run.id, cursor=str(step))))
    if not listed.groups:
        _nothing(selection)
    for place, group in enumerate(listed.groups):
        _group(run, group, opened=place == 0)
    links = [downloads.of_contradictions(run, to_query(selection))] if listed.groups else []
    if listed.decided:
        links += downloads.of_decisions(run, listed.decided)
    if links:
        downloads.draw(links, key=state.key("decisions"))
    if listed.groups and not contradictions.judge_model():
        st.caption("A language model of your own can comment on groups: set LACUNA_JUDGE_URL (see the README).")
    st.caption(
        "Groups are found by wording: the rare words, names and numbers that two prompts share or lack, together with "
        "their closeness in meaning. A rewording that shares no rare word may be missed, and so may a language that "
        "the encoder does not know."
    )


def _page_number(run: Run) -> int:
    cursor = state.cursor() or "0"
    return int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 7 else 0


def _nothing(selection: Filter) -> None:
    if selection.terms or selection.text:
        st.info(
            "No group has a row that passes this filter. Remove a condition above.", icon=":material/filter_alt_off:"
        )
    else:
        st.success("No two rows ask the same question and contradict each other.", icon=":material/check:")


def _group(run: Run, group: ContradictionGroup, opened: bool) -> None:
    """One line a group; its evidence and what is decided below it, once opened."""
    title = markup.md(_title(group))
    # The icon says that a decision is made; in the title it would make the group another one and close it.
    icon = ":material/compare_arrows:" if group.decision is None else ":material/gavel:"
    with st.expander(title, opened, icon=icon, key=state.key("group", group.number, "open")):
        top, rows, decide = st.columns([6, 1.3, 1.3], vertical_alignment="center")
        top.markdown(
            f"**Group {group.number}** · {counted(group.size, 'row')}, {counted(len(group.sides), 'answer')} · "
            f"contradiction **{group.strength:.2f}**"
        )
        if rows.button(
            "Samples", icon=":material/table_rows:", key=state.key("group", group.number, "rows"), width="stretch"
        ):
            selection = Filter((Term("group", "range", (float(group.number), float(group.number))),))
            parts.open_samples(run, selection)
        with decide, st.popover("Decide", icon=":material/gavel:", width="stretch"):
            _decide(run, group)
        evidence.text(group.question, "Question")
        evidence.sides(group.sides, group.question, group.final_takes, group.base_takes)
        if len(group.sides) > 6:
            st.caption(f"The samples hold {counted(len(group.sides) - 6, 'more answer')}.")
        st.caption(markup.md(_why(run, group)))
        _decision(run, group)
        _comment(run, group)


def _title(group: ContradictionGroup) -> str:
    """What is asked, and the two answers that most rows give."""
    asked = markup.line(group.question, _TITLE)
    if len(group.sides) < 2:
        return asked
    one, other = (f"“{markup.line(side.answer, _ANSWER)}”" for side in group.sides[:2])
    more = f" and {len(group.sides) - 2:,} more" if len(group.sides) > 2 else ""
    return f"{asked}  {one} against {other}{more}"


def _why(run: Run, group: ContradictionGroup) -> str:
    """One line: how sure, and on what."""
    words = [f"Same question {group.same:.2f}"]
    if group.verbatim:
        words.append("the same text")
    elif group.similarity is not None:
        words.append(f"cosine {group.similarity:.2f}")
    if group.shared:
        words.append("both contain " + ", ".join(f"“{markup.line(w, 30)}”" for w in group.shared[:3]))
    for side in group.only:
        if side:
            words.append("only one contains " + ", ".join(f"“{markup.line(w, 30)}”" for w in side[:3]))
    words.append(f"answers differ {group.differ:.2f} ({_KINDS.get(group.kind, group.kind)})")
    if group.differs:
        words.append("; ".join(f"“{markup.line(a, 40)}” against “{markup.line(b, 40)}”" for a, b in group.differs[:2]))
    words.append(f"both may be right {group.both_valid:.2f}")
    if run.spec.final.is_nothing:
        return " · ".join(words)
    if group.base_takes is None:
        words.append("the base's side is not measured")
    if group.final_takes is None:
        words.append("the fine-tuned model takes neither side")
    return " · ".join(words)


def _decide(run: Run, group: ContradictionGroup) -> None:
    options = [*(f"keep {s.letter}" for s in group.sides[:6]), "both_valid", "drop"]
    names = {**{f"keep {s.letter}": f"Keep {s.letter}, drop the others" for s in group.sides}, **contradictions.CHOICES}
    key = state.key("decide", run.id, group.key[:16])
    chosen = st.radio("Decision", options, format_func=names.__getitem__, key=f"{key}:choice", index=None)
    author = forms.author(f"{key}:author", label="Your name")
    note = st.text_input("Reason", key=f"{key}:note", max_chars=400)
    thing = ("decision", run.id, group.key)
    seen = state.seen(thing, None if group.decision is None else group.decision.created)
    if st.button("Save", key=f"{key}:save", type="primary", disabled=chosen is None or not (author).strip()):
        choice, _, side = str(chosen).partition(" ")
        with errors.shown():
            state.forget_seen(thing)
            contradictions.decide(run.id, group.number, choice, side or None, author, note or "", seen)
            st.rerun()
    if not (author).strip():
        st.caption("A decision needs a name, so that others know whom to ask.")


def _decision(run: Run, group: ContradictionGroup) -> None:
    made = group.decision
    if made is None:
        return
    box, undo = st.columns([6, 1], vertical_alignment="center")
    letter = next((s.letter for s in group.sides if set(s.members) & set(made.kept)), "")
    what = f"Keep {letter}" if made.choice == "keep" else contradictions.CHOICES[made.choice]
    reason = f": {markup.line(made.note, 200)}" if made.note else ""
    box.success(markup.md(f"{what}, decided by {markup.line(made.author, 60)}{reason}"), icon=":material/gavel:")
    if undo.button("Undo", icon=":material/undo:", key=state.key("undo", group.key[:16]), width="stretch"):
        contradictions.undo(run.id, made.key)
        st.rerun()


def _comment(run: Run, group: ContradictionGroup) -> None:
    """What a language model said about the group, and the button that asks it; nothing where none is configured."""
    model = contradictions.judge_model()
    if not model:
        return
    comment = group.comment
    if comment is not None:
        evidence.text(comment.text, f"Comment by {markup.line(comment.model, 60)}; no verdict uses it")
        if comment.shortened:
            st.caption("The group is long: the model saw only part of its texts.")
    words = "Ask for another comment" if comment is not None else "Ask for a comment"
    if st.button(
        markup.md(f"{words} ({markup.line(model, 40)})"),
        icon=":material/chat_bubble:",
        key=state.key("comment", group.key[:16]),
        type="tertiary",
        help="Sends the questions and answers of this group to the language model that Lacuna was started with.",
    ):
        with errors.shown():
            with st.spinner("The model is reading the group"):
                contradictions.ask_judge(run.id, group.number)
            st.rerun()


main()
