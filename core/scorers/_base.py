"""What a scorer is.

A scorer compares one output with one target and gives a number in [0, 1]; 1 is right. It is symmetric in nothing and
knows nothing of models. Whether a graded score counts as a success is decided later, by ``Thresholds.success_cut``; a
scorer that only knows right and wrong gives 0.0 or 1.0, so that the cut does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core.types import Setting


class Scorer(Protocol):
    """What ``KIND`` of a file in this folder is: a subclass with at least a name, a label, a help text and ``score``.

    Attributes:
        name: the file's name, as ``--scorer`` takes it.
        label: what people read; verdicts say "right by “<label>”".
        help: what counts as right, in one sentence.
        settings: fields of its form.
        specific: the highest one that fits the targets is suggested first; 0 is never suggested.
        made_for: how the suggestion words its reason, after "95 % of targets".
        graded: whether scores between 0 and 1 occur.
    """

    name: str
    label: str
    help: str
    settings: tuple[Setting, ...] = ()
    specific: int = 0
    made_for: str = ""
    graded: bool = False

    def fits(self, target: str) -> bool:
        """Whether the scorer is made for this target; any by default."""
        return True

    def score(self, output: str, target: str, settings: Mapping[str, Any]) -> float:
        """In [0, 1]; 1.0 whenever ``output == target``."""
        ...
