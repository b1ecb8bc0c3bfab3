"""What follows from a run, before its figures: the decision, the causes by what fixing them gains, helped and hurt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import plotly.graph_objects as go
import streamlit as st

from core.filters import to_query
from core.services.causes import look as cause_look
from core.services.decision import EFFECTS, Decision, Effect, Gain
from core.text.counts import counted
from core.types import Column, Filter, Run
from ui import cached, charts, downloads, evidence, markup, parts, selecting, state
from ui.routes import address

_ICONS = {
    "ship": "rocket_launch",
    "pipeline": "plumbing",
    "data": "edit_note",
    "train": "model_training",
    "look": "search",
}
# What is drawn of an effect, the sign and the colour it has; what was kept is what the others leave.
_DRAWN = {"helped": ("circle", "learned"), "hurt": ("x", "unlearned"), "wasted": ("diamond", "partly")}
_MEANINGS = {
    "helped": "not given by the base, learned since",
    "hurt": "given by the base, not learned now",
    "wasted": "neither before nor after",
    "kept": "both before and after",
}


def headline(run: Run, selection: Filter, decision: Decision, gains: Sequence[Gain], disputed: int = 0) -> None:
    """The decision, first thing on the page, with the step that it asks for.

    Args:
        disputed: groups of rows that contradict each other, where nothing else is judged.
    """
    with st.container(border=True, horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(width="stretch", gap="xxsmall"):
            st.subheader(f":material/{_ICONS[decision.what]}: {decision.heading}", anchor=False)
            st.markdown(markup.md(decision.text))
        if disputed:
            _disputed(run, selection, disputed)
            return
        first = next((gain for gain in gains if gain.recipe), None)
        if first is None or decision.what == "ship":
            return
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            downloads.draw(
                [downloads.of_worklist(run, to_query(selection))], key=state.key("decision", "list"), quiet=True
            )
            these = _these(selection, first)
            label = f"Treat {counted(first.n, 'row')}: {cause_look(first.cause).label}"
            if st.button(markup.md(label), type="primary", icon=":material/healing:", key=state.key("decision", "go")):
                state.leave("pages/mitigation.py", state.link(run=run.id, selection=these))


def _disputed(run: Run, selection: Filter, n: int) -> None:
    with st.container(horizontal=True, width="content", vertical_alignment="center"):
        listed = downloads.of_contradictions(run, to_query(selection))
        downloads.draw([listed], key=state.key("decision", "disputed"), quiet=True)
        label = f"Look at {counted(n, 'group')}"
        if st.button(label, type="primary", icon=":material/compare_arrows:", key=state.key("decision", "look")):
            state.leave("pages/contradictions.py", state.link(run=run.id, selection=selection))


def _these(selection: Filter, gain: Gain) -> Filter:
    return selecting.with_terms(selection, [selecting.one_of("cause", [gain.cause])])


def causes(run: Run, selection: Filter, gains: Sequence[Gain]) -> None:
    """Every cause with what fixing it brings, its samples, its treatment and its export."""
    if not gains:
        return
    with st.container(border=True, gap="small"):
        st.markdown("**What to do, by what it brings**")
        for gain in gains:
            _cause(run, selection, gain)
        if all(gain.restored is None for gain in gains):
            st.caption(
                "No recipe is proven yet, so the order is by samples. *Prove it* on the mitigation page measures how "
                "many come back."
            )


def _cause(run: Run, selection: Filter, gain: Gain) -> None:
    these = _these(selection, gain)
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center",
        key=state.key("gain", gain.cause),
    ):  # fmt: skip
        with st.container(width="stretch", gap="xxsmall"):
            evidence.badges([(cause_look(gain.cause), _brings(gain))])
            st.caption(markup.md(gain.advice))
        with st.container(horizontal=True, width="content", gap="small", vertical_alignment="center"):
            if st.button("Show", key=state.key("gain", "show", gain.cause), help="The samples with this cause"):
                parts.open_samples(run, these)
            if gain.recipe and st.button("Treat", key=state.key("gain", "treat", gain.cause)):
                state.leave("pages/mitigation.py", state.link(run=run.id, selection=these))
            url = address(f"api/runs/{run.id}/samples.jsonl") + f"?{urlencode(to_query(these))}"
            rows = downloads.Link(label="Export", url=url, help="The original rows with this cause, as JSONL")
            downloads.draw([rows], key=state.key("gain", "export", gain.cause), quiet=True)


def _brings(gain: Gain) -> str:
    samples = counted(gain.n, "sample")
    share = gain.restored
    if share is None:
        return samples
    restored = f"{share.share:.0%} ({share.low:.0%} to {share.high:.0%})"
    beside = f"; {gain.beside}" if gain.beside else ""
    return f"{samples}; its recipe restored {restored}, so about {gain.rows:.0f}{beside}"


def has_effects(run: Run) -> bool:
    """Whether the base's answers were measured, so that there is anything to compare with."""
    return any(c.name == "base_greedy_exact" for c in run.columns)


