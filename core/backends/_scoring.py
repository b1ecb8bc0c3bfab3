"""Hidden states, then logits of chosen positions only, then the numbers of ``TokenScores``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.types import TEMPERATURES

if TYPE_CHECKING:
    from torch import Tensor


class SplitModel:
    """A causal language model in two halves, so that the vocabulary projection runs on chosen positions only.

    ``states`` runs the decoder; ``logits`` runs the model's own forward with the decoder replaced by states already
    computed, so that whatever the model does to its hidden states or logits (scaling, soft-capping, an adapter on the
    head) is done here too. ``agrees`` tells whether a model can be split this way.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.decoder = model.get_decoder()
        self._output: type | None = None

    def states(self, ids: Tensor) -> Tensor:
        """(b, l, d) from right-padded ids (b, l). No mask is needed: a causal model never looks right."""
        output = self.decoder(input_ids=ids, use_cache=False)
        self._output = type(output)
        return output.last_hidden_state

    def logits(self, states: Tensor) -> Tensor:
        """(p, v) from (p, d)."""
        output = self._output(last_hidden_state=states[None])
        self.decoder.forward = lambda *_, **__: output
        try:
            return self.model(input_ids=states.new_zeros((1, len(states)), dtype=int), use_cache=False).logits[0]
        finally:
            del self.decoder.forward  # the class's own forward shows again


class WholeModel:
    """Any causal language model: full logits of one unpadded row at a time. Slow, and always right."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def states(self, ids: Tensor) -> Tensor:
        """(1, l, v) from ids (1, l): the logits themselves."""
        return self.model(input_ids=ids, use_cache=False).logits

    def logits(self, states: Tensor) -> Tensor:
        return states


def agrees(split: SplitModel, whole: WholeModel, vocab_size: int) -> bool:
    """Whether the split model gives the whole model's logits on two short rows of different lengths.

    The rows are padded for one and run alone for the other, so a model that is not causal is found out too.
    """
    import torch

    parameter = next(whole.model.parameters())
    tolerance = 1e-4 if parameter.dtype == torch.float32 else 5e-2
    ids = (torch.arange(1, 13, device=parameter.device) * 7919 % vocab_size).view(2, 6)
    lengths = (6, 4)
    try:
        states = split.states(ids)
        for row, length in enumerate(lengths):
            expected = whole.states(ids[row : row + 1, :length])[0].float()
            found = split.logits(states[row, :length]).float()
            if found.shape != expected.shape or not torch.isfinite(expected).all():
                return found.shape == expected.shape
            if (found - expected).abs().max() > tolerance * max(1.0, expected.abs().max().item()):
                return False
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return False
    return True
