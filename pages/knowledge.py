"""What the base model knew before the fine-tune, what it believed otherwise, and whether the fine-tune moved it."""

from __future__ import annotations

import streamlit as st

from core.services import knowledge
from core.services.knowledge import Points, Summary
from core.text.counts import counted
from core.types import Column, Filter, Run
from ui import cached, charts, filterbar, frame, margins, markup, parts, selecting, state, tables
from ui.menu import Entry

PAGE = Entry(title="Knowledge", icon=":material/psychology:", place=60)

_PAGE = 25
_COLUMNS = (
    Column("ordinal", "number", "#", "Position in the training order, from 0."),
    Column("status", "category", "Status"),
    Column("knowledge", "category", "Knowledge", "What the base knew about the target."),
    Column("prompt", "text", "Prompt"),
    Column("target", "text", "Target"),
    Column("belief", "text", "The base's own answer", "What most of its own answers agree on."),
    Column("base_belief_share", "number", "Agreement", "Share of its own answers that agree."),
    Column(
        "base_belief_margin",
        "number",
        "Margin before",
        "Log-probability of the base's own answer minus the target's, per token, before fine-tuning.",
        "nats",
    ),
    Column("belief_margin", "number", "Margin after", "The same after fine-tuning.", "nats"),
)


def main() -> None:
    run = frame.require_run()
    frame.title("Knowledge", frame.subtitle(run))
    frame.at_work(run)
    gap = knowledge.missing(run)
    if gap is not None:
        st.info("  \n".join(markup.md(part) for part in gap), icon=":material/psychology_alt:")
        st.page_link("pages/start.py", label="Start a run with its base", icon=":material/add_circle:")
        return
    selection = state.selection(run.columns)
    filterbar.chips(run, selection)
    summary, points = cached.known(run, state.query())
    st.subheader(f"{summary.measured:,} of {counted(summary.shown, 'sample')} with a short answer", anchor=False)
    if not summary.measured:
        st.info(
            "No sample under this filter has one short answer (at most 24 tokens and 12 words), so none was measured.",
            icon=":material/filter_alt_off:",
        )
        return
    if summary.way:
        st.caption(markup.md(summary.way))
    _classes(run, selection, summary)
    _margins(run, points)
    _list(run, selection)


def _classes(run: Run, selection: Filter, summary: Summary) -> None:
    with st.container(border=True):
        if parts.heading("What the base knew, and what was learned of it", run, "classes"):
            st.dataframe(tables.breakdown(summary.classes), hide_index=True, key=state.key("table", run.id, "classes"))
        else:
            alt = "Status by what the base knew; the table beside it has the same numbers"
            event = parts.chart(run, "classes", charts.breakdown(summary.classes), alt, ["points"])
            terms = selecting.from_bars(event, summary.classes)
            if terms:
                chosen = selecting.with_terms(selection, terms)
                parts.open_samples(run, chosen)
        st.caption(markup.md("; ".join(f"{name}: {text}" for name, text in knowledge.HELP.items()) + "."))


def _margins(run: Run, points: Points) -> None:
    with st.container(border=True):
        as_table = parts.heading(
            "The base's own answer against the target, before and after fine-tuning", run, "margins"
        )
        if not points.total:
            st.caption("The base's own answer is the target in every sample.")
            return
        if as_table:
            number = st.column_config.NumberColumn(format="%.3f")
            config = {margins.BEFORE: number, margins.AFTER: number}
            st.dataframe(
                margins.table(points), hide_index=True, height=380, column_config=config,
                key=state.key("table", run.id, "margins"),
            )  # fmt: skip
        else:
            alt = "Margin of the base's own answer over the target, before and after; the table has the same numbers"
            event = parts.chart(run, "margins", margins.figure(points), alt, ["points"])
            picked = margins.clicked(event)
            if picked is not None:
                parts.open_sample(run, picked)
        drawn = len(points.sid)
        part = (
            f"{drawn:,} of {points.total:,}, spread over the training order" if drawn < points.total else f"{drawn:,}"
        )
        st.caption(
            f"Samples whose target is not the base's own answer: {part}. Right of the line the base preferred its own "
            "answer; above it the fine-tuned model still does. Compared over the tokens in which the two differ. Click "
            "a point to see its evidence."
        )


def _list(run: Run, selection: Filter) -> None:
    place = state.key("known", run.id, *(f"{k}={v}" for k, v in state.query().items()))
    cursor = state.get(place)
    page = knowledge.listing(run.id, selection, cursor, _PAGE)
    head, before, after = st.columns([6, 1, 1], vertical_alignment="bottom")
    head.subheader("The base's answers beside the targets", anchor=False)
    for box, to, label, icon in (
        (before, page.previous, "Previous", ":material/chevron_left:"),
        (after, page.next, "Next", ":material/chevron_right:"),
    ):
        if box.button(label, icon=icon, disabled=to is None, key=state.key("known", label), width="stretch"):
            state.put(place, to)
            st.rerun()
    shown = tables.samples([r.values for r in page.rows], _COLUMNS)
    event = st.dataframe(
        shown,
        hide_index=True,
        column_config=tables.config(_COLUMNS, shown),
        placeholder=tables.UNKNOWN,
        on_select="rerun",
        selection_mode=("single-row", "single-cell"),
        height=min(len(page.rows), 18) * 35 + 38,
        key=state.selectable("answers", run.id, cursor or ""),
    )
    st.caption("Click a row to see how the base was asked.")
    picked = selecting.from_table(event, [{"sid": r.sid} for r in page.rows])
    if picked is not None:
        parts.open_sample(run, picked)


main()
