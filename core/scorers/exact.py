"""The same text, character by character, apart from space around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.scorers._base import Scorer


class Exact(Scorer):
    name = "exact"
    label = "Exact text"
    help = "Right only if the output is the target, apart from space at either end."

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        return float(output.strip() == target.strip())


KIND = Exact()
