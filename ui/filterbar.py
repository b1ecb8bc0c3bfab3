"""The one filter of all pages: what stands, what can be chosen with counts, and clearing it.

The address is the truth. Each widget is set from it before it is drawn and writes back to it when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from core.filters import describe
from core.services import causes, words
from core.services.causes import look as cause_look
from core.types import Column, Filter, Look, Run, Term
from ui import cached, charts, markup, selecting, state

# Values offered in one box; rarer ones are found with the text search or the address.
VALUES = 200
# Columns whose values are chips that always stand; everything else is counted when it is asked for.
CHIPS = ("status", "cause")


def apply(run: Run, selection: Filter) -> None:
    """Make ``selection`` the filter, on the first page of the list; one that stands already changes nothing.

    A browser reports widgets of the page before until it knows that they are gone, and their callbacks run: who goes
    from row to row quickly would be thrown back to the list.
    """
    if selection != state.selection(run.columns):
        state.go(state.link(run=run.id, selection=selection))


def narrow(run: Run, selection: Filter, terms: Sequence[Term]) -> None:
    """Where a selection on the page asks for ``terms``, make them part of the filter and draw the page anew."""
    if terms:
        apply(run, selecting.with_terms(selection, terms))
        st.rerun()


def chips(run: Run, selection: Filter) -> None:
    """The conditions that stand, each with a way to remove it; nothing where there are none."""
    if not selection.terms and not selection.text:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for i, term in enumerate(selection.terms):
            label = markup.md(markup.line(_told(run, term), 60))
            rest = selecting.without(selection, term)
            _chip(label, state.key("chip", i), run, rest)
        if selection.text:
            _chip(
                markup.md(f"text contains “{markup.line(selection.text, 40)}”"),
                state.key("chip", "text"),
                run,
                replace(selection, text=""),
            )
        empty = Filter(sort=selection.sort, descending=selection.descending)
        st.button("Clear all", key=state.key("chip", "clear"), type="tertiary", on_click=apply, args=(run, empty))


def _told(run: Run, term: Term) -> str:
    """A condition in words; causes by the names they have everywhere else."""
    if term.column == "cause" and term.op == "in" and all(term.values):
        return f"Cause is {' or '.join(cause_look(str(v)).label for v in term.values)}"
    return describe(Filter((term,)), run.columns, words.value)


def _chip(label: str, key: str, run: Run, rest: Filter) -> None:
    st.button(
        label, key=key, icon=":material/close:", icon_position="right", help="Remove", on_click=apply, args=(run, rest)
    )


def bar(run: Run, selection: Filter, beside: Callable[[], None] = lambda: None) -> None:
    """Everything that can be filtered, in one line: text, cause, status, and every other column with counts.

    Args:
        beside: draws what else belongs into the line.
    """
    counts = dict(cached.facets(run, state.query(), CHIPS).get("cause", []))
    listed = [c for c in (*causes.values(), *selecting.values_of(selection, "cause"), *counts) if c is not None]
    kept = [c for c in dict.fromkeys(listed) if counts.get(c) or c in selecting.values_of(selection, "cause")]
    others = len({t.column for t in selection.terms} - {*CHIPS, "judged"})
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        _text(run, selection)
        if kept:
            with st.popover(_counted("Cause", len(selecting.values_of(selection, "cause"))), width="content"):
                pills(run, selection, "cause", {name: (cause_look(name), counts.get(name, 0)) for name in kept})
        with st.popover(_counted("Status", len(selecting.values_of(selection, "status"))), width="content"):
            choose_statuses(run, selection)
        state.keep(state.key("filter", "more"))  # another count makes another label, which would close the drawer
        drawer = st.popover(
            _counted("More filters", others), icon=":material/tune:", width="content",
            key=state.key("filter", "more"), on_change="rerun",
        )  # fmt: skip
        if drawer.open:
            with drawer:
                _sort(run, selection)
                _rest(run, selection)
        beside()


def _counted(label: str, n: int) -> str:
    return f"{label} ({n})" if n else label


def _rest(run: Run, selection: Filter) -> None:
    """Every other column that can be filtered; counted and drawn only while it is looked at."""
    shown = [c for c in run.columns if c.kind in ("category", "flag") and c.indexed and c.name not in CHIPS]
    counts = cached.facets(run, state.query(), [c.name for c in shown])
    for column in shown:
        if _differs(counts.get(column.name, []), selection, column):
            _values(run, selection, column, counts.get(column.name, []))
    _ranges(run, selection)


def choose_categories(run: Run, selection: Filter, names: Sequence[str]) -> None:
    """Boxes for these category columns, as far as the run has them and there is anything to choose."""
    counts = cached.facets(run, state.query(), names)
    by_name = {c.name: c for c in run.columns}
    offered = [by_name[n] for n in names if n in by_name and _differs(counts.get(n, []), selection, by_name[n])]
    for box, column in zip(st.columns(max(len(offered), 1)), offered, strict=False):
        with box:
            _values(run, selection, column, counts.get(column.name, []))


def choose_statuses(run: Run, selection: Filter, labelled: bool = False) -> None:
    """The four statuses with their counts."""
    counts = dict(cached.facets(run, state.query(), CHIPS).get("status", []))
    offered = {name: (look, counts.get(name, 0)) for name, look in charts.STATUS.items()}
    pills(run, selection, "status", offered, labelled)


def choose_range(run: Run, selection: Filter, name: str) -> None:
    """Bounds for one number column, if the run has it."""
    for column in run.columns:
        if column.name == name and column.kind == "number":
            _range(run, selection, column)


def _differs(counts: Sequence[tuple[Any, int]], selection: Filter, column: Column) -> bool:
    """Whether there is anything to choose: two values, or a condition that stands."""
    return len(counts) > 1 or any(t.column == column.name for t in selection.terms)


def _label(column: Column, value: Any) -> str:
    if value is None:
        return "not measured" if column.kind == "flag" else "not given"
    if column.kind == "flag":
        return "yes" if int(value) else "no"
    return markup.line(words.value(column.name, value), 60)


def _choose(run: Run, column: str, key: str, values: Sequence[Any]) -> None:
    """Callback: the places picked in a widget become the column's values."""
    picked = [values[i] for i in state.get(key) or ()]
    selection = state.selection(run.columns)
    apply(run, selecting.with_terms(selection, [selecting.one_of(column, picked)]))


