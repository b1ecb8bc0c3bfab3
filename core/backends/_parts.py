"""Rows in parts: what they begin with is read once, kept, and attended to where it lies.

A row is a *trunk* that many rows begin with (few-shot examples, a system turn), a *branch* (its question), and its own
tokens (an answer that is scored or generated). Several answers to one question share trunk and branch, also in later
calls. Each query attends to the three parts together, so nothing is copied per row and nothing is read twice; hidden
states are those of the whole row up to rounding, which ``works`` tries on the very model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backends._own_cache import own_cache
from core.backends._prefix import SHORTEST, plain_cache, shared

if TYPE_CHECKING:
    from torch import Tensor

NAME = "lacuna_parts"
# Rows of so many shared tokens are read in two steps, question and answer, so that the question serves later answers.
LONG = 64
# Scores of one layer that are held at once: 256 MiB as float32.
MOST_SCORES = 1 << 26
# What an attention of this kind may be told that is no part of plain attention; such a model reads every row whole.
_OTHER = ("softcap", "sliding_window", "s_aux", "position_bias", "head_mask")


@dataclass(eq=False)
class Block:
    """Keys and values of r beginnings behind one trunk: per layer (r, heads, q, d), padded on the right.

    Attributes:
        start: tokens of the trunk; ``lengths``: (r,) tokens of each beginning.
    """

    trunk: Block | None
    start: int
    lengths: np.ndarray
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """What it takes of the memory, in tokens."""
        return int(len(self.lengths) * self.lengths.max())


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One beginning: row ``row`` of a block, ``length`` tokens in all."""

    block: Block
    row: int
    length: int


@dataclass(eq=False)
class Layout:
    """What each of b rows attends to besides its own tokens.

    Attributes:
        trunks: (first row, end, per-layer (heads, p, d) keys and values) of runs of rows with a common trunk.
        keys, values: of the branches, per layer (b, heads, q, d) float32; empty where no row has one.
        hidden: (b, 1, 1, q) bool, padding of the branches.
        starts: (b,) int64, position that each row's first column of own tokens has, or would have.
        joined: (b,) int64, columns of own tokens in front of those that are the row's; None: none.
    """

    trunks: list[tuple[int, int, list[Tensor], list[Tensor]]]
    longest: int
    keys: list[Tensor]
    values: list[Tensor]
    hidden: Tensor | None
    starts: Tensor
    joined: Tensor | None = None


