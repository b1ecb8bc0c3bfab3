"""A routes run as a whole: sliders, policies, split, curve, calibration, lists. Replayed; no model runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.services.routes.board import Board, Choice
from core.services.routes.runs import RoutesRun
from core.text.counts import counted
from ui import cached, forms, markup, parts, routes_charts, routes_routers, state, tables, tiles
from ui.markup import Node

_TILES = ("direct_m", "path_1", "path_vote", "path_k", "egrm")


@st.fragment
def draw(found: RoutesRun) -> None:
    """The sliders and everything that follows from them."""
    scored = route_board.is_scored(found.id)
    choice = _sliders(found, scored)
    board = cached.board(found, choice)
    _hygiene(found, board)
    if not board.n:
        st.info("No item has been answered yet.", icon=":material/info:")
        return
    if not board.judged:
        st.warning(
            "No item has a gold answer of this form, so nothing can be called right or wrong. "
            "Choose another way to compare answers.",
            icon=":material/warning:",
        )
        return
    _policies(board)
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.markdown("**How far direct answers agree**")
        figure = routes_charts.levels(board.levels, choice.wanted, choice.m)
        parts.chart(("routes", "levels"), figure, _LEVELS)
    with right, st.container(border=True, height="stretch"):
        st.markdown("**Accuracy against cost**")
        parts.chart(("routes", "curve"), routes_charts.curve(board.curve, board.policies, choice.wanted), _CURVE)
    routes_routers.draw(found, board)
    _lists(found, board)
    _details(board, choice)


_LEVELS = "Items by number of direct answers that agree, right and wrong; the table under Calibration has the numbers"
_CURVE = "Accuracy against generated tokens at each tau; the table under Calibration and cost has the numbers"


def _key(found: RoutesRun, name: str) -> str:
    return state.key("routes", found.id, name)


def _sliders(found: RoutesRun, scored: bool) -> Choice:
    start = route_board.choice(found, {})
    one, two, three, four = st.columns([3.2, 1.5, 1.5, 2.4], vertical_alignment="bottom")
    s = found.settings
    m = two.slider("Direct answers used", 1, s.m, s.m, key=_key(found, "m")) if s.m > 1 else 1
    k = three.slider("Chains of thought used", 1, s.k, s.k, key=_key(found, "k")) if s.k > 1 else 1
    wanted = one.select_slider(
        "Short route from this many agreeing answers on (τ)",
        range(1, m + 2),
        value=min(start.wanted, m + 1),
        format_func=lambda v: f"{v} of {m} (τ = {v / m:.2g})" if v <= m else "never",
        key=_key(found, f"tau{m}"),
        help=f"With {m} answers τ has {m} settings that differ; everything between two of them is the same.",
    )
    ways = {n: w for n, w in routes.WAYS["choose"].items() if scored or n not in ("scorer", "weighted")}
    help = None if scored else "Score the paths with a scorer to choose by score."
    choose = forms.choose(four, "The long route takes", ways, _key(found, f"choose{scored}"), start.choose, help=help)
    normaliser, strict = start.normaliser, start.strict
    if found.mode == "answering":
        left, right = st.columns([3, 3], vertical_alignment="center")
        normaliser = forms.choose(
            left, "Two answers are the same by", routes.WAYS["normaliser"], _key(found, "normaliser"), start.normaliser
        )
        strict = right.checkbox(
            "Only announced answers count (“Answer: …”, “#### …”, a box)",
            value=start.strict,
            key=_key(found, "strict"),
        )
    return Choice(int(wanted), int(m), int(k), normaliser, bool(strict), choose)


def _hygiene(found: RoutesRun, board: Board) -> None:
    """What could not be asked or read: always shown, so that no number hides it."""
    lines = []
    for part, word in (("probes", "direct answers"), ("paths", "chains of thought")):
        seen: Mapping[str, Any] = board.hygiene[part]
        n, failed = seen["texts"], sum(seen["failures"].values())
        why = ", ".join(f"{c:,} {w}" for w, c in sorted(seen["failures"].items(), key=lambda x: -x[1]))
        lines.append(
            f"{failed:,} of {n:,} {word} could not be read" + (f" ({why})" if why else "")
            + f"; {seen['cut']:,} were cut at the limit; {seen['unannounced']:,} were taken from the last line."
        )  # fmt: skip
    for reason, n in board.refused.items():
        lines.append(f"Not asked, {counted(n, 'item')}: {reason}")
    lines += [f"{counted(n, 'item')}: {note}" for note, n in board.notes.items()]
    if board.hygiene["greedy_twice"]:
        lines.append(
            f"{counted(board.hygiene['greedy_twice'], 'item')} with two greedy direct answers: one vote is free."
        )
    if board.order is not None:
        same, asked = board.order
        lines.append(f"The verdict is the same in both orders of the replies for {same:,} of {asked:,} items.")
    if board.normaliser_moves:
        lines.append(
            f"{counted(board.normaliser_moves, 'item')} would come out differently under the author's exact comparison."
        )
    if n := found.source.get("n_problems"):
        lines.append(f"{counted(n, 'record')} of the file could not be read: {found.source['problems'][0]}.")
    missing = board.n - board.judged
    if missing:
        lines.append(f"{counted(missing, 'item')} without a gold answer of this form: left out of what follows.")
    share = max(
        (sum(board.hygiene[p]["failures"].values()) / max(1, board.hygiene[p]["texts"]) for p in ("probes", "paths")),
        default=0.0,
    )
    text = "  \n".join(markup.md(line) for line in lines)
    if share > 0.2:
        st.warning(text, icon=":material/warning:")
    else:
        st.caption(text)


def _tile(policy: Any) -> Node:
    own, right = policy.name == "egrm", policy.accuracy
    measured = f"{100 * right.low:.1f} to {100 * right.high:.1f}%" if not math.isnan(right.value) else "not measured"
    small = (
        (measured, "95% interval"),
        (_cost(policy.tokens) + f", {1 - policy.long:.0%} short" * own, "generated tokens per item"),
    )
    return tiles.tile(policy.label, f"{right.value:.1%}", small, "border:2px solid #C0791B" if own else "")


def _cost(tokens: float) -> str:
    return "tokens not given" if math.isnan(tokens) else f"{tokens:,.1f} tokens"


def _tokens(ratio: float) -> str:
    """The cost beside another policy's; a saving is only said where there is one."""
    if math.isnan(ratio):
        return "tokens not comparable"
    if ratio < 0.95:
        return f"{ratio:.0%} of its generated tokens"
    return "about as many generated tokens" if ratio < 1.05 else f"{ratio:.2g} times its generated tokens"


