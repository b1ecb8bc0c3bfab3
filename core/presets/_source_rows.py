"""What a trainer reads in the row itself: turns as they are written, before Lacuna gave them its own names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.types import Sample


def source_row(sample: Sample) -> dict[str, Any]:
    """The row's columns as written; empty where the raw text holds no object."""
    try:
        row = json.loads(sample.raw)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def source_turns(sample: Sample, row: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
    """The written turn of each message of ``sample``; an empty one for messages that come from other columns.

    Args:
        row: what ``source_row`` gave, where it was read already.
    """
    empty: Mapping[str, Any] = {}
    n = len(sample.messages)
    for value in (source_row(sample) if row is None else row).values():
        turns = _turns(value)
        if len(turns) == n:
            return list(turns)
        if len(turns) == n - 1 and sample.messages[0].role == "system":  # the system prompt has its own column
            return [empty, *turns]
    return [empty] * n


def _turns(value: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    if not isinstance(value, list) or not all(isinstance(t, dict) and ("role" in t or "from" in t) for t in value):
        return ()
    return value


def written_role(turn: Mapping[str, Any]) -> str:
    """The role a written turn names, empty for none."""
    role = turn.get("role", turn.get("from"))
    return role if isinstance(role, str) else ""
