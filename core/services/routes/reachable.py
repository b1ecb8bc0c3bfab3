"""What routes runs say about the samples of a diagnosis, as columns of its verdict table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.egrm.items import load
from core.egrm.replay import Setting, replay
from core.egrm.settings import RouteSettings
from core.types import Column, Run
from db import routes as table

COLUMNS: tuple[Column, ...] = (
    Column("reachable_by_reasoning", "flag", "Known, not recalled directly",
           "The vote of direct answers misses the target, and the chain of thought that is chosen reaches it.",
           indexed=True),
    Column("direct_vote_right", "flag", "Direct vote right", "The vote of direct answers is the target.", indexed=True),
    Column("reasoning_right", "flag", "Reasoning right", "The chain of thought that is chosen reaches the target.",
           indexed=True),
    Column("direct_consensus", "number", "Direct consensus", "Share of direct answers that agree.", "", "",
           indexed=True),
)  # fmt: skip


def choice_at_hand(settings: RouteSettings, scored: bool) -> str:
    """The chooser of the settings, or the vote where it needs scores that are not there."""
    return settings.choose if scored or settings.choose not in ("scorer", "weighted") else "vote"


def columns_for(conn: Any, run: Run, hashes: Sequence[str]) -> tuple[tuple[Column, ...], dict[str, np.ndarray]]:
    """Columns and their (n,) values, NaN = not asked; nothing where the diagnosis has no routes run.

    Where several routes runs hold a sample, the newest speaks.
    """
    routes = [r for r in table.list_routes(conn, run.id) if r["mode"] == "answering"]
    if not routes:
        return (), {}
    by_hash: dict[str, tuple[float, float, float, float]] = {}
    for route in reversed(routes):
        settings = RouteSettings.from_dict(route["spec"]["settings"])
        items = load([i["kept"] for i in table.items(conn, route["id"])], settings.normaliser, settings.strict)
        if not items.n:
            continue
        seen = replay(items, Setting.of(settings.tau, items.m, items.k, choice_at_hand(settings, items.scored)))
        for i in np.flatnonzero(items.judged):
            direct, reason = float(seen.direct_right[i]), float(seen.path_right[i])
            by_hash[items.keys[i]] = (float(not direct and reason), direct, reason, float(seen.share[i]))
    missing = (np.nan,) * len(COLUMNS)
    values = np.array([by_hash.get(h, missing) for h in hashes], dtype=np.float64).reshape(len(hashes), len(COLUMNS))
    return COLUMNS, {c.name: values[:, i] for i, c in enumerate(COLUMNS)}
