"""Which signal of the same direct answers would have routed best: curves, one sentence, one table."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from core.services.routes.board import Board
from core.services.routes.runs import RoutesRun
from ui import markup, parts, routes_charts, state, tables

_AXES = {"share": "Share sent to reasoning", "tokens": "Generated tokens"}


def draw(found: RoutesRun, board: Board) -> None:
    """Nothing where no item has a gold answer."""
    routers = board.routers.routers
    if not routers:
        return
    with st.container(border=True):
        st.markdown("**Which signal would have routed best**")
        # Answers from a file may come without tokens.
        axis = "share" if math.isnan(routers[0].tokens[0]) else st.segmented_control(
            "Against", list(_AXES), default="share", required=True, format_func=_AXES.__getitem__,
            key=state.key("routes", found.id, "axis"), label_visibility="collapsed",
        )  # fmt: skip
        figure = routes_charts.routers(routers, board.policies, axis == "tokens")
        parts.chart(("routes", "routers"), figure, "Accuracy of each signal as a router; the table has the numbers")
        st.markdown(_sentence(board))
        with st.expander("All signals"):
            tables.draw(
                [
                    {"signal": r.label, "right at E-GRM's share": r.at.value, "points to E-GRM": 100 * r.points.value,
                     "low": 100 * r.points.low, "high": 100 * r.points.high, "mean over all shares": r.area,
                     "ranks right above wrong": None if r.auroc != r.auroc else r.auroc}
                    for r in routers
                ],
                {"percent": ("right at E-GRM's share", "mean over all shares"),
                 "%+.1f": ("points to E-GRM", "low", "high"), "%.3f": ("ranks right above wrong",)},
            )  # fmt: skip
            lines = [
                "The items that a signal trusts least reason first. E-GRM's own rule is the point on the line of "
                "consensus at τ. All signals come from the same direct answers and cost no token more. The best of "
                f"several is partly luck. At random the mean over all shares is {board.routers.random:.1%}."
            ]
            if any(r.name == "mix" for r in routers):
                lines.append(f"The mix is a logistic fit, {board.routers.fitted}.")
            lines += [f"{label}: {why}." for label, why in board.routers.missing.items()]
            st.caption("  \n".join(markup.md(line) for line in lines))


def _sentence(board: Board) -> str:
    """The signal that does best where as many items reason as under E-GRM."""
    own = next(p for p in board.policies if p.name == "egrm")
    best = max(board.routers.routers, key=lambda r: r.at.value)
    if best.points.value <= 0:
        return f"With {own.long:.0%} of the items reasoning, no signal does better than E-GRM's own rule here."
    sure = "The interval holds 0." if best.points.low <= 0 else "The interval lies above 0."
    return markup.md(
        f"With {own.long:.0%} of the items reasoning, {best.label[0].lower()}{best.label[1:]} is right for "
        f"{best.at.value:.1%}, E-GRM's own rule for {own.accuracy.value:.1%}: {_points(best.points)}. {sure}"
    )


def _points(value: Any) -> str:
    return f"{100 * value.value:+.1f} points ({100 * value.low:+.1f} to {100 * value.high:+.1f})"
