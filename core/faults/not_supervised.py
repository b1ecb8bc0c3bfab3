"""Target tokens that carried no loss cannot have been learned from this row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable


class NotSupervised(SampleFault):
    name = "not_supervised"
    label = "Not supervised"
    place = 350
    help = "the trainer put no loss on the part of the target that is missing."
    advice = "Mend the loss mask so that the whole answer carries loss, and train on these rows again."
    needs = "the trainer preset that was really used"

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The first token that greedy decoding gets wrong carried no loss, or at least half of the target did not."""
        total, without = table.get(col.N_TARGET), table.get(col.N_UNSUPERVISED)
        hit = (total > 0) & (without > 0) & ((table.get(col.FIRST_MISS_TRAINED) == 0) | (without >= 0.5 * total))
        return flags(hit, (total > 0) & np.isfinite(without))

    def sentence(self, row: Mapping[str, float]) -> str:
        total, without = row.get(col.N_TARGET, np.nan), row.get(col.N_UNSUPERVISED, np.nan)
        where = " The first token it gets wrong is one of them." if row.get(col.FIRST_MISS_TRAINED) == 0 else ""
        return f"{without:.0f} of {total:.0f} target tokens carried no loss in training.{where}"


KIND = NotSupervised()
