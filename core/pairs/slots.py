"""Which words name what is asked about: learned from the sentences of the dataset itself.

"What cargo does difox carry?" and "What cargo does dofogax carry?" are one sentence with a slot. If a sentence occurs
with many words in the same place, those words tell questions apart. It does not matter how alike an encoder finds their
spelling, or whether they have a capital.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from core.pairs.wording import Words

# A place is a slot if it occurs with this many different words.
FILLERS = 3
# A word that a larger share of the prompts holds belongs to the way of asking.
COMMON = 0.05
# Longer prompts hardly ever differ in one word only.
MOST_WORDS = 60


class Slots:
    """The slot words of n prompts."""

    def __init__(self, prompts: Sequence[Words]) -> None:
        fillers: dict[int, set[str]] = defaultdict(set)
        counts: Counter[str] = Counter()
        for words in prompts:
            stems = tuple(words.stems)
            counts.update(set(stems))
            if 2 <= len(stems) <= MOST_WORDS:
                for i, stem in enumerate(stems):
                    fillers[hash((stems[:i], stems[i + 1 :]))].add(stem)
        most = max(FILLERS, COMMON * len(prompts))
        slots = (stems for stems in fillers.values() if len(stems) >= FILLERS)
        self.words = frozenset(w for stems in slots for w in stems if counts[w] <= most)

    def apart(self, a: Words, b: Words) -> bool:
        """Whether each of the two prompts has a slot word that the other lacks: two questions, not two wordings."""
        left, right = set(a.stems), set(b.stems)
        return bool((left - right) & self.words) and bool((right - left) & self.words)
