"""What routing is worth on a real model: the figures that ship with this version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.services.routes import measured
from ui import markup, state, tables

POLICIES = {
    "direct_1": "Always direct, first answer",
    "direct_vote": "Always direct, vote",
    "reason_1": "Always reason, one path",
    "reason_vote": "Always reason, vote",
    "egrm": "E-GRM",
    "random": "Random router, equal share",
    "oracle": "Oracle router",
}


def draw() -> None:
    """A folded section; nothing where nothing was measured."""
    found = measured.measured()
    if found is None:
        return
    figures = found["figures"]
    with st.expander(f"What routing was worth on a real model: {markup.md(found['case']['model'])}"):
        st.markdown(markup.md(sentence(figures)))
        tables.draw(
            [_row(POLICIES[name], figures["policies"][name]) for name in POLICIES],
            {"percent": ("right", "± over seeds"), "%.1f": ("tokens",), "%.2f": ("seconds",)},
            key=state.key("routes", "measured", "policies"),
        )  # fmt: skip
        st.caption(
            f"{figures['items']:,} items of {len(figures['tasks'])} tasks, {figures['seeds']} seeds with other "
            "questions each; per item, at the batch sizes of the measurement. ± is a 95% interval of the mean over "
            "seeds."
        )
        tables.draw(
            [
                {"task": name, "items": row["items"], "direct": row["direct_vote"], "reasoning": row["reason_vote"],
                 "E-GRM": row["egrm"], "oracle": row["oracle"], "short": row["short"]}
                for name, row in {**figures["tasks"], **figures.get("gsm8k", {})}.items()
            ],
            {"percent": ("direct", "reasoning", "E-GRM", "oracle", "short")},
            key=state.key("routes", "measured", "tasks"),
        )  # fmt: skip


def _row(label: str, policy: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        return policy[name]["mean"] if name in policy else None

    return {"policy": label, "right": mean("accuracy"), "± over seeds": policy["accuracy"]["half_width"],
            "tokens": mean("tokens"), "seconds": mean("seconds")}  # fmt: skip


def sentence(figures: Mapping[str, Any]) -> str:
    """The published claim against what was measured."""
    claim = figures["claim"]
    less, low, high = (100 * v for v in claim["less_latency"])
    points, p_low, p_high = (100 * v for v in claim["accuracy_points"])
    return (
        f"Against always reasoning with a vote, E-GRM took {less:.0f}% less time ({low:.0f} to {high:.0f}%; "
        f"published: {100 * claim['published_less_latency']:.0f}%) and was right {points:+.1f} points more often "
        f"({p_low:+.1f} to {p_high:+.1f}, paired)."
    )
