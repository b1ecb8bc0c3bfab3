"""What brought a single sample back in a proof, as a word to filter by and as a sentence.

It says nothing about the cause. Training on the very samples brings back much of anything, whatever the recipe. Over
planted worlds the outcome was no more frequent where the recipe's cause was the true one than where another was, so a
proof leaves the confidence of a verdict alone (``docs/mitigation.md``).
"""

from __future__ import annotations

# Which arm gave the right answer: the recipe of the sample's cause, the uniform mix, the recipe set against it.
_PATTERNS = {
    (1, 0, 0): "this recipe alone",
    (1, 0, 1): "both recipes",
    (0, 0, 1): "the other recipe alone",
    (0, 0, 0): "nothing",
}
_UNIFORM = "the uniform mix"
_SENTENCES = {
    "this recipe alone": "Trained on a copy, the recipe of this cause brought this sample back; the uniform mix and "
    "another cause's recipe did not.",
    "both recipes": "Trained on a copy, the recipe of this cause brought this sample back, and another cause's recipe "
    "did too; the uniform mix did not.",
    "the other recipe alone": "Trained on a copy, only another cause's recipe brought this sample back.",
    "nothing": "Trained on a copy, neither recipe nor the uniform mix brought this sample back.",
    _UNIFORM: "Trained on a copy, the uniform mix brought this sample back too: that says little about why it was not "
    "learned.",
}


def pattern(treatment: int, control: int, off_target: int) -> str:
    """What brought the sample back. Arguments: 1 where that arm answers rightly, else 0."""
    return _UNIFORM if control else _PATTERNS[int(treatment), 0, int(off_target)]


def sentence(outcome: str) -> str:
    """The sentence for a pattern."""
    return _SENTENCES[outcome]
