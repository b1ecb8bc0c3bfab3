"""Is there anything in the answer to learn?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable


class EmptyTarget(SampleFault):
    name = "empty_target"
    label = "Empty target"
    place = 120
    help = "the target holds no word."
    advice = "Give these rows an answer, or drop them."
    needs = "the original row"
    unjudged = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """No answer of the row holds a letter, a digit or a tool call."""
        filled, turns = table.get(col.ANSWER_FILLED), table.get(col.ANSWER_TURNS)
        return flags((filled == 0) & (turns > 0), np.isfinite(turns))

    def sentence(self, row: Mapping[str, float]) -> str:
        return "The target holds no letter, digit or tool call: there is nothing to reproduce."


KIND = EmptyTarget()
