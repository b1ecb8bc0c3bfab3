"""Is the answer right, and only counted as wrong?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable


class StrictScorer(SampleFault):
    name = "strict_scorer"
    label = "Strict scorer"
    place = 210
    help = "the answer is right in a milder reading, or was cut by the limit on new tokens."
    advice = "Choose a milder scorer, or raise the limit on new tokens. No training is needed."
    needs = "an output to read: draws or a greedy answer of this row"

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """Every wrong answer is the target but for case, punctuation and articles; or its beginning up to the limit
        on new tokens."""
        form, limit = table.get(col.SAME_FORM), table.get(col.LIMIT_HIT)
        return flags((form == 1) | (limit == 1), np.isfinite(form) & np.isfinite(limit))

    def sentence(self, row: Mapping[str, float]) -> str:
        if row.get(col.LIMIT_HIT) == 1:
            return "The output is the target's beginning, cut by the limit on new tokens: raise it."
        return "Target and output differ in case, punctuation or articles only: choose a milder scorer."


KIND = StrictScorer()
