"""What a proof says about the cause of one sample: how far it moves the verdict's confidence.

A sample that a proof trained on was then right or wrong in each arm. How often planted worlds show that pattern where
the recipe's cause is the true one, against where it is another, is the likelihood ratio the odds are multiplied with.
Training on the very samples brings back much of anything, whatever the recipe; so most patterns say little. The table
(``causal.json``, made by ``bench/mitigation.py fit``) holds a ratio only for causes where the ratios of other worlds
made the probability of the true cause better; for the rest it is 1, and a proof moves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from core.types import Reason

# What came right again: under this recipe, under the uniform mix, under the recipe set against it.
PATTERNS = {
    (1, 0, 0): "this recipe alone",
    (1, 0, 1): "both recipes",
    (0, 0, 1): "the other recipe alone",
    (0, 0, 0): "nothing",
    (0, 1, 0): "the uniform mix",
    (0, 1, 1): "the uniform mix",
    (1, 1, 0): "the uniform mix",
    (1, 1, 1): "the uniform mix",
}
# Samples of each pattern thought of beside those seen, spread over both sides alike: rare patterns move little.
PRIOR = 40.0
# A proof is a small experiment on a copy: it never outweighs the evidence by more than this.
MOST = 4.0


def pattern(treatment: int, control: int, off_target: int) -> str:
    """What brought a sample back, as ``PATTERNS`` names it."""
    return PATTERNS[int(treatment), int(control), int(off_target)]


def fitted(right: Mapping[str, int], other: Mapping[str, int]) -> dict[str, float]:
    """Likelihood ratio of each pattern, shrunk towards 1 where few samples showed it.

    Args:
        right, other: pattern to samples whose true cause is the recipe's, and to samples of other causes.
    """
    n, m = sum(right.values()), sum(other.values())
    out = {}
    for name in dict.fromkeys(PATTERNS.values()):
        a, b = right.get(name, 0), other.get(name, 0)
        if not n or not m:
            out[name] = 1.0
            continue
        ratio = (a / n + PRIOR / (n + m)) / (b / m + PRIOR / (n + m))
        out[name] = round(min(MOST, max(1 / MOST, ratio)), 3)
    return out


@lru_cache(maxsize=1)
def ratios() -> Mapping[str, Mapping[str, float]]:
    """Cause to pattern to likelihood ratio; a cause that is not in there is never moved."""
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found["ratios"]


def moved(cause: str, confidence: float, shown: str) -> float:
    """The confidence in ``cause`` after a proof of its recipe showed this pattern: Bayes' rule on the odds."""
    ratio = ratios().get(cause, {}).get(shown, 1.0)
    return confidence * ratio / (confidence * ratio + 1.0 - confidence)


def reason(shown: str, said: str, before: float | None, after: float | None) -> Reason:
    """The sentence for one sample. ``said``: what the proof found over all its samples."""
    words = {
        "this recipe alone": "Trained on a copy, the recipe of this cause brought this sample back; the uniform "
        "mix and another cause's recipe did not.",
        "both recipes": "Trained on a copy, the recipe of this cause brought this sample back, and another cause's "
        "recipe did too; the uniform mix did not.",
        "the other recipe alone": "Trained on a copy, only another cause's recipe brought this sample back.",
        "nothing": "Trained on a copy, neither recipe nor the uniform mix brought this sample back.",
        "the uniform mix": "Trained on a copy, the uniform mix brought this sample back too: that says little about "
        "why it was not learned.",
    }
    if before is None or after is None:
        return Reason(f"{words[shown]} {said}")
    same = f"{before:.0%}" == f"{after:.0%}"
    change = f" Confidence stays at {after:.0%}." if same else f" Confidence {before:.0%} before, {after:.0%} after."
    favours: Literal["for", "against", "note"] = "note" if same else "for" if after > before else "against"
    return Reason(f"{words[shown]} {said}{change}", before, after, favours)
