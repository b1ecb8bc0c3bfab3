"""Keys and values of the tokens that rows read or say for themselves, behind what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def own_cache(n_layers: int, room: int) -> Any:
    """A cache of own tokens, at most ``room`` columns, that is written in place and handed out as float32.

    Its layers can be ``regrouped``: some rows stay at new places, the columns before ``first`` go, others join empty.
    """
    import torch
    from transformers.cache_utils import Cache, DynamicLayer

    class OwnLayer(DynamicLayer):
        filled = 0
        own: Any = None
        room = 0

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            n, s = self.filled, key_states.shape[2]
            if self.own is None:
                sides = (key_states, value_states)
                self.own = [x.new_empty((*x.shape[:2], self.room, x.shape[3]), dtype=torch.float32) for x in sides]
            for side, states in zip(self.own, (key_states, value_states), strict=True):
                side[:, :, n : n + s] = states
            self.filled = n + s
            return self.own[0][:, :, : n + s], self.own[1][:, :, : n + s]

        def regroup(self, stay: Tensor, places: Tensor, n: int, first: int, room: int) -> None:
            self.filled, self.room = self.filled - first, room
            before, self.own = self.own, None
            if before is None or not self.filled:
                return
            # Zeros, because what a row must not see is still multiplied, by a weight of 0.
            self.own = [x.new_zeros((n, x.shape[1], room, x.shape[3])) for x in before]
            for side, old in zip(self.own, before, strict=True):
                side[places, :, : self.filled] = old[stay, :, first : first + self.filled]

        def get_seq_length(self) -> int:
            return self.filled

    layers: list[Any] = [OwnLayer() for _ in range(n_layers)]  # type: ignore[no-untyped-call]
    for layer in layers:
        layer.room = room
    return Cache(layers=layers)
