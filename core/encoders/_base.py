"""What an encoder is: texts in, unit vectors out, from weights on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np


class Encoder(Protocol):
    """An open encoder.

    Attributes:
        window: most word pieces of a text that it reads, special ones included.
        languages: codes of the languages it was made for ("en"); empty where its card does not say.
    """

    window: int
    languages: tuple[str, ...]

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) int64: word pieces of each text, special ones included, nothing cut."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float32, rows of length 1, in the order given. What shares a call changes rounding only."""
        ...

    def close(self) -> None:
        """Gives the memory back."""
        ...


class EncoderKind(Protocol):
    """A way to open encoders; what ``KIND`` of a file in this folder is.

    ``location`` is what the settings name, a folder for instance; empty is the kind's own default.

    Attributes:
        name: the file's name, as ``LACUNA_ENCODER=<name>:<location>`` takes it.
        label, help: what people read.
    """

    name: str
    label: str
    help: str

    def locate(self, location: str) -> Path:
        """Where the weights lie.

        Raises:
            UserError: nowhere.
        """
        ...

    def fingerprint(self, location: str) -> str:
        """Hash of what decides the vectors: with another one everything that was compared is compared anew.

        Raises:
            UserError: the default is not what it should be.
        """
        ...

    def open(self, location: str, device: str = "auto") -> Encoder:
        """The encoder, its weights in memory on ``device``."""
        ...
