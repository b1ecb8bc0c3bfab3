"""How near answers are in meaning, by the run's encoder; each text is embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from core.encoders import named
from core.encoders._base import Encoder

# Texts embedded between two looks at whether to stop.
_ENCODED = 1024


class Meanings:
    """Opens the encoder when a text is first embedded."""

    def __init__(self, encoder: str) -> None:
        self._kind, self._location = named(encoder)
        self._encoder: Encoder | None = None
        self._vectors: dict[str, np.ndarray] = {}

    def read(self, texts: Iterable[str], stop: Callable[[], bool] = lambda: False) -> bool:
        """Embeds the texts that are new, by length; False where it was asked to stop on the way."""
        new = sorted({t for t in texts if t not in self._vectors}, key=lambda t: (len(t), t))
        for at in range(0, len(new), _ENCODED):
            if stop():
                return False
            if self._encoder is None:
                self._encoder = self._kind.open(self._location)
            block = new[at : at + _ENCODED]
            self._vectors.update(zip(block, self._encoder.encode(block), strict=True))
        return True

    def alike(self, a: str, b: str) -> float:
        """The cosine of two texts, in [0, 1]: below 0 they are as unlike as at 0."""
        self.read((a, b))
        return min(max(float(self._vectors[a] @ self._vectors[b]), 0.0), 1.0)

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = None
