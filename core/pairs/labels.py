"""Answers that come from a closed set: labels of a task that is asked of many inputs.

"Good" or "Bad", "entailment" or "contradiction": nearly the same input with another label is no contradiction, for what
is labelled is the whole input. Such an answer is given to many different prompts. Rows that have labels ask the same
only where their prompts have the same content words, each as often.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from core.pairs.wording import FUNCTION, NEGATIONS, Words

# An answer is a label if this many distinct prompts, and this share of all of them, have it: values of a relation, such
# as the country of a town, recur less.
MANY, SHARE = 20, 0.02


class Labels:
    """Which of n rows have a label for an answer."""

    def __init__(self, prompts: Sequence[str], answers: Sequence[Words]) -> None:
        given: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for prompt, answer in zip(prompts, answers, strict=True):
            given[answer.forms].add(prompt)
        least = max(MANY, SHARE * len(set(prompts)))
        self._labels = {forms for forms, asked in given.items() if forms and len(asked) >= least}

    def both(self, a: Words, b: Words) -> bool:
        """Whether both answers are labels."""
        return a.forms in self._labels and b.forms in self._labels


def other_input(a: Words, b: Words) -> bool:
    """Whether two prompts differ in a content word, a number or a negation, or in how often they have it."""
    return _content(a) != _content(b)


def _content(words: Words) -> Counter[str]:
    pairs = zip(words.stems, words.forms, strict=True)
    return Counter(stem for stem, form in pairs if form not in FUNCTION or form in NEGATIONS)