def _scoring(board: Board) -> str:
    """What scoring adds to E-GRM's cost, which ratios of generated tokens leave out."""
    own = next(p for p in board.policies if p.name == "egrm")
    if not board.scorer_asked:
        return ""
    if math.isnan(own.scoring):
        return "  \nScoring its paths costs extra. How much it reads was not measured: score the paths again."
    return f"  \nScoring its paths costs extra: {own.scoring:,.1f} tokens read per item, none generated."


def _policies(board: Board) -> None:
    st.subheader(counted(board.judged, "item"), anchor=False)
    tiles.draw(_tile(p) for p in board.policies if p.name in _TILES)
    sentences = []
    for c in board.comparisons:
        points = f"{100 * c.points.value:+.1f} points ({100 * c.points.low:+.1f} to {100 * c.points.high:+.1f})"
        sentences.append(f"against *{markup.md(c.label.lower())}*: {markup.md(points)}, {_tokens(c.tokens_ratio)}")
    st.markdown("**E-GRM** " + ";  \n".join(sentences) + "." + _scoring(board))
    with st.expander("All policies"):
        tables.draw(
            [
                {
                    "policy": p.label, "right": p.accuracy.value, "low": p.accuracy.low, "high": p.accuracy.high,
                    "generated tokens": p.tokens, "prompt tokens": p.prompt, "read by the scorer": _known(p.scoring),
                    "seconds": p.seconds, "reasons": p.long,
                }
                for p in board.policies
            ],
            {
                "percent": ("right", "low", "high", "reasons"),
                "%.1f": ("generated tokens", "prompt tokens", "read by the scorer"),
                "%.2f": ("seconds",),
            },
        )  # fmt: skip
        st.caption(
            "All figures are per item. Prompts that several generations share are read once. The scorer reads word "
            "pieces of question, paths and answers through its encoder, and tokens again through the checkpoint where "
            "it takes hidden states; 0 for a policy without a scorer or with one that reads neither, empty where it "
            "was not measured. Seconds, the scorer's included, are those of the measured batches, divided in "
            "proportion to tokens; empty where a policy was not timed on its own. The random router's accuracy is its "
            "expected value. The oracle knows which route is right."
        )


