"""Which words of a dataset's prompts stand for what is asked about: learned from the dataset's own sentences.

"What cargo does difox carry?" and "What cargo does dofogax carry?" are one sentence with a slot. Where a sentence comes
with many words in the same place, those words tell questions apart, whatever an encoder thinks of their spelling, and
whether or not they are written with a capital.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from core.pairs.wording import Words

# Different words in one place that make the place a slot.
FILLERS = 3
# A word of more than this share of the prompts is part of how things are asked.
COMMON = 0.05
# Longer prompts are hardly ever equal but for one word.
MOST_WORDS = 60


class Slots:
    """The slot words of n prompts."""

    def __init__(self, read: Sequence[Words]) -> None:
        places: dict[int, set[str]] = defaultdict(set)
        seen: Counter[str] = Counter()
        for words in read:
            stems = tuple(words.stems)
            seen.update(set(stems))
            if 2 <= len(stems) <= MOST_WORDS:
                for i, stem in enumerate(stems):
                    places[hash((stems[:i], stems[i + 1 :]))].add(stem)
        most = max(FILLERS, COMMON * len(read))
        self.words = frozenset(
            w for found in places.values() if len(found) >= FILLERS for w in found if seen[w] <= most
        )

    def apart(self, a: Words, b: Words) -> bool:
        """Whether each of the two prompts has a slot word that the other lacks: two questions, not two wordings."""
        ours, theirs = set(a.stems), set(b.stems)
        return bool((ours - theirs) & self.words) and bool((theirs - ours) & self.words)
