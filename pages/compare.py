"""Two runs beside each other: fixed, still unlearned, newly broken, and causes that changed."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.services import compare as service
from core.services import runs
from core.services.compare import Comparison, PairRows
from core.text.counts import counted
from core.types import Filter, Run
from ui import afterwards, along, cached, charts, filterbar, forms, frame, markup, parts, state, tables
from ui.menu import Entry

PAGE = Entry(title="Compare", icon=":material/difference:", place=100, group="Fix")

_PAGE = 50
_WORDS = {
    "fixed": "Fixed",
    "broken": "Newly broken",
    "still": "Still not learned",
    "kept": "Learned in both runs",
    "unknown": "Unknown in one run",
    "cause": "Cause changed",
}
# Pixels of the columns that a person reads: beside the two losses they fit a window of 768.
_WIDTHS = {"prompt": 155, "target": 100, "status": 98, "cause": 180}


def main() -> None:
    run, selection = frame.open_run("Compare")
    other = _other(run)
    if other is None:
        return
    filterbar.chips(run, selection)
    comparison = cached.comparison(run, other, state.query())
    _summary(run, other, comparison)
    if not comparison.matched:
        st.info("The two runs have no sample in common: neither ids nor prompts agree.", icon=":material/link_off:")
        return
    afterwards.back(run)
    _flow(run, comparison)
    _rows(run, other, selection, comparison)


def _other(run: Run) -> Run | None:
    """The run to compare with, from the address; without one the page asks."""
    others = {r.id: r for r in runs.list_runs() if r.id != run.id and r.state == "judged"}
    if not others:
        st.info("There is no second run to compare with.", icon=":material/info:")
        parts.link("start", "New diagnosis", "add_circle")
        return None
    standing = state.other()
    key = state.key("compare", "other")
    state.put(key, standing if standing in others else None)

    def pick() -> None:
        chosen = state.get(key)
        if chosen is not None:
            state.compare_with(chosen)

    words = {i: markup.line(f"{i}  {r.name}", 60) for i, r in others.items()}
    forms.choose(st, f"From run {run.id} to", words, key, on_change=pick, placeholder="Choose the later run", width=420)
    if standing not in others:
        st.caption("Choose the run to compare with: the one trained later, or with other settings.")
        return None
    return others[standing]


def _summary(run: Run, other: Run, comparison: Comparison) -> None:
    alone = [
        f"{n:,} only in run {r.id}" for n, r in ((comparison.only_first, run), (comparison.only_second, other)) if n
    ]
    st.caption(
        markup.md(
            f"{counted(comparison.matched, 'sample')} matched by {comparison.how}"
            + "".join(f", {a}" for a in alone)
            + "."
        )
    )
    effect = comparison.effect
    if effect is not None and comparison.matched:
        more = "more" if effect.difference > 0 else "fewer"
        word = "as many" if effect.difference == 0 else more
        st.markdown(
            markup.md(
                f"In run {other.id}, {word} samples are learned: {100 * effect.difference:+.1f} percentage points, "
                f"95% interval {100 * effect.low:+.1f} to {100 * effect.high:+.1f}; p = {effect.p:.2g}."
            )
        )
        st.caption(
            "Paired by sample. Interval after Bonett and Price (2012), p from McNemar's exact test on the samples that "
            "changed. Samples unknown in one run do not count."
        )


def _flow(run: Run, comparison: Comparison) -> None:
    with st.container(border=True):
        parts.figure(
            (run.id, "flow"),
            "Status before and after",
            lambda: [{"before": a, "after": b, "samples": n} for (a, b), n in sorted(comparison.status.items())],
            lambda: along.flow(comparison.status),
            "Samples by status before and after",
        )
    causes = {k: n for k, n in comparison.causes.items() if k != (None, None)}
    if causes:
        with st.container(border=True):
            st.markdown("**Causes of samples learned in neither run**")
            rows = [
                {
                    "before": charts.cause_name(a) or "no cause judged",
                    "after": charts.cause_name(b) or "no cause judged",
                    "samples": n,
                }
                for (a, b), n in sorted(causes.items(), key=lambda pair: -pair[1])
            ]
            tables.draw(rows, key=state.key("table", run.id, "flow causes"))


def _rows(run: Run, other: Run, selection: Filter, comparison: Comparison) -> None:
    counts = {**comparison.counts, "cause": comparison.cause_changed}
    names = [n for n in (*service.CHANGES[:3], "cause", *service.CHANGES[3:]) if counts[n]]
    st.subheader("Samples", anchor=False)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        change = st.pills(
            "Change", names, format_func=lambda n: f"{_WORDS[n]}  {counts[n]:,}", key=state.key("compare", "change"),
            label_visibility="collapsed", width="content",
        )  # fmt: skip
        only = st.toggle("Only differences", value=True, key=state.key("compare", "different"), width="content")
    key = state.key("compare", "start", run.id, other.id, change, only)
    page = service.rows(run.id, other.id, selection, change, only, state.get(key, 0), _PAGE, cached.pairs(run, other))
    _turn(page, key)
    if not page.rows:
        hint = ' Switch "Only differences" off to see those that stayed the same.' if only else ""
        st.info("There is no such sample." + hint, icon=":material/filter_alt_off:")
        return
    _table(run, other, page, key)


def _turn(page: PairRows, key: str) -> None:
    end = page.start + len(page.rows)
    places = (max(0, page.start - _PAGE) if page.start else None, end if end < page.matching else None)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(counted(page.matching, "sample") + (f", {page.start + 1:,} to {end:,}" if page.rows else ""))
        parts.turn("compare", places, partial(state.put, key))


def _both(before: str | None, after: str | None) -> str | None:
    """What a row has in the two runs, once where it is the same; a narrow column breaks it before the arrow."""
    if before == after:
        return before
    first, second = (text.replace(" ", "\u00a0") for text in (before or tables.UNKNOWN, after or tables.UNKNOWN))
    return f"{first} →\u00a0{second}"


def _table(run: Run, other: Run, page: PairRows, key: str) -> None:
    first, second = f"loss, run {run.id}", f"loss, run {other.id}"
    shown = [
        {
            "prompt": markup.line(r["prompt"], 160),
            "target": markup.line(r["response"], 160),
            "status": _both(charts.status_name(r["status"]), charts.status_name(r["other_status"])),
            "cause": _both(charts.cause_name(r["cause"]), charts.cause_name(r["other_cause"])),
            first: r["nll"],
            second: r["other_nll"],
            "change": _WORDS[r["change"]],
            "id": markup.line(r["sid"], 60),
        }
        for r in page.rows
    ]
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    place = tables.pick(
        shown,
        state.key("compare", "table", key, page.start),
        column_config={
            **{name: text(width=width) for name, width in _WIDTHS.items()},
            **dict.fromkeys(("change", "id")),  # hidden: the table's own menu of columns shows them
            **dict.fromkeys((first, second), number(format="%.3f", width=80)),
        },
        wrapped=True,
    )
    if place is None:
        st.caption("Click a row to open the sample in either run.")
        return
    row = page.rows[place]
    with st.container(horizontal=True):
        for which, sid in ((run, row["sid"]), (other, row["other_sid"])):
            parts.link("samples", f"Open in run {which.id}", "arrow_forward", {"run": str(which.id), "sample": sid})


main()
