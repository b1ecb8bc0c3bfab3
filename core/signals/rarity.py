"""How rare a sample's shape is in its dataset: no model, only the rows beside each other.

The shape is the pattern of the last question and of its answer (``core/text/patterns.py``). Counts are over all rows,
exact duplicates too, because training met them all; what counts as wording is learned from the distinct ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from core.signals._base import Instruments, Measure, chunked
from core.signals._shapes import patterns_of, question_of
from core.text.patterns import Patterns, words_of
from core.types import Chunk, Column, RunSpec, Sample, SignalTable

# Characters of a pattern kept for the row page.
SHOWN = 400


class Rarity:
    name = "rarity"
    label = "Rarity"
    version = 1
    needs: tuple[str, ...] = ()
    whole = True
    columns = (
        Column("pattern", "number", "Pattern", "Number of the pattern: the place of the first row that has it.",
               indexed=True),
        Column("answer_pattern", "number", "Answer pattern", "The same for the answer alone."),
        Column("pattern_count", "number", "Rows of the pattern", "Rows whose question and answer have the same shape "
               "once numbers, quotes and names are masked.", indexed=True),
        Column("prompt_pattern_count", "number", "Rows of the question's pattern", "The same for the question alone."),
        Column("answer_pattern_count", "number", "Rows of the answer's pattern", "The same for the answer alone."),
        Column("copyable", "number", "In the prompt", "Share of the answer's words that stand in the prompt."),
        Column("copyable_rare", "number", "Names in the prompt", "The same for the words that few rows have."),
        Column("answer_rare", "number", "Rare words", "Share of the answer's words that few rows have."),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        depends = {"signal": self.name, "version": self.version, "dataset": spec.dataset_fingerprint}
        return [Measure(self.name, "data", spec.final, depends)]

    def wanted(self, table: SignalTable) -> np.ndarray:
        return np.ones(len(table.keys), dtype=bool)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        everything = instruments.samples()
        patterns = patterns_of(everything)
        shapes = {}
        first: tuple[dict, ...] = ({}, {}, {})
        counts: tuple[Counter, ...] = (Counter(), Counter(), Counter())
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
            details = []
            for i, sample in enumerate(chunk):
                question, answer = shapes[sample.content_hash]
                columns["pattern"][i] = first[0][question, answer]
                columns["answer_pattern"][i] = first[2][answer]
                columns["pattern_count"][i] = counts[0][question, answer]
                columns["prompt_pattern_count"][i] = counts[1][question]
                columns["answer_pattern_count"][i] = counts[2][answer]
                for name, value in _copied(sample, patterns).items():
                    columns[name][i] = value
                details.append({"question": question.text[:SHOWN], "answer": answer.text[:SHOWN]})
            yield Chunk(measure.key, tuple(s.content_hash for s in chunk), columns, tuple(details))


def _copied(sample: Sample, patterns: Patterns) -> dict[str, float]:
    """Shares of the answer's words; NaN where there are none to take a share of."""
    said, asked = words_of(sample.response), set(words_of(sample.prompt))
    rare = [w for w in said if patterns.is_rare(w)]
    return {
        "copyable": sum(w in asked for w in said) / len(said) if said else np.nan,
        "copyable_rare": sum(w in asked for w in rare) / len(rare) if rare else np.nan,
        "answer_rare": len(rare) / len(said) if said else np.nan,
    }


KIND = Rarity()
