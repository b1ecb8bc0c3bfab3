"""Do two prompts ask the same question? A small logistic rule with readable parameters.

    p = 1 / (1 + exp(-(intercept + sum of weight x evidence)))

The direction of every piece of evidence is fixed: what both texts share never speaks against, what only one of them has
never speaks for. ``same_question.json`` holds the parameters, the command that fitted them, and the data it used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.pairs.wording import Difference, Rarity, Words, difference

# Evidence and the sign its weight may have.
EVIDENCE: Mapping[str, int] = {
    "cosine": 1,
    "weakest": 1,
    "overlap": 1,
    "shared": 1,
    "swapped": -1,
    "added": -1,
    "numbers": -1,
    "names": -1,
    "negated": -1,
    "length": -1,
}
# An exchanged name or number makes another question, however near the rest is. No fitted weight may soften that.
AT_MOST: Mapping[str, float] = {"numbers": -5.0, "names": -5.0}
FILE = Path(__file__).with_name("same_question.json")


@cache
def parameters() -> Mapping[str, Any]:
    """The content of the file: intercept, weights, made_by, data."""
    content: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def evidence(a: Words, b: Words, cosine: float, form: float, rarity: Rarity) -> tuple[np.ndarray, Difference]:
    """(len(EVIDENCE),) numbers in [0, 1] in the order of ``EVIDENCE``, and the difference they were read from.

    Args:
        cosine: cosine of the two prompts.
        form: cosine of the two without their names (``wording.form``).
    """
    gap = difference(a, b, rarity)
    return np.array(values(gap, cosine, form, len(a), len(b))), gap


def values(gap: Difference, cosine: float, form: float, n_left: int, n_right: int) -> list[float]:
    longer = max(n_left, n_right, 1)
    return [
        min(max(cosine, 0.0), 1.0),
        min(max(min(cosine, form), 0.0), 1.0),
        gap.overlap,
        gap.heaviest_shared,
        gap.swapped,
        gap.added,
        gap.numbers,
        gap.names,
        float(gap.negated),
        1.0 - min(n_left, n_right) / longer,
    ]


def probability(evidence: np.ndarray | Sequence[float], fitted: Mapping[str, Any] | None = None) -> float:
    """The probability that two prompts ask the same question, from their evidence."""
    from scipy.special import expit

    fitted = fitted or parameters()
    score = fitted["intercept"] + sum(
        fitted["weights"][name] * value for name, value in zip(EVIDENCE, evidence, strict=True)
    )
    return float(expit(score))
