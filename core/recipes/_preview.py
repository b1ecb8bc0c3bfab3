"""The first look at a plan: a few of its rows, with what was changed in them."""

from __future__ import annotations

from itertools import islice
from typing import Any

from core.recipes._base import Made, Plan
from core.recipes._rewrite import differences


def preview(plan: Plan, count: int, walked: int = 2000) -> list[tuple[Made, list[dict[str, Any]]]]:
    """``count`` of the first rows, each with its diff: changed ones first, then one of each part in turn."""
    by_kind: dict[tuple[str, str], list[Made]] = {}
    for row in islice(plan.rows(), walked):
        rows = by_kind.setdefault((row.part, row.change), [])
        if len(rows) < count:
            rows.append(row)
    groups = [rows for _, rows in sorted(by_kind.items(), key=lambda item: not item[0][1])]
    chosen = [rows[depth] for depth in range(count) for rows in groups if depth < len(rows)][:count]
    return [(row, differences(row.before, row.raw) if row.change else []) for row in chosen]
