"""What a file says of one row, and what is asked of such a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.types import Sample, Supervision


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a checkpoint did with one row, as a file says.

    Attributes:
        loss: mean over the tokens that carried loss, in nats; NaN where the file does not say.
        exact: 1 where greedy decoding gives the target, 0 where it does not, NaN where the file does not say.
        outputs: its answers; more than one where the file holds several for the row.
        trained_only: ``loss`` and ``exact`` are known to be those of the trained tokens, be they the target or not.
        step: optimiser step at which it was seen; None where the file does not say.
        token_losses: of the trained tokens in order, negative where a token was not the first choice; None = not said.
        same_mask: the trained tokens are those that the trainer preset says.
    """

    loss: float = math.nan
    exact: float = math.nan
    outputs: tuple[str, ...] = ()
    trained_only: bool = False
    step: int | None = None
    same_mask: bool = True
    token_losses: np.ndarray | None = None


class Record(Protocol):
    """An opened file, for one checkpoint."""

    def row(self, sample: Sample, supervision: Supervision | None) -> Recorded | None:
        """What it says of a sample; None where it says nothing.

        Args:
            supervision: the row as the trainer saw it; None where there is no tokenizer.
        """
        ...

    def unmatched(self) -> list[str]:
        """Those of its rows, in words, that were handed out for no sample so far."""
        ...

    def remarks(self) -> list[str]:
        """What else a person should know of the rows that were handed out so far."""
        ...


class Nothing:
    """The record of a checkpoint that nothing is known of."""

    def row(self, sample: Sample, supervision: Supervision | None) -> None:
        return None

    def unmatched(self) -> list[str]:
        return []

    def remarks(self) -> list[str]:
        return []
