"""What a backend is: a checkpoint that scores given tokens and generates new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from core.types import Checkpoint, Decoding, Generation, TokenScores

DtypeName = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Tokens of one sample and the positions to score.

    Attributes:
        ids: (l,) int64 token ids.
        positions: (t,) int64, ascending, each in [1, l): nothing predicts position 0. May be empty.
    """

    ids: np.ndarray
    positions: np.ndarray


class Backend(Protocol):
    """An open checkpoint.

    Every answer comes in the caller's order. What else shares a call changes a number by rounding only (below 1e-4 per
    token in float32): no row sees another, and every row draws from its own seed.

    Attributes:
        context_length: most tokens the model was made for, None where its configuration names no limit.
        stop_ids: every id that ends an answer, from the folder's generation_config, else its config.
        vocab_size: number of ids; all ids are below it.
        device: where the weights are (``cpu``, ``cuda:0``).
        dtype: what the weights are held in (``float32``, ``bfloat16``, ...).
    """

    context_length: int | None
    stop_ids: tuple[int, ...]
    vocab_size: int
    device: str
    dtype: str

    def score(self, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        """One teacher-forced pass over each row; see ``TokenScores`` for the definitions.

        Logits come in the model's dtype; everything after them is float32.

        Raises:
            UserError: an id outside the vocabulary, a row longer than ``context_length``, a row that does not fit
                into the device's memory.
        """
        ...

    def pooled(self, rows: Sequence[ScoreRow]) -> np.ndarray:
        """(n, d) float32: mean of the last hidden layer over each row's positions; NaN for a row without positions.

        The layer is the one that the vocabulary projection reads, after the final norm, at the position itself (not at
        the one that predicts it).

        Raises:
            UserError: as ``score``; or the model does not give its hidden states away.
        """
        ...

    def generate(
        self, prompts: Sequence[np.ndarray], decodings: Sequence[Decoding], stop_ids: Sequence[int]
    ) -> list[Generation]:
        """One continuation per prompt, each under its own decoding, ended by any of ``stop_ids``.

        A draw depends on prompt and decoding alone, so that a resumed run draws the same answers. No top-k, penalty or
        forced token, and no top-p but the decoding's own, whatever the folder's generation_config says. Equal prompts
        are read once where the model's cache allows it. Never longer than
        ``max_new_tokens`` or what is left of the context; a prompt that fills the context gives no token.

        Args:
            prompts: n arrays (l,) int64, each with at least one id.
            decodings: n.
            stop_ids: ids that end an answer; may be empty.

        Raises:
            UserError: an empty prompt, an id outside the vocabulary, a prompt that does not fit into memory.
        """
        ...

    def close(self) -> None:
        """Gives the memory back. The backend cannot be used afterwards."""
        ...


class BackendKind(Protocol):
    """A way to open checkpoints; what ``KIND`` of a file in this folder is."""

    name: str
    label: str

    def open(
        self, checkpoint: Checkpoint, dtype: DtypeName = "float32", device: str = "auto", tokenizer: Any = None
    ) -> Backend:
        """The checkpoint, ready to score and generate.

        Args:
            checkpoint: a full model, or an adapter with its base.
            dtype: ``auto`` takes what the weights are stored in.
            device: ``auto`` is CUDA where there is one, else the CPU; or a torch device name.
            tokenizer: decodes ``Generation.text`` (special tokens kept, stop token left out); None leaves it empty.

        Raises:
            UserError: unreadable or missing weights, an architecture transformers does not know, a missing base.
        """
        ...
