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
        model: the real pretrained model that the worlds are built around; None: they are small models of their own.
    """

    worlds: tuple[str, ...]
    restored: tuple[int, int]
    lost: tuple[int, int]
    model: str | None = None


def on_worlds(cause: str, way: Way) -> Expected | None:
    """What the recipe of the cause did, on a real model where that was measured; None where no world was."""
    shipped = _read()
    real = shipped.get("real", {"model": None, "causes": {}})
    for model, causes in ((real["model"], real["causes"]), (None, shipped["causes"])):
        measured = causes.get(cause, {}).get(way)
        if measured is not None:
            return Expected(tuple(measured["worlds"]), tuple(measured["restored"]), tuple(measured["lost"]), model)
    return None


@cache
def _read() -> dict[str, Any]:
    shipped: dict[str, Any] = json.loads(_WORLDS.read_text(encoding="utf-8"))
    return shipped
