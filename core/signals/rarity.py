"""How rare a sample's shape is in its dataset: no model, only the rows beside each other.

The shape is the pattern of the last question and of its answer (``core/text/patterns.py``). Counts are over all rows,
exact duplicates too, because training met them all; what counts as wording is learned from the distinct ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from core.signals import _columns as col
from core.signals._base import Instruments, Measure, Signal, chunked
from core.signals._shapes import patterns_of, question_of
from core.text.patterns import Patterns
from core.text.words import pattern_words
from core.types import Chunk, Column, RunSpec, Sample


class Rarity(Signal):
    name = "rarity"
    label = "Rarity"
    version = 1
    whole = True
    columns = (
        Column(col.PATTERN, "number", "Pattern", "Number of the pattern: the position of the first row that has it.",
               indexed=True),
        Column(col.ANSWER_PATTERN, "number", "Answer pattern", "The same for the answer alone."),
        Column(col.PATTERN_COUNT, "number", "Rows with its pattern", "Rows whose question and answer have the same "
               "shape "
               "once numbers, quotes and names are masked.", indexed=True),
        Column(col.PROMPT_PATTERN_COUNT, "number", "Rows with its question pattern", "The same for the question "
               "alone."),
        Column(col.ANSWER_PATTERN_COUNT, "number", "Rows with its answer pattern", "The same for the answer alone."),
        Column(col.COPYABLE, "number", "Words in the prompt", "Share of the answer's words that stand in the prompt."),
        Column(col.COPYABLE_RARE, "number", "Rare words in the prompt", "The same for words that few rows have."),
        Column(col.ANSWER_RARE, "number", "Rare words", "Share of the answer's words that few rows have."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {"signal": self.name, "version": self.version, "dataset": spec.dataset_fingerprint}
        return [Measure(self.name, None, spec.final, depends)]

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        everything = instruments.samples()
        patterns = patterns_of(everything)
        shapes = {}
        first: tuple[dict[Any, int], ...] = ({}, {}, {})
        counts: tuple[Counter[Any], ...] = (Counter(), Counter(), Counter())
        for i, sample in enumerate(everything):
            if sample.content_hash not in shapes:
                shapes[sample.content_hash] = patterns.prompt(question_of(sample)), patterns.answer(sample.response)
            question, answer = shapes[sample.content_hash]
            for at, shape in enumerate(((question, answer), question, answer)):
                first[at].setdefault(shape, i)
                counts[at][shape] += 1
        for chunk in chunked(samples, lambda _: 1, 1024, 1024):
            if stop():
                return
            columns = {column.name: np.full(len(chunk), np.nan) for column in self.columns}
            for i, sample in enumerate(chunk):
                question, answer = shapes[sample.content_hash]
                columns[col.PATTERN][i] = first[0][question, answer]
                columns[col.ANSWER_PATTERN][i] = first[2][answer]
                columns[col.PATTERN_COUNT][i] = counts[0][question, answer]
                columns[col.PROMPT_PATTERN_COUNT][i] = counts[1][question]
                columns[col.ANSWER_PATTERN_COUNT][i] = counts[2][answer]
                for name, value in _copied(sample, patterns).items():
                    columns[name][i] = value
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), columns)


def _copied(sample: Sample, patterns: Patterns) -> dict[str, float]:
    """Shares of the answer's words; NaN where there are none to take a share of."""
    answer, prompt = pattern_words(sample.response), set(pattern_words(sample.prompt))
    rare = [w for w in answer if patterns.is_rare(w)]
    return {
        col.COPYABLE: sum(w in prompt for w in answer) / len(answer) if answer else np.nan,
        col.COPYABLE_RARE: sum(w in prompt for w in rare) / len(rare) if rare else np.nan,
        col.ANSWER_RARE: len(rare) / len(answer) if answer else np.nan,
    }


KIND = Rarity()
