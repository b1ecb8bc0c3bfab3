"""Does the model say the whole answer and then not stop?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.status import rarely
from core.types import RunFacts, SignalTable

# Probability of the stop token below which a run-on answer is the stop's fault.
STOP = 0.5


class StopNotLearned(SampleFault):
    name = "stop_not_learned"
    label = "Stop not learned"
    place = 330
    help = "the answer is there, but the model does not stop after it."
    advice = "Put loss on the stop token, and train on these rows again."
    needs = "a target that ends with a stop token, and the model's output for it"
    symptom = True

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """Greedy decoding gives every token of the answer but its stop token, whose probability is below 1/2, and the
        output begins with the whole answer and goes on."""
        right, ran, logp = table.get(col.CONTENT_RIGHT), table.get(col.RAN_ON), table.get(col.STOP_LOGP)
        hit = (right == 1) & (ran == 1) & (logp < np.log(STOP))
        measured = np.isfinite(right) & np.isfinite(logp) & (np.isfinite(ran) | (right == 0))
        return flags(hit, measured)

    def sentence(self, row: Mapping[str, float]) -> str:
        p = float(np.exp(row.get(col.STOP_LOGP, np.nan)))
        often = f"; the model would stop there {rarely(p)}" if np.isfinite(p) else ""
        return f"The output is the whole target and goes on{often}."


KIND = StopNotLearned()
