"""What a trainer made of a row, and what a model makes of it: masks, token scores, generations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The declared grid of sampling temperatures on which log-normalisers are kept.
TEMPERATURES: tuple[float, ...] = (0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn, a half-open range of token positions; its end includes the stop token when there is one."""

    start: int
    stop: int
    has_stop_token: bool


@dataclass(frozen=True, slots=True)
class Supervision:
    """What one sample looked like to the trainer.

    Attributes:
        ids: (l,) int64 token ids.
        trained: (l,) bool, tokens that carried loss.
        target: (l,) bool, assistant content and its stop token. Status is judged here.
        turns: assistant turns in order; their ranges cover ``target``.
        truncated: the trainer (or the model's context) cut the row's end or start.
        cut_target: number of target tokens lost to truncation; -1 where they cannot be counted.
        dropped: why the trainer left the row out altogether, or None.
        template_hash: hash of the template that rendered the row, empty for none.
        notes: what a person should know ("generation prompt differs from the training prefix: ...").
    """

    ids: np.ndarray
    trained: np.ndarray
    target: np.ndarray
    turns: tuple[Turn, ...]
    truncated: bool = False
    cut_target: int = 0
    dropped: str | None = None
    template_hash: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenScores:
    """One teacher-forced pass over one sample, in float32, on the positions asked for.

    Attributes:
        positions: (t,) int64, positions in ``ids`` that were scored (position 0 has no prediction and is never asked).
        logprobs: (t,) log-probability of the token at temperature 1, natural logarithm.
        argmax: (t,) int64, the most likely token id; -1 = not measured.
        margin: (t,) logit of the token minus the highest logit of any other token; > 0 where it is the argmax. NaN =
            not measured.
        lognorm: (t, len(TEMPERATURES)) log sum_v exp(logp_v / T), so that
            log p_T(token) = logprobs / T - lognorm[:, T]; the column of T = 1 is 0. NaN = not measured.
    """

    positions: np.ndarray
    logprobs: np.ndarray
    argmax: np.ndarray
    margin: np.ndarray
    lognorm: np.ndarray

    @classmethod
    def of(
        cls,
        positions: np.ndarray,
        logprobs: np.ndarray,
        argmax: np.ndarray | None = None,
        margin: np.ndarray | None = None,
        lognorm: np.ndarray | None = None,
    ) -> TokenScores:
        """The scores of a backend that gives only some of them; what is left out is not measured."""
        t = len(positions)
        if lognorm is None:
            lognorm = np.full((t, len(TEMPERATURES)), np.nan, dtype=np.float32)
            lognorm[:, TEMPERATURES.index(1.0)] = 0.0
        return cls(
            positions,
            logprobs,
            np.full(t, -1, dtype=np.int64) if argmax is None else argmax,
            np.full(t, np.nan, dtype=np.float32) if margin is None else margin,
            lognorm,
        )

    def hits(self, ids: np.ndarray) -> np.ndarray:
        """(t,) float64: 1 where the token is the most likely one, 0 where it is not, NaN where that is not measured.

        A token with more than half of the probability is the most likely one, whatever the others have.

        Args:
            ids: (l,) token ids of the sample.
        """
        likely = np.where(self.logprobs > np.log(0.5), 1.0, np.nan)
        return np.where(self.argmax >= 0, (self.argmax == ids[self.positions]).astype(np.float64), likely)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to generate. ``temperature`` 0 is greedy; no top-k or penalties ever.

    ``top_p``: draws are made among the fewest most likely tokens whose probabilities reach it together; 1 among all.
    """

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated continuation; ``tokens`` (m,) includes the stop token when one was produced."""

    tokens: np.ndarray
    text: str
    stopped: bool
    decoding: Decoding
