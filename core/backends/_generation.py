"""Decoding: greedy and sampled rows side by side in one batch, each draw from its row's own seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.types import Decoding

if TYPE_CHECKING:
    from torch import Tensor

# Cumulative probabilities are searched by blocks of ids.
BLOCK = 256
# Steps between two looks at which rows are finished; those leave the batch.
SEGMENT = 24


def uniforms(seed: int, steps: int) -> np.ndarray:
    """(steps,) float64 in [0, 1) of a counter-based generator: number i is the same however many are asked for."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64)).random(steps)


class Draw:
    """A logits processor that makes the drawn token the argmax.

    The token at step s is the first whose cumulative probability at the row's temperature exceeds the row's number of
    that step (inversion): one number per row and step, from a generator on the CPU, so that batch, order and device
    play no part in it. Greedy rows pass unchanged.

    Args:
        temperatures: (b,) float32, 0 for greedy rows.
        nuclei: (b,) float32, top-p of each row; 1 draws among all tokens.
        numbers: (b, steps) float64 in [0, 1).
        start: length of the padded prompts, where step 0 is.
    """

    def __init__(self, temperatures: Tensor, nuclei: Tensor, numbers: Tensor, start: int) -> None:
        self.temperatures, self.nuclei, self.numbers, self.start = temperatures, nuclei, numbers, start
        self.sampled = temperatures.nonzero()[:, 0]
        self.narrowed = (nuclei[self.sampled] < 1).nonzero()[:, 0]

    def only(self, rows: Tensor) -> Draw:
        """The same for some of the rows."""
        return Draw(self.temperatures[rows], self.nuclei[rows], self.numbers[rows], self.start)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        if not len(self.sampled):
            return scores
        scaled = scores[self.sampled].div_(self.temperatures[self.sampled, None])
        number = self.numbers[self.sampled, input_ids.shape[1] - self.start, None]
        chances = torch.softmax(scaled, dim=-1)
        if len(self.narrowed):
            nuclei = self.nuclei[self.sampled[self.narrowed], None]
            chances[self.narrowed] = nucleus(chances[self.narrowed], nuclei)
        scores[self.sampled[:, None], invert(chances, number)] = torch.inf
        return scores


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """``probabilities`` (r, v) with 0 outside the fewest most likely ids whose sum reaches ``top_p`` (r, 1).

    Holtzman et al. 2020; the most likely id is always kept. Equal probabilities are taken in the order of ids.
    """
    import torch

    falling, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    before = falling.double().cumsum(-1) - falling
    kept = torch.where(before < top_p, falling, 0.0)
    kept[:, 0] = falling[:, 0]
    return torch.zeros_like(probabilities).scatter_(1, order, kept)


def invert(probabilities: Tensor, number: Tensor) -> Tensor:
    """(r, 1) the first id whose cumulative share of ``probabilities`` (r, v) exceeds ``number`` (r, 1) in [0, 1).

    Sums are taken in float64, over blocks first and then inside the block that holds the id.
    """
    import torch

    v = probabilities.shape[1]
    blocks = torch.nn.functional.pad(probabilities, (0, -v % BLOCK)).view(len(probabilities), -1, BLOCK)
    sums = blocks.sum(-1).double()
    ends = sums.cumsum(-1)
    sought = number * ends[:, -1:]
    block = torch.searchsorted(ends, sought, right=True).clamp_(max=ends.shape[1] - 1)
    sought -= ends.gather(1, block) - sums.gather(1, block)
    inside = blocks.take_along_dim(block[:, :, None], dim=1)[:, 0].double().cumsum(-1)
    place = torch.searchsorted(inside, sought, right=True).clamp_(max=BLOCK - 1)
    return (block * BLOCK + place).clamp_(max=v - 1)


