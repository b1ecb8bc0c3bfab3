"""What a cause is, and how its strength follows from evidence.

A piece of evidence is a number in [0, 1] per sample: 0 says nothing, 1 speaks as loudly as it can (``_evidence.py``). A
cause names the pieces that speak for it and those that speak against it. Its strength is

    strength = sigmoid(bias + sum_for w_i e_i - sum_against w_j e_j),    w >= 0

with weights fitted on worlds whose causes are known (``parameters.json``). It is monotone by construction: more
evidence for a cause never lowers it. The weights are read as they stand; nothing else enters.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One file in this folder.

    Attributes:
        name, label, help: as every kind declares them.
        requires: signals or facts without which the cause is not judged: ``base``, ``trajectory``, or a column's name.
        needs: what would let it be judged where it is not, in words.
        speaks_for, speaks_against: names of pieces of evidence.
        blind: what it cannot see, in one sentence.
        advice: what to do about it, in one sentence.
    """

    name: str
    label: str
    help: str
    requires: tuple[str, ...]
    needs: str
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]
    blind: str
    advice: str