def effects(run: Run, selection: Filter) -> None:
    """What fine-tuning helped, hurt and wasted, by stage or source; nothing where the base was not measured."""
    names = [c for c in run.columns if c.name in ("stage", "source") and _differs(run, c)]
    whole = cached.effects(run, state.query(), None)
    if not whole:
        st.caption("The base answered none of these samples.")
        return
    by = None
    if names:
        labels = {c.name: f"By {c.label.lower()}" for c in names}
        by = st.segmented_control(
            "By", list(labels), default=names[0].name, format_func=labels.__getitem__,
            key=state.key("effects", run.id), label_visibility="collapsed", required=True,
        ) if len(names) > 1 else names[0].name  # fmt: skip
    compared = [*whole, *(cached.effects(run, state.query(), by) if by else ())]
    event = parts.figure(
        (run.id, "effects"),
        "What fine-tuning helped, hurt and wasted, against the base",
        lambda: _table(compared, by or ""),
        lambda: chart(compared[: charts.MOST]),
        "Shares of samples helped, hurt and wasted by group",
        ["points"],
    )
    st.caption(
        f"Helped: {_MEANINGS['helped']}. Hurt: {_MEANINGS['hurt']}. Wasted: {_MEANINGS['wasted']}. The base gives an "
        "answer where greedy decoding gives the target. Lines are 95% bootstrap intervals."
    )
    _open(run, selection, compared, by, event)


def _differs(run: Run, column: Column) -> bool:
    return len(cached.facets(run, {}, [column.name]).get(column.name, [])) > 1


def _open(run: Run, selection: Filter, compared: Sequence[Effect], by: str | None, event: parts.Event | None) -> None:
    """The samples behind a point that was clicked; points carry ``[place, effect]``."""
    point = next((p["customdata"] for p in selecting.points_of(event) if p.get("customdata")), None)
    if point is None or not 0 <= int(point[0]) < len(compared):
        return
    group = compared[int(point[0])].group
    terms = [selecting.one_of("base_greedy_exact", [int(point[1] == "hurt")])]
    terms.append(selecting.one_of("status", ["learned"] if point[1] == "helped" else ["unlearned", "partly"]))
    if by and int(point[0]) > 0:
        terms.append(selecting.one_of(by, [group]))
    parts.open_samples(run, selection, terms)


def _names(compared: Sequence[Effect]) -> list[str]:
    first = "all samples"
    return [first if i == 0 else charts.name_of(e.group) for i, e in enumerate(compared)]


def _table(compared: Sequence[Effect], by: str) -> list[Mapping[str, Any]]:
    def words(effect: Effect, name: str) -> str:
        share = effect.shares[name]
        return f"{share.value:.0%}  ({share.low:.0%} to {share.high:.0%})"

    return [
        {by or "group": markup.line(name, 60), "samples": e.n} | {kind: words(e, kind) for kind in EFFECTS}
        for name, e in zip(_names(compared), compared, strict=True)
    ]


def chart(compared: Sequence[Effect]) -> go.Figure:
    """Shares of each group as points with their intervals; a click carries ``[place, effect]``."""
    labels = [f"{charts.plain(name, 20)}  ({e.n:,})" for name, e in zip(_names(compared), compared, strict=True)]
    top = max((e.shares[name].high for e in compared for name in _DRAWN), default=1.0)
    figure = charts.figure(
        30 * len(compared) + 90,
        {"range": [-0.02, min(1.02, top * 1.1)], "tickformat": ".0%"},
        charts.ticks(labels, range=[len(compared) - 0.5, -0.5], zeroline=False),
        legend=charts.LEGEND | charts.STILL,
    )
    for at, (name, (sign, status)) in enumerate(_DRAWN.items()):
        shares = [e.shares[name] for e in compared]
        colour = charts.STATUS[status].colour
        figure.add_scatter(
            x=[s.value for s in shares], y=[i + 0.2 * (at - 1) for i in range(len(compared))], mode="markers",
            name=name,
            marker={"color": colour, "symbol": sign, "size": 9},
            error_x=charts.interval(((s.value, s.low, s.high) for s in shares), thickness=2, width=4, color=colour),
            customdata=[[i, name, round(e.shares[name].value * e.n), e.n] for i, e in enumerate(compared)],
            hovertemplate=f"{name}: %{{customdata[2]:,}} of %{{customdata[3]:,}} (%{{x:.0%}})<extra></extra>",
        )  # fmt: skip
    return figure
