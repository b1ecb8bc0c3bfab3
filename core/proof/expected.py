"""What recipes did on worlds whose causes are planted: what to expect of them where nothing is proven yet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

# Going on from the checkpoint, or training again from the base.
Way = Literal["go_on", "again"]
_WORLDS = Path(__file__).parent / "worlds.json"


@dataclass(frozen=True, slots=True)
class Expected:
    """Counts over some worlds.

    Attributes:
        worlds: their names.
        restored, lost: (how many, of how many) treated samples that came back, and learned ones that were lost.
    """

    worlds: tuple[str, ...]
    restored: tuple[int, int]
    lost: tuple[int, int]


def on_worlds(cause: str, way: Way) -> Expected | None:
    """What the recipe of the cause did; None where no world with that cause was measured."""
    measured = _read().get(cause, {}).get(way)
    if measured is None:
        return None
    return Expected(tuple(measured["worlds"]), tuple(measured["restored"]), tuple(measured["lost"]))


@cache
def _read() -> dict[str, Any]:
    causes: dict[str, Any] = json.loads(_WORLDS.read_text(encoding="utf-8"))["causes"]
    return causes
