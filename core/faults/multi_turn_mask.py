"""Were only the last answers of conversations trained?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.types import Reason, RunFacts, SignalTable

# Conversations needed, and how differently their last and earlier answers must fare.
ROWS, LAST, EARLIER, LOSS = 8, 0.7, 0.3, 0.3


class MultiTurnMask(SampleFault):
    name = "multi_turn_mask"
    label = "Multi-turn mask"
    place = 340
    help = "only the last answer of a conversation was trained."
    needs = "at least 8 conversations with several answers, or the trainer's masking of history"
    symptom = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The last answer is right and an earlier one is not, and either the earlier ones carried no loss, or the
        whole run's conversations show the same: last answers learned, earlier ones not."""
        last, earlier = table.get("last_right"), table.get("earlier_right")
        turns, masked = table.get("turns"), table.get("earlier_untrained")
        torn = (last == 1) & (earlier < 1)
        many = np.isfinite(last) & np.isfinite(earlier)
        out = flags(torn & (masked == 1), (turns == 1) | (many & ~torn))
        gap = table.get("earlier_nll") - table.get("last_nll")
        seen = many & np.isfinite(gap)
        if seen.sum() < ROWS:
            return out
        everywhere = last[seen].mean() >= LAST and earlier[seen].mean() <= EARLIER and (gap[seen] > LOSS).mean() >= 0.8
        return np.where(torn & np.isnan(out), float(everywhere), out)

    def reason(self, row: Mapping[str, float]) -> Reason:
        last, earlier = row.get("last_nll", np.nan), row.get("earlier_nll", np.nan)
        return Reason(
            f"The last answer is right (loss {last:.2f}), earlier ones are not (loss {earlier:.2f}): history carried "
            "no loss.", earlier - last, LOSS, "for",
        )  # fmt: skip


KIND = MultiTurnMask()
