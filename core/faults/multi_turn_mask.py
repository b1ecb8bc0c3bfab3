"""Were only the last answers of conversations trained?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable

# Conversations needed, and how differently their last and earlier answers must fare.
ROWS, LAST, EARLIER, LOSS = 8, 0.7, 0.3, 0.3


class MultiTurnMask(SampleFault):
    name = "multi_turn_mask"
    label = "Multi-turn mask"
    place = 340
    help = "only the last answer of a conversation was trained."
    advice = "Train on every answer of a conversation, not on the last one alone."
    needs = "at least 8 conversations with several answers, or the trainer's masking of history"
    symptom = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The last answer is right and an earlier one is not, and either the earlier ones carried no loss, or the
        whole run's conversations show the same: last answers learned, earlier ones not."""
        last, earlier = table.get(col.LAST_RIGHT), table.get(col.EARLIER_RIGHT)
        turns, masked = table.get(col.TURNS), table.get(col.EARLIER_UNTRAINED)
        torn = (last == 1) & (earlier < 1)
        many = np.isfinite(last) & np.isfinite(earlier)
        out = flags(torn & (masked == 1), (turns == 1) | (many & ~torn))
        gap = table.get(col.EARLIER_NLL) - table.get(col.LAST_NLL)
        measured = many & np.isfinite(gap)
        if measured.sum() < ROWS:
            return out
        everywhere = (
            last[measured].mean() >= LAST
            and earlier[measured].mean() <= EARLIER
            and (gap[measured] > LOSS).mean() >= 0.8
        )
        return np.where(torn & np.isnan(out), float(everywhere), out)

    def sentence(self, row: Mapping[str, float]) -> str:
        last, earlier = row.get(col.LAST_NLL, np.nan), row.get(col.EARLIER_NLL, np.nan)
        return (
            f"The last answer is right (loss {last:.2f}), earlier ones are not (loss {earlier:.2f}): "
            "history carried no loss."
        )


KIND = MultiTurnMask()
