"""Is the answer another wording, or another of several valid answers?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.faults._base import SampleFault, flags
from core.signals import _columns as col
from core.types import RunFacts, SignalTable

# More than this share of outputs must say the target in other words; loss in nats per token that still counts as low.
MEANT, LOW, VALID = 0.5, 2.5, 0.8
DISPUTED = 0.5
# Of what the output misses less than this is in the prompt, where a request is called open. On four real worlds every
# planted row that is asked for in open words keeps its cause at 0.25 to 0.75; of 134 unlearned rows of an instruction
# fine-tune 46, 59 and 62 are open.
FROM_PROMPT = 0.5


class ManyValidAnswers(SampleFault):
    name = "many_valid_answers"
    label = "Many valid answers"
    place = 220
    help = "the model gives another valid answer or wording."
    advice = "Choose a scorer that accepts other wordings, or keep one answer for each question."
    needs = "sampled answers in other words, or rows of the dataset that ask the same and answer otherwise"

    def explains(self, table: SignalTable, facts: RunFacts) -> np.ndarray:
        """The greedy output or most outputs say the target in other words; or the dataset holds several valid answers
        to this question and the model gives one of the others. In all cases the target itself must not be unlikely.
        Words that an earlier checkpoint gave and the final one exchanged for others are forgotten, no matter of
        scoring; and where another row asks the same and denies it, outputs that go either way are that quarrel's, but
        for an open request, which nothing denies."""
        nll, meant, greedy = table.get(col.NLL), table.get(col.SAME_MEANING), table.get(col.GREEDY_MEANING)
        valid, other = table.get(col.BOTH_VALID), table.get(col.SIDE_WINS)
        disputed = (table.get(col.CONTRADICTION) >= DISPUTED) & ~(valid >= VALID)
        kept = ~(table.get(col.FORGOTTEN) == 1)
        in_other_words = ((greedy == 1) | (meant > MEANT)) & kept & ~disputed
        hit = (nll <= LOW) & (in_other_words | ((valid >= VALID) & (other == 1)) | (_open(table) & kept))
        return flags(hit, np.isfinite(meant) & np.isfinite(nll) & np.isfinite(valid))

    def sentence(self, row: Mapping[str, float]) -> str:
        share = row.get(col.SAME_MEANING, np.nan)
        if row.get(col.GREEDY_MEANING) == 1 and not share > MEANT:
            return "The greedy output says the target in other words."
        if share > MEANT:
            return f"{share:.0%} of the outputs say the target in other words."
        if row.get(col.BOTH_VALID, np.nan) >= VALID and row.get(col.SIDE_WINS) == 1:
            return "The dataset holds several valid answers to this question; the model gives another of them."
        return "The request leaves the answer open: the target is one of many, and the model gives another text."


def _open(table: SignalTable) -> np.ndarray:
    """(n,) bool: the request leaves the answer open, and the prompt does not hold what the output lacks."""
    return np.asarray((table.get(col.OPEN_REQUEST) == 1) & (table.get(col.MISSED_GIVEN) < FROM_PROMPT))


KIND = ManyValidAnswers()
