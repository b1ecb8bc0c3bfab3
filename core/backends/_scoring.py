"""Hidden states, then logits of chosen positions only, then the numbers of ``TokenScores``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.types import TEMPERATURES

if TYPE_CHECKING:
    from torch import Tensor

# A row's maximum is found by blocks; columns that fill up the last block hold -inf.
BLOCK = 256


class SplitModel:
    """A causal language model in two halves, so that the vocabulary projection runs on chosen positions only.

    ``states`` runs the decoder; ``logits`` runs the model's own forward with the decoder replaced by states already
    computed, so that whatever the model does to its hidden states or logits (scaling, soft-capping, an adapter on the
    head) is done here too. ``agrees`` tells whether a model can be split this way.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.decoder = model.get_decoder()
        self._output: Any = None  # the decoder's own type of output, known once it has run

    def states(self, ids: Tensor) -> Tensor:
        """(b, l, d) from right-padded ids (b, l). No mask is needed: a causal model never looks right."""
        output = self.decoder(input_ids=ids, use_cache=False)
        self._output = type(output)
        states: Tensor = output.last_hidden_state
        return states

    hidden = states

    def logits(self, states: Tensor) -> Tensor:
        """(p, v) from (p, d)."""
        import torch

        output = self._output(last_hidden_state=states[None])
        own = vars(self.decoder).get("forward")  # a decoder spread over devices has one of its own
        self.decoder.forward = lambda *_, **__: output
        try:
            ids = states.new_zeros((1, len(states)), dtype=torch.int64)
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits[0]
            return logits
        finally:
            if own is None:
                del self.decoder.forward  # the class's own forward shows again
            else:
                self.decoder.forward = own


class WholeModel:
    """Any causal language model: full logits of one unpadded row at a time. Slow, and always right."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def states(self, ids: Tensor) -> Tensor:
        """(1, l, v) from ids (1, l): the logits themselves."""
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits

    def hidden(self, ids: Tensor) -> Tensor:
        """(1, l, d) from ids (1, l): the last hidden layer."""
        states: Tensor = self.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[-1]
        return states

    def logits(self, states: Tensor) -> Tensor:
        return states


def agrees(split: SplitModel, whole: WholeModel, vocab_size: int) -> bool:
    """Whether the split model gives the whole model's logits on two short rows of different lengths.

    The rows are padded for one and run alone for the other, and the states are handed over in another order, so a model
    that is not causal or a head that looks at more than one state is noticed too.
    """
    import torch

    parameter = next(whole.model.parameters())
    tolerance = 1e-4 if parameter.dtype == torch.float32 else 5e-2
    ids = (torch.arange(1, 13, device=parameter.device) * 7919 % vocab_size).view(2, 6)
    try:
        expected = torch.cat([whole.states(ids[:1])[0], whole.states(ids[1:, :4])[0]]).float()
        states = split.states(ids)
        logits = split.logits(torch.cat([states[0], states[1, :4]]).flip(0)).flip(0).float()
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return False  # an architecture that does not come apart; the whole model serves it
    scale = max(1.0, expected.nan_to_num(0.0).abs().max().item())
    return logits.shape == expected.shape and torch.allclose(
        logits, expected, rtol=0.0, atol=tolerance * scale, equal_nan=True
    )


def token_numbers(logits: Tensor, targets: Tensor, buffer_bytes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What ``TokenScores`` keeps of p positions.

    With z the logits minus their largest and L_T = log sum_v exp(z_v / T): log p = z - L_1 and
    log sum_v p_v^(1/T) = L_T - L_1 / T. The softmax at temperature T of the most likely token is exp(-L_T), which gives
    L_T from the one kernel that is fast everywhere.

    Args:
        logits: (p, v), any float type.
        targets: (p,) int64.
        buffer_bytes: size of each of the three float32 buffers; rows are taken in pieces that fit.

    Returns:
        log-probabilities (p,), argmax (p,) (the lowest id of equals), margin (p,), log-normalisers
        (p, len(TEMPERATURES)); on the CPU.
    """
    import torch

    p, v = logits.shape
    width = -(-v // BLOCK) * BLOCK
    rows = max(1, min(p, buffer_bytes // (4 * width)))
    numbers = torch.empty((p, 2 + len(TEMPERATURES)), dtype=torch.float32, device=logits.device)
    argmax = torch.empty(p, dtype=torch.int64, device=logits.device)
    # Buffers are reused: memory fresh from the system costs more than the arithmetic on it.
    buffer = torch.full((rows, width), -torch.inf, dtype=torch.float32, device=logits.device)
    work = torch.empty((2, rows, width), dtype=torch.float32, device=logits.device)
    for start in range(0, p, rows):
        piece = slice(start, min(p, start + rows))
        z = buffer[: piece.stop - start]
        z[:, :v] = logits[piece]
        target = targets[piece, None]
        own = z.gather(1, target)
        z.scatter_(1, target, -torch.inf)
        other, other_id = _max(z)
        z.scatter_(1, target, own)
        wins = (own > other) | ((own == other) & (target < other_id))
        best = torch.where(wins, target, other_id)
        lognorm = torch.cat([_log_sum_exp(z, t, best, work[:, : len(z)]) for t in TEMPERATURES], dim=1)
        flat = lognorm[:, [TEMPERATURES.index(1.0)]]
        numbers[piece, :1] = own - torch.maximum(own, other) - flat
        numbers[piece, 1:2] = own - other
        numbers[piece, 2:] = lognorm - flat / torch.tensor(TEMPERATURES, device=z.device)
        argmax[piece] = best[:, 0]
    numbers, argmax = numbers.cpu(), argmax.cpu()
    return numbers[:, 0], argmax, numbers[:, 1], numbers[:, 2:]


def _max(z: Tensor) -> tuple[Tensor, Tensor]:
    """Largest value of each row and the lowest id that has it, both (r, 1); ten times faster than ``z.max``."""
    import torch

    blocks = z.view(len(z), -1, BLOCK)
    block = blocks.amax(-1).argmax(-1)
    value, place = blocks[torch.arange(len(z), device=z.device), block].max(-1)
    return value[:, None], (block * BLOCK + place)[:, None]


def _log_sum_exp(z: Tensor, temperature: float, best: Tensor, work: Tensor) -> Tensor:
    """(r, 1) log sum_v exp((z_v - z_best) / T), where ``best`` (r, 1) is the id of the largest z (r, v)."""
    import torch

    scaled, probabilities = work
    if temperature != 1.0:
        z = torch.mul(z, 1.0 / temperature, out=scaled)
    return -torch.softmax(z, dim=-1, out=probabilities).gather(1, best).log()