def _lists(found: RoutesRun, board: Board) -> None:
    st.subheader("Items worth opening", anchor=False)
    names = list(board.titles)
    shown = st.segmented_control(
        "List",
        names,
        default="confident" if board.lists["confident"] else max(names, key=lambda n: len(board.lists[n])),
        required=True,
        format_func=lambda n: f"{_SHORT[n]}  {len(board.lists[n]):,}",
        key=_key(found, "list"),
        label_visibility="collapsed",
    )
    st.caption(markup.md(board.titles[shown]) + ".")
    lines = board.lists[shown]
    if not lines:
        st.info("None at this setting.", icon=":material/check:")
        return
    picked = tables.pick(
        [
            {
                "item": markup.line(line.question, 120), "direct": markup.line(line.direct, 60), "agree": line.share,
                "reasoned": markup.line(line.reasoned, 60), "right answer": markup.line(line.gold, 60),
                "tokens": line.tokens,
            }
            for line in lines
        ],
        state.selectable("routes", found.id, "lines", shown, len(lines)),
        {"percent": ("agree",), "%.0f": ("tokens",)},
        wrapped=True,
        column_config={name: st.column_config.TextColumn(width=width) for name, width in _WIDTHS.items()},
    )  # fmt: skip
    if picked is not None:
        state.go(state.routes_link(found.id, lines[picked].ordinal))
        st.rerun(scope="app")
    st.caption("Click a row to see both routes side by side.")


# Pixels of the columns of texts: beside the two numbers they fit a window of 768.
_WIDTHS = {"item": 220, "direct": 120, "reasoned": 120, "right answer": 120}
_SHORT = {
    "confident": "Confidently wrong",
    "rescue": "Rescued",
    "harm": "Harmed",
    "wasted": "Needless reasoning",
    "missed": "Missed",
}
_SIGNALS = {
    "auroc_consensus": "consensus",
    "auroc_entropy": "entropy of the answers",
    "auroc_perplexity": "perplexity of one short answer",
    "auroc_margin": "likelihood margin of one short answer",
}


def _details(board: Board, choice: Choice) -> None:
    one, two, three = st.tabs(["Calibration", "Outcomes and split", "Cost"])
    with one:
        _calibration(board, choice)
    with two:
        _outcomes(board)
    with three:
        rows = [{"part": name, "tokens per item": _known(value)} for name, value in board.ledger.items()]
        tables.draw(rows, {"%.1f": ("tokens per item",)})
        st.caption(
            "Drawing direct answers one after another and stopping once the route is certain never changes a route. "
            "It saves tokens, but little time where all of them are generated as one batch, as here. "
            + (
                "The scorer reads the paths of items that take the long route. Empty: not measured, score the paths "
                "again."
                if board.scorer_asked
                else "The paths are chosen without a scorer, so scoring costs nothing."
            )
        )
        tables.draw(
            [
                {"short from": f"{p.wanted} of {choice.m}" if p.wanted <= choice.m else "never", "right": p.accuracy,
                 "random router": p.random, "short": p.short, "tokens": p.tokens}
                for p in board.curve
            ],
            {"percent": ("right", "random router", "short"), "%.1f": ("tokens",)},
        )  # fmt: skip


_SHARES = ("consensus right", "low", "high", "share by guessing", "items from here up", "right from here up")


def _calibration(board: Board, choice: Choice) -> None:
    tables.draw(
        [
            {
                "agree": f"{level.votes} of {choice.m}", "items": level.n,
                "consensus right": _known(level.accuracy.value),
                "low": level.accuracy.low if level.n else None, "high": level.accuracy.high if level.n else None,
                **({"share by guessing": level.chance} if board.options else {}), "items from here up": level.covered,
                "right from here up": _known(level.covered_right),
            }
            for level in board.levels
        ],
        {"percent": _SHARES},
    )  # fmt: skip
    c = board.calibration
    parts = [f"{word} {c[name]:.3f}" for name, word in _SIGNALS.items() if not math.isnan(c[name])]
    if parts:
        st.markdown(
            "Chance that a right direct answer ranks above a wrong one (0.5 is chance): "
            + markup.md(", ".join(parts))
            + "."
        )
    else:
        st.caption("All direct answers are right, or all are wrong, so no signal can be ranked.")
    st.caption(
        markup.md(
            f"Consensus as a probability: expected calibration error {c['ece']:.3f}, Brier score {c['brier']:.3f}. "
            + (
                f"Share by guessing: how often this level comes up among {board.options} equally likely options."
                if board.options
                else "Open answers have no chance level."
            )
        )
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _outcomes(board: Board) -> None:
    words = {True: "right", False: "wrong"}
    tables.draw(
        [
            {
                "direct": words[direct], "reasoning": words[reason],
                "short": board.outcomes.get((True, direct, reason), 0),
                "long": board.outcomes.get((False, direct, reason), 0),
            }
            for direct in (True, False)
            for reason in (True, False)
        ],
    )  # fmt: skip
    if board.groups:
        tables.draw(
            [
                {"group": markup.line(str(g["group"]), 60), "items": g["n"], "short": g["short"], "direct": g["direct"],
                 "reasoning": g["reason"], "E-GRM": g["egrm"]}
                for g in board.groups
            ],
            {"percent": ("short", "direct", "reasoning", "E-GRM")},
        )  # fmt: skip
