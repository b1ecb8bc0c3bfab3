"""One item of a routes run: its direct answers beside its chains of thought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import streamlit as st

from core.services.routes import board as route_board
from core.services.routes.board import ItemView, SaidView
from core.services.routes.runs import RoutesRun
from core.text.counts import counted
from ui import charts, evidence, markup, parts, state
from ui.markup import Node, node

# One colour and letter for each answer, so that those who agree are seen at once; the letter tells them apart too.
_CLUSTERS = ("#2F77AD", "#B8860B", "#7A5FA8", "#3E9B6E", "#B55C8F", "#6F7F8D", "#9A7B4F", "#4FA3A5")
_STYLE = """
.lac-says {display: grid; gap: .55rem}
.lac-one {border: 1px solid rgba(128,140,152,.35); border-left-width: 5px; border-radius: .3rem; padding: .4rem .65rem}
.lac-top {display: flex; flex-wrap: wrap; gap: .15rem .8rem; font-size: .86rem; align-items: baseline}
.lac-ans {font-weight: 600; font-size: .98rem; overflow-wrap: anywhere}
.lac-dim {opacity: .74; font-variant-numeric: tabular-nums}
.lac-body {white-space: pre-wrap; overflow-wrap: anywhere; font-size: .88rem; margin-top: .25rem; max-height: 15rem;
  overflow-y: auto; unicode-bidi: plaintext}
.lac-tag {border-radius: .25rem; padding: 0 .4rem; background: rgba(128,140,152,.24)}
"""


def draw(found: RoutesRun, ordinal: int) -> None:
    """The item, with a way back and, where it is a sample, to its evidence."""
    choice = route_board.choice(found, {})
    m = int(state.get(state.key("routes", found.id, "m"), choice.m))
    choice = route_board.Choice(
        int(state.get(state.key("routes", found.id, f"tau{m}"), min(choice.wanted, m + 1))), m,
        int(state.get(state.key("routes", found.id, "k"), choice.k)),
        str(state.get(state.key("routes", found.id, "normaliser"), choice.normaliser)),
        bool(state.get(state.key("routes", found.id, "strict"), choice.strict)), choice.choose,
    )  # fmt: skip
    view = route_board.item(found.id, ordinal, choice)
    _steps(found, view)
    if view.history:
        evidence.conversation(view.history)
    evidence.text(view.question, "Question")
    if view.pair:
        for i, reply in enumerate(view.pair):
            evidence.text(reply, f"Reply {i + 1}" + (" (the better one)" if i == view.better else ""))
    else:
        evidence.text(view.gold, "Target")
    if view.refused:
        st.warning(markup.md(f"Not asked: {view.refused}"), icon=":material/warning:")
        return
    markup.notes(view.notes)
    _verdict(view)
    left, right = st.columns(2)
    with left:
        st.markdown(f"**{counted(len(view.probes), 'direct answer')}**, {view.votes} of {view.m} agree")
        _answers(view.probes, "D")
    with right:
        st.markdown(f"**{counted(len(view.paths), 'chain of thought', 'chains of thought')}**")
        _answers(view.paths, "C")


def _steps(found: RoutesRun, view: ItemView) -> None:
    with st.container(horizontal=True):
        if st.button("Back to the routes run", icon=":material/arrow_back:", key=state.key("routes", "back")):
            state.go(state.routes_link(found.id))
            st.rerun()
        if found.run_id is not None:
            parts.link("samples", "The sample's evidence", "table_rows", state.link(run=found.run_id, sample=view.sid))


def _word(right: bool | None) -> str:
    return {True: "right", False: "wrong", None: "not judged"}[right]


def _verdict(view: ItemView) -> None:
    """What E-GRM does here, what the other route would have done, and what each costs."""
    route = "short: enough direct answers agree" if view.short else "long: too few direct answers agree"
    taken = view.direct_right if view.short else view.reasoned_right
    own = view.direct if view.short else view.reasoned
    text = (
        f"**Route {route}.** E-GRM answers *{markup.md(markup.line(own, 80))}*, "
        f"which is **{_word(taken)}**. Direct vote: {markup.md(markup.line(view.direct, 60))} "
        f"({_word(view.direct_right)}). Chosen chain of thought: {markup.md(markup.line(view.reasoned, 60))} "
        f"({_word(view.reasoned_right)})."
    )
    (st.success if taken else st.error if taken is False else st.info)(text)
    t, s = view.tokens, view.seconds
    margin = (
        "" if view.margin is None else f" The chosen path's score is {view.margin:+.3f} over the best other answer."
    )
    scoring = (
        f" Scoring reads {t['scoring']:,.0f} tokens in {s['scoring']:.2f} s."
        if t["scoring"] and not math.isnan(t["scoring"] + s["scoring"])
        else ""
    )
    st.caption(
        markup.md(
            f"{_spent(t)}{_timed(s)}Drawn one after another, {view.early} of {view.m} direct answers would have "
            "settled the route."
            f"{margin}{scoring}"
        )
    )


def _spent(t: Mapping[str, float]) -> str:
    if math.isnan(t["spent"] + t["reasoning"]):
        return "Tokens were not given. "
    return (
        f"{t['spent']:,.0f} tokens spent ({t['direct answers']:,.0f} on direct answers, reasoning costs "
        f"{t['reasoning']:,.0f}). "
    )


def _timed(s: Mapping[str, float]) -> str:
    if math.isnan(s["direct answers"] + s["reasoning"]):
        return ""
    return f"Their batches took {s['direct answers']:.2f} s and {s['reasoning']:.2f} s. "


def _answers(found: Sequence[SaidView], letter: str) -> None:
    markup.draw(node("div", *(_answer(s, f"{letter}{i + 1}") for i, s in enumerate(found)), class_="lac-says"), _STYLE)


def _answer(said: SaidView, name: str) -> Node:
    colour = "rgba(128,140,152,.5)" if said.cluster is None else _CLUSTERS[said.cluster % len(_CLUSTERS)]
    mark = {True: charts.STATUS["learned"].mark, False: charts.STATUS["unlearned"].mark, None: "?"}[said.right]
    group = "" if said.cluster is None else f"answer {chr(ord('a') + said.cluster % 26)}"
    top: list[Node | str] = [
        node("span", name, class_="lac-dim"),
        node("span", f"{mark} {markup.line(said.answer or 'no answer', 80)}", class_="lac-ans"),
    ]
    tags = [
        group,
        "chosen" if said.chosen else "",
        "vote" if said.voted else "",
        "replies swapped" if said.swapped else "",
        said.failure,
        "cut" if said.cut else "",
    ]
    top += [node("span", tag, class_="lac-tag") for tag in tags if tag]
    facts = [] if said.temperature is None else [f"T {said.temperature:g}"]
    facts += [f"top-p {said.top_p:g}"] if said.top_p < 1 else []
    facts += [] if said.tokens is None else [f"{said.tokens} tokens"]
    if said.logp is not None:
        facts.append(f"log p {said.logp:.2f} a token")
    if said.score is not None:
        facts.append(f"score {said.score:.3f}" + (f", rank {said.rank}" if said.rank else ""))
    return node(
        "div",
        node("div", *top, class_="lac-top"),
        node("div", " · ".join(facts), class_="lac-top lac-dim"),
        node("div", markup.clip(said.text, 6000) or "(nothing)", class_="lac-body"),
        class_="lac-one",
        style=f"border-left-color:{colour}",
    )