def continue_prompts(
    model: Any,
    prompts: Sequence[np.ndarray],
    decodings: Sequence[Decoding],
    limits: Sequence[int],
    rooms: Sequence[int],
    stops: Sequence[int],
) -> list[np.ndarray]:
    """New tokens (m,) int64 of each prompt, its stop token included.

    Equal prompts are read once, however many draws there are, and finished rows leave the batch, both where the model's
    cache can be cut along the batch (see ``new_cache``); elsewhere prompts must be of one length.

    Args:
        limits: n, most new tokens of each prompt, at least 1.
        rooms: n, tokens up to the end of the context, at least the limit.
    """
    import torch

    ids, mask = _left_padded(prompts, model.device)
    start, longest = ids.shape[1], max(limits)
    numbers = np.zeros((len(prompts), longest))
    for row, (decoding, limit) in enumerate(zip(decodings, limits, strict=True)):
        if decoding.temperature > 0:
            numbers[row, :limit] = uniforms(decoding.seed, limit)
    temperatures = torch.tensor([d.temperature for d in decodings], dtype=torch.float32)
    nuclei = torch.tensor([d.top_p for d in decodings], dtype=torch.float32)
    device = model.device
    draw = Draw(temperatures.to(device), nuclei.to(device), torch.from_numpy(numbers).to(device), start)
    cache = _prefilled(model, prompts, ids, mask)
    continuations: list[np.ndarray] = [np.empty(0, np.int64)] * len(prompts)
    left = list(range(len(prompts)))
    while left:
        done = ids.shape[1] - start
        steps = max(limits[i] for i in left) - done
        if cache is not None:
            # No row is carried past the context, where a position may not exist.
            steps = min(steps, SEGMENT, min(rooms[i] for i in left) - done)
        ids = _extend(model, ids, mask, cache, draw, steps, stops)
        new = ids[:, start:].cpu().numpy()
        ends = np.isin(new, stops)
        lengths = np.where(ends.any(1), ends.argmax(1) + 1, new.shape[1] + 1)  # one too many: goes on
        for i, tokens, length in zip(left, new, lengths.tolist(), strict=True):
            continuations[i] = tokens[: min(length, limits[i])]
        keep = [at for at, i in enumerate(left) if new.shape[1] < min(lengths[at], limits[i])]
        left = [left[at] for at in keep]
        if left:
            rows = torch.tensor(keep, device=ids.device)
            ids, draw = ids[rows], draw.only(rows)
            mask = torch.cat([mask[rows], mask.new_ones((len(rows), ids.shape[1] - mask.shape[1]))], dim=1)
            cache.batch_select_indices(rows)
    return continuations


def _left_padded(prompts: Sequence[np.ndarray], device: Any) -> tuple[Tensor, Tensor]:
    """(b, l) ids and mask; the pad id is never looked at."""
    import torch

    longest = max(len(p) for p in prompts)
    ids, mask = np.zeros((2, len(prompts), longest), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def new_cache(model: Any) -> Any:
    """An empty key-value cache that can be cut along the batch; None where the model needs another kind (recurrent
    models, whose states padding may enter, too)."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if not model._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    return cache if all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers) else None


def _prefilled(model: Any, prompts: Sequence[np.ndarray], ids: Tensor, mask: Tensor) -> Any:
    """A cache holding all but the last token of each prompt: equal prompts are read once.

    Empty where no two are equal (``generate`` fills it then); None where ``new_cache`` gives none.
    """
    import torch

    cache = new_cache(model)
    places: dict[bytes, int] = {}
    same = [places.setdefault(p.astype(np.int64).tobytes(), len(places)) for p in prompts]
    if cache is None or min(len(p) for p in prompts) < 2:
        return cache
    unique = [same.index(k) for k in range(len(places))]
    if len(places) == len(prompts):
        return cache
    first = torch.tensor(unique, device=ids.device)
    _extend(model, ids[first, :-1], mask[first, :-1], cache, None, 1, ())
    cache.batch_select_indices(torch.tensor(same, device=ids.device))
    return cache


def _extend(
    model: Any, ids: Tensor, mask: Tensor, cache: Any, draw: Draw | None, steps: int, stops: Sequence[int]
) -> Tensor:
    """(b, l + up to ``steps``) ids; rows that met a stop id go on with pad ids until the last one is done."""
    from transformers import GenerationConfig, LogitsProcessorList

    config = GenerationConfig(
        max_new_tokens=steps, do_sample=False, eos_token_id=list(stops) or None, pad_token_id=0, use_cache=True
    )
    extended: Tensor = model.generate(
        ids,
        attention_mask=mask,
        past_key_values=cache,
        generation_config=config,
        logits_processor=LogitsProcessorList([draw] if draw else []),
    )
    return extended