_layout: ContextVar[Layout] = ContextVar("layout")


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Causal attention of own tokens to trunk, branch and themselves: one softmax over all three, in float32.

    Args:
        query: (b, query heads, s, d). key, value: (b, heads, m, d) of all own tokens so far, the last s of them new.

    Raises:
        NotImplementedError: the model wants more than plain attention.
    """
    import torch

    if attention_mask is not None or any(others.get(name) is not None for name in _OTHER):
        raise NotImplementedError("no plain attention")
    layout, layer = _layout.get(), module.layer_idx
    b, _, s, d = query.shape
    m = key.shape[2]
    scale = d**-0.5 if scaling is None else scaling
    if not layout.trunks and not layout.keys and s == m:
        own = torch.nn.functional.scaled_dot_product_attention(
            query, key.to(query.dtype), value.to(query.dtype), is_causal=s > 1, scale=scale, enable_gqa=True
        )
        return _fresh(own, query), None
    length = layout.longest + (layout.keys[layer].shape[2] if layout.keys else 0) + m
    step = max(1, MOST_SCORES // (b * query.shape[1] * length))
    out = [
        _attended(query[:, :, at : at + step], key, value, scale, layout, layer, m - s + at) for at in range(0, s, step)
    ]
    return _fresh(torch.cat(out, dim=2), query), None


def _fresh(out: Tensor, query: Tensor) -> Tensor:
    """(b, s, heads, d) of (b, heads, s, d) in the query's type, with the strides of a new tensor.

    A dimension of one keeps what stride it had, ``contiguous`` or not, and torch multiplies such a bfloat16 tensor row
    by row with a copy of the weights for each: 121 ms against 0.8 for 160 rows of 576.
    """
    import torch

    return out.transpose(1, 2).to(query.dtype).clone(memory_format=torch.contiguous_format)


def _attended(
    query: Tensor, key: Tensor, value: Tensor, scale: float, layout: Layout, layer: int, before: int
) -> Tensor:
    """(b, query heads, s, d) float32 of queries (b, query heads, s, d), the first of which has ``before`` own keys
    in front of its own."""
    import torch

    b, all_heads, s, d = query.shape
    heads, m = key.shape[1], before + s
    key, value = key[:, :, :m], value[:, :, :m]
    q = (query.float() * scale).reshape(b, heads, all_heads // heads * s, d)
    n, p = q.shape[2], layout.longest
    branch = layout.keys[layer] if layout.keys else None
    length = 0 if branch is None else branch.shape[2]
    scores = q.new_empty((b, heads, n, p + length + m))
    if p:
        scores[..., :p] = -torch.inf
    for first, end, keys, _ in layout.trunks:
        flat = q[first:end].transpose(0, 1).reshape(heads, -1, d)
        of_trunk = flat @ keys[layer].transpose(-1, -2)
        scores[first:end, ..., : of_trunk.shape[-1]] = of_trunk.view(heads, end - first, n, -1).transpose(0, 1)
    if branch is not None and layout.hidden is not None:
        of_branch = q @ branch.transpose(-1, -2)
        scores[..., p : p + length] = of_branch.masked_fill(layout.hidden, -torch.inf)
    own = q @ key.transpose(-1, -2)
    if s > 1:
        later = torch.ones(s, m, dtype=torch.bool, device=q.device).triu(before + 1)
        own = own.view(b, heads, -1, s, m).masked_fill(later, -torch.inf).view(b, heads, n, m)
    if layout.joined is not None:
        others = torch.arange(m, device=q.device) < layout.joined[:, None]
        own = own.masked_fill(others[:, None, None], -torch.inf)
    scores[..., p + length :] = own
    weights = torch.softmax(scores, dim=-1)
    out = weights[..., p + length :] @ value
    if branch is not None:
        out += weights[..., p : p + length] @ layout.values[layer]
    for first, end, keys, values in layout.trunks:
        w = weights[first:end, ..., : keys[layer].shape[1]].transpose(0, 1).reshape(heads, -1, keys[layer].shape[1])
        out[first:end] += (w @ values[layer]).view(heads, end - first, n, d).transpose(0, 1)
    return out.view(b, all_heads, s, d)


class Parts:
    """Beginnings that were read, the least recently used given up first.

    Args:
        inner: causal language model; ``decoder``: what turns ids and a cache into hidden states.
        most: tokens that may be kept.
    """

    def __init__(self, inner: Any, decoder: Any, most: int) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, attend)
        self._decoder = decoder
        self._config = inner.config.get_text_config(decoder=True)
        self._n_layers = int(self._config.num_hidden_layers)
        self._most = most
        self._last = (getattr(self._config, "max_position_embeddings", None) or 1 << 30) - 1
        self._blocks: OrderedDict[Block, None] = OrderedDict()
        self._places: dict[bytes, Place] = {}
        self._trunks: dict[int, set[bytes]] = {}

    # ------------------------------------------------------------------------------------------------- beginnings

    def known(self, beginning: np.ndarray) -> bool:
        """Whether this very beginning was read."""
        return name_of(beginning) in self._places

    def trunk_of(self, beginning: np.ndarray) -> Place | None:
        """The longest trunk read so far that the beginning begins with."""
        for length in sorted(self._trunks, reverse=True):
            if length <= len(beginning) and (name := name_of(beginning[:length])) in self._trunks[length]:
                return self._places[name]
        return None

    def read_trunks(self, beginnings: Sequence[np.ndarray], overhead: int) -> None:
        """Reads what several of the beginnings that are not known have in common, beyond the trunk that serves them.

        A system turn that every row begins with must not keep the examples behind it from being read once.
        """
        behind: dict[int, list[np.ndarray]] = {}
        for beginning in beginnings:
            if not self.known(beginning):
                trunk = self.trunk_of(beginning)
                behind.setdefault(0 if trunk is None else trunk.length, []).append(beginning)
        for start, some in behind.items():
            whole = [b for b in some if len(b) > start + SHORTEST]
            if len(whole) < 2:
                continue
            rest = [b[start:] for b in whole]
            for group in shared(rest, np.array([len(r) for r in rest]), overhead + start):
                if group.length >= SHORTEST:
                    self.read_trunk(whole[group.rows[0]][: start + group.length])

    def read_trunk(self, ids: np.ndarray) -> None:
        self.read([ids], None)
        self._trunks.setdefault(len(ids), set()).add(name_of(ids))

    def read(self, beginnings: Sequence[np.ndarray], trunk: Place | None) -> None:
        """Reads beginnings that all begin with the trunk, and keeps them."""
        start = 0 if trunk is None else trunk.length
        lengths = np.array([len(b) - start for b in beginnings], dtype=np.int64)
        ids = np.zeros((len(beginnings), lengths.max()), dtype=np.int64)
        for row, beginning in enumerate(beginnings):
            ids[row, : lengths[row]] = beginning[start:]
        places = [trunk] * len(beginnings) if trunk is not None else []
        cache = own_cache(self._n_layers, ids.shape[1])
        self.states(ids, self.layout(places, len(beginnings)), cache)
        block = Block(None if trunk is None else trunk.block, start, lengths)
        kept = next(self._decoder.parameters()).dtype
        block.keys = [layer.own[0].to(kept) for layer in cache.layers]
        block.values = [layer.own[1].to(kept) for layer in cache.layers]
        for row, beginning in enumerate(beginnings):
            name = name_of(beginning)
            block.names.append(name)
            self._places[name] = Place(block, row, len(beginning))
        self._blocks[block] = None

    def place(self, beginning: np.ndarray) -> Place:
        """Where a beginning lies that was read."""
        found = self._places[name_of(beginning)]
        self._touch(found.block)
        return found

    def _touch(self, block: Block | None) -> None:
        while block is not None:
            if block in self._blocks:
                self._blocks.move_to_end(block)
            block = block.trunk

    def root(self, beginning: np.ndarray) -> int:
        """Equal for beginnings behind one trunk; 0 for those behind none."""
        place = self._places[name_of(beginning)]
        block = place.block.trunk or (place.block if self._is_trunk(place) else None)
        return 0 if block is None else id(block)

    def give_up(self, most: int | None = None) -> None:
        """Forgets what was not used for longest until the rest fits; not while a batch rests on it."""
        most = self._most if most is None else most
        total = sum(block.tokens for block in self._blocks)
        while self._blocks and total > most:
            block, _ = self._blocks.popitem(last=False)
            total -= block.tokens
            for name in block.names:
                if (place := self._places.get(name)) is not None and place.block is block:
                    del self._places[name]
                    self._trunks.get(place.length, set()).discard(name)

    # ---------------------------------------------------------------------------------------------------- forward

    def layout(self, places: Sequence[Place], n: int, joined: np.ndarray | None = None) -> Layout:
        """What n rows attend to; rows of one trunk stand side by side. Without places: nothing.

        Args:
            joined: (n,) columns of own tokens that stand before each row's own.
        """
        import torch

        device = next(self._decoder.parameters()).device
        if not places:
            return Layout([], 0, [], [], None, torch.zeros(n, dtype=torch.int64, device=device))
        trunks: list[tuple[int, int, list[Tensor], list[Tensor]]] = []
        last: Block | None = None
        for row, place in enumerate(places):
            block = place.block.trunk or (place.block if self._is_trunk(place) else None)
            if block is None:
                last = None
            elif block is last:
                trunks[-1] = (trunks[-1][0], row + 1, *trunks[-1][2:])
            else:
                keys, values = ([t[0].float() for t in side] for side in (block.keys, block.values))
                trunks.append((row, row + 1, keys, values))
                last = block
        longest = max((t[2][0].shape[1] for t in trunks), default=0)
        branches = [None if self._is_trunk(place) else place for place in places]
        keys, values, hidden = self._gathered(branches)
        starts = torch.tensor([place.length for place in places], dtype=torch.int64, device=device)
        if joined is None or not joined.any():
            return Layout(trunks, longest, keys, values, hidden, starts)
        before = torch.from_numpy(joined).to(device)
        return Layout(trunks, longest, keys, values, hidden, starts - before, before)

    def _is_trunk(self, place: Place) -> bool:
        return place.block.trunk is None and place.block.names[place.row] in self._trunks.get(place.length, ())

    def _gathered(self, branches: Sequence[Place | None]) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        import torch

        lengths = np.array([0 if b is None else int(b.block.lengths[b.row]) for b in branches])
        longest = int(lengths.max(initial=0))
        if not longest:
            return [], [], None
        by_block: dict[Block, list[int]] = {}
        for row, branch in enumerate(branches):
            if branch is not None:
                by_block.setdefault(branch.block, []).append(row)
        sides: list[list[Tensor]] = []
        device = next(iter(by_block)).keys[0].device
        for side in ("keys", "values"):
            of_layers = []
            for layer in range(self._n_layers):
                one = getattr(next(iter(by_block)), side)[layer]
                gathered = one.new_zeros((len(branches), one.shape[1], longest, one.shape[3]), dtype=torch.float32)
                for block, rows in by_block.items():
                    own = getattr(block, side)[layer]
                    width = min(longest, own.shape[2])
                    index = torch.tensor([branches[r].row for r in rows], device=device)  # type: ignore[union-attr]
                    gathered[torch.tensor(rows, device=device), :, :width] = own[index, :, :width].float()
                of_layers.append(gathered)
            sides.append(of_layers)
        padded = torch.from_numpy(np.arange(longest)[None] >= lengths[:, None]).to(device)
        return sides[0], sides[1], padded[:, None, None]

    def states(self, ids: np.ndarray, layout: Layout, cache: Any = None) -> Tensor:
        """(b, l, width) hidden states of own tokens (b, l), right-padded; with a cache they follow what it holds."""
        import torch

        cache = own_cache(self._n_layers, ids.shape[1]) if cache is None else cache
        device = layout.starts.device
        done = cache.layers[0].filled
        positions = layout.starts[:, None] + torch.arange(done, done + ids.shape[1], device=device)
        # A row that is done goes on beside the others, past the context even; what it says there is not looked at.
        positions = positions.clamp(max=self._last)
        with self._attending(layout):
            output = self._decoder(
                input_ids=torch.as_tensor(ids, device=device), position_ids=positions, past_key_values=cache,
                use_cache=True,
            )  # fmt: skip
        states: Tensor = output.last_hidden_state
        return states

    @contextmanager
    def _attending(self, layout: Layout) -> Iterator[None]:
        before, token = self._config._attn_implementation, _layout.set(layout)
        self._config._attn_implementation = NAME
        try:
            yield
        finally:
            self._config._attn_implementation = before
            _layout.reset(token)

    def own_cache(self, room: int) -> Any:
        """An empty cache of own tokens for this model; see ``core.backends._own_cache``."""
        return own_cache(self._n_layers, room)


def name_of(ids: np.ndarray) -> bytes:
    return ids.astype(np.int64).tobytes()


def works(model: Any, decoder: Any, vocab_size: int, parts: Parts) -> bool:
    """Whether rows in parts get the hidden states they get as whole rows, on this very model."""
    import torch

    if plain_cache(model) is None:
        return False
    parameter = next(model.parameters())
    tolerance = 1e-4 if parameter.dtype == torch.float32 else 5e-2
    ids = (torch.arange(1, 43, device=parameter.device) * 7919 % vocab_size).view(3, 14)
    ids[1:, :5] = ids[0, :5]
    rows = ids.cpu().numpy()
    try:
        expected = decoder(input_ids=ids, use_cache=False).last_hidden_state.float()
        parts.read_trunk(rows[0, :5])
        trunk = parts.place(rows[0, :5])
        beginnings = [rows[0, :9], rows[1, :8]]
        parts.read(beginnings, trunk)
        places = [parts.place(b) for b in (beginnings[0], beginnings[1], rows[0, :5])]
        layout = parts.layout(places, 3)
        starts = [9, 8, 5]
        own = np.stack([rows[i][start : start + 5] for i, start in enumerate((9, 8, 5))])
        cache = parts.own_cache(5)
        first = parts.states(own[:, :3], layout, cache).float()
        rest = parts.states(own[:, 3:], layout, cache).float()
        measured = torch.cat([first, rest], dim=1)
        wanted = torch.stack([expected[i, start : start + 5] for i, start in enumerate(starts)])
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, IndexError):
        return False  # attention or a cache of another make; such a model reads every row whole
    finally:
        parts.give_up(0)
    scale = max(1.0, expected.nan_to_num(0.0).abs().max().item())
    return measured.shape == wanted.shape and torch.allclose(
        measured, wanted, rtol=0.0, atol=tolerance * scale, equal_nan=True
    )