def pills(
    run: Run, selection: Filter, column: str, offered: Mapping[str, tuple[Look, int]], labelled: bool = False
) -> None:
    """Values to click, each with its look and count."""
    names = list(offered)
    key = state.key("filter", column)
    standing = selecting.values_of(selection, column)
    state.put(key, [names.index(v) for v in standing if v in names])
    st.pills(
        column.capitalize(),
        range(len(names)),
        selection_mode="multi",
        format_func=lambda i: (
            f"{offered[names[i]][0].mark} {markup.md(offered[names[i]][0].label)}  {offered[names[i]][1]:,}"
        ),
        key=key,
        on_change=_choose,
        args=(run, column, key, names),
        label_visibility="visible" if labelled else "collapsed",
    )


def _values(run: Run, selection: Filter, column: Column, counts: Sequence[tuple[Any, int]]) -> None:
    standing = selecting.values_of(selection, column.name)
    values = [v for v, _ in counts[:VALUES]]
    values += [v for v in standing if v not in values]
    by_value = dict(counts)
    key = state.key("filter", column.name)
    state.put(key, [values.index(v) for v in standing])
    st.multiselect(
        markup.md(column.label),
        range(len(values)),
        format_func=lambda i: f"{_label(column, values[i])}  ({by_value.get(values[i], 0):,})",
        key=key,
        on_change=_choose,
        args=(run, column.name, key, values),
        help=markup.md(column.help) or None,
        placeholder="All",
    )
    if len(counts) > VALUES:
        st.caption(f"The {VALUES} most frequent of {len(counts):,} values.")


def _text(run: Run, selection: Filter) -> None:
    key = state.key("filter", "q")
    state.put(key, selection.text)

    def search() -> None:
        standing = state.selection(run.columns)
        apply(run, replace(standing, text=(state.get(key) or "").strip()))

    st.text_input(
        "Text",
        key=key,
        on_change=search,
        placeholder="Search prompts, targets, outputs and ids",
        icon=":material/search:",
        label_visibility="collapsed",
        max_chars=500,
    )


def order_by(run: Run, selection: Filter, name: str) -> None:
    """Make a column the order; the other way round where it is that already."""
    apply(run, replace(selection, sort=name, descending=selection.sort == name and not selection.descending))


def sortable(run: Run) -> list[tuple[str, str]]:
    """(column, label) of what the table can be ordered by quickly."""
    return [("ordinal", "Training order")] + [(c.name, c.label) for c in run.columns if c.indexed]


def _sort(run: Run, selection: Filter) -> None:
    options = sortable(run)
    names = [n for n, _ in options]
    labels = dict(options)
    order, direction = state.key("filter", "sort"), state.key("filter", "direction")
    if selection.sort not in names:
        names.append(selection.sort)
    state.put(order, selection.sort)
    state.put(direction, "desc" if selection.descending else "asc")

    def change() -> None:
        standing = state.selection(run.columns)
        apply(run, replace(standing, sort=state.get(order), descending=state.get(direction) == "desc"))

    left, right = st.columns([2.6, 1.5], gap="xsmall", vertical_alignment="center")
    left.selectbox(
        "Order",
        names,
        format_func=lambda n: f"Order: {labels.get(n, n)}",
        key=order,
        on_change=change,
        label_visibility="collapsed",
    )
    right.segmented_control(
        "Direction",
        ("asc", "desc"),
        format_func={"asc": ":material/arrow_upward:", "desc": ":material/arrow_downward:"}.__getitem__,
        key=direction,
        on_change=change,
        required=True,
        label_visibility="collapsed",
        help="Ascending or descending",
    )


def _ranges(run: Run, selection: Filter) -> None:
    numbers = [c for c in run.columns if c.kind == "number" and c.indexed]
    if not numbers:
        return
    st.caption("Ranges. Leave a field empty for no limit.")
    for column in numbers:
        _range(run, selection, column)


def _range(run: Run, selection: Filter, column: Column) -> None:
    low_key, high_key = state.key("filter", column.name, "low"), state.key("filter", column.name, "high")
    low, high = selecting.range_of(selection, column.name)
    state.put(low_key, low)
    state.put(high_key, high)

    def change() -> None:
        term = Term(column.name, "range", (state.get(low_key), state.get(high_key)))
        apply(run, selecting.with_terms(state.selection(run.columns), [term]))

    name, first, second = st.columns([2, 1.4, 1.4], vertical_alignment="center")
    name.markdown(markup.md(column.label), help=markup.md(column.help) or None)
    for box, key, word in ((first, low_key, "from"), (second, high_key, "to")):
        box.number_input(
            f"{column.label} {word}",
            key=key,
            value=None,
            on_change=change,
            placeholder=word,
            format="%g",
            label_visibility="collapsed",
        )
