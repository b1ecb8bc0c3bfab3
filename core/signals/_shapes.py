"""Which texts of a sample have a shape, and what counts as wording in a dataset: shared by the signals on patterns."""

from __future__ import annotations

from collections.abc import Sequence

from core.text.patterns import Patterns
from core.types import Sample


def question_of(sample: Sample) -> str:
    """The turn that the last answer answers; the system prompt and earlier turns are no part of the pattern."""
    last = max((i for i, m in enumerate(sample.messages) if m.role == "assistant"), default=0)
    return sample.messages[last - 1].content if last else ""


def patterns_of(samples: Sequence[Sample]) -> Patterns:
    """What counts as wording over these samples, exact duplicates once."""
    distinct = {s.content_hash: s for s in samples}
    return Patterns([(question_of(s), s.response) for s in distinct.values()])
