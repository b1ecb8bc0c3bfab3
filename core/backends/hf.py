"""Checkpoints through transformers, adapters through PEFT, on this machine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backends._base import (
    CAPABILITIES,
    BackendKind,
    ExchangingBackend,
    GeneratingBackend,
    PoolingBackend,
    ScoreRow,
    ScoringBackend,
)
from core.backends._batching import plan_batches
from core.backends._generation import continue_prompts, new_cache
from core.backends._loading import base_folder, exchange, load, pick_device
from core.backends._parts import Parts, works
from core.backends._scoring import SplitModel, WholeModel, agrees, token_numbers
from core.backends._sharing import Sharing
from core.backends._stream import Job
from core.errors import UserError
from core.types import TEMPERATURES, Checkpoint, Decoding, DtypeName, Generation, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

# Tokens of one batch. On a CPU the activations should stay in its caches: 2.5 million values of the widest layer
# measured fastest. An accelerator wants much more at a time and has the memory for it.
CPU_ACTIVATIONS, CPU_TOKENS, CUDA_TOKENS = 2_500_000, (256, 8192), 16_384
# One more batch costs about as much as this share of a full one.
OVERHEAD = 1 / 32
# Bytes of one chunk of logits as float32, of one work buffer on it, and of the key-value cache while generating.
LOGITS, BUFFER, CACHE = {"cpu": 64 << 20, "cuda": 512 << 20}, {"cpu": 4 << 20, "cuda": 64 << 20}, 2 << 30


class HfBackend(ScoringBackend, PoolingBackend, GeneratingBackend, ExchangingBackend):
    """Scores, pools and generates; see ``core.backends._base``.

    Args:
        outer: the model as it is called, with its adapter.
        inner: the causal language model inside it.
        tokenizer: decodes generated text, or None.
        base: folder of the weights that adapters may be exchanged on; empty where none may.
        embeddings: rows of the base's own embeddings; 0 for those that are there.
    """

    def __init__(self, outer: Any, inner: Any, tokenizer: Any = None, base: str = "", embeddings: int = 0) -> None:
        from transformers import GenerationConfig

        self._outer, self._inner, self._base = outer, inner, base
        self._embeddings = embeddings or int(inner.get_input_embeddings().weight.shape[0])

        config = inner.config.get_text_config(decoder=True)
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self.stop_ids = _stop_ids(inner)
        self.vocab_size: int = int(config.vocab_size)
        self.device, self.dtype = str(inner.device), str(inner.dtype).removeprefix("torch.")
        self.parameters = sum(p.numel() for p in inner.parameters())
        self._tokenizer = tokenizer
        # The folder's own generation_config would add its top-k, penalties and forced ids to every answer.
        inner.generation_config = GenerationConfig()
        self._head = _keep_head_inputs_contiguous(inner)
        split, whole = SplitModel(inner), WholeModel(outer)
        self.is_split = agrees(split, whole, self.vocab_size)
        self._scorer: SplitModel | WholeModel = split if self.is_split else whole
        self._generator = inner if self.is_split else outer
        self._where = "cuda" if inner.device.type == "cuda" else "cpu"
        self._tokens = self._token_budget(config)
        self._positions = int(np.clip(LOGITS[self._where] // (4 * self.vocab_size), 1, 4096))
        self._cache_tokens = max(1, CACHE // _cache_bytes(config, inner.dtype.itemsize))
        self._width: int = getattr(config, "hidden_size", 0)
        self._boundary = _rope_boundary(config)
        # Where the length of a row decides how it is read, what precedes a row cannot be read alone.
        alone = self.is_split and self._boundary is None
        self._share = 1
        self._sharing = self._in_parts(inner, split) if alone else None

    def _in_parts(self, inner: Any, split: SplitModel) -> Sharing | None:
        """How rows that begin alike are read, where the model's attention allows it."""
        most = max(1, self._cache_tokens // 2)
        parts = Parts(inner, split.decoder, most)
        if not works(inner, split.decoder, self.vocab_size, parts):
            return None
        return Sharing(parts, split.logits, most, int(self._tokens * OVERHEAD), self.device)

    def _token_budget(self, config: Any) -> int:
        if not self.is_split:
            return 1  # every row alone
        width = max(getattr(config, "intermediate_size", None) or 0, 4 * config.hidden_size)
        return int(np.clip(CPU_ACTIVATIONS // width, *CPU_TOKENS)) if self._where == "cpu" else CUDA_TOKENS

    def score(self, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        import torch

        self._check_rows(rows)
        counts = np.array([len(row.positions) for row in rows], dtype=np.int64)
        ends = np.cumsum(counts)
        sheet = _Sheet(np.concatenate([np.empty(0, np.int64), *(row.ids[row.positions] for row in rows)]))
        # The last position is predicted by the token before it; what comes later is not needed.
        lengths = np.array([row.positions.max() if len(row.positions) else 0 for row in rows], dtype=np.int64)

        def put(batch: np.ndarray, starts: np.ndarray, states: Tensor) -> None:
            row_of = np.repeat(np.arange(len(batch)), counts[batch])
            before = np.concatenate([rows[i].positions - 1 - start for i, start in zip(batch, starts, strict=True)])
            places = np.concatenate([np.arange(ends[i] - counts[i], ends[i]) for i in batch])
            sheet.put(places, states[torch.from_numpy(row_of), torch.from_numpy(before)])
            self._fill(sheet, at_least=self._positions)

        def whole(batch: np.ndarray) -> None:
            ids = np.zeros((len(batch), lengths[batch].max()), dtype=np.int64)
            for at, i in enumerate(batch):
                ids[at, : lengths[i]] = rows[i].ids[: lengths[i]]
            put(batch, np.zeros(len(batch), dtype=np.int64), self._scorer.states(torch.from_numpy(ids).to(self.device)))

        with torch.no_grad():
            left = np.flatnonzero(lengths)
            if self._sharing is not None:
                left = self._sharing.score(rows, left, put, self._batches)
            overhead = int(self._tokens * OVERHEAD)
            self._in_batches(
                lambda batch: whole(left[batch]), lengths[left], self._tokens, overhead, boundary=self._boundary
            )
            self._fill(sheet, at_least=1)
        return [sheet.scores(row.positions, end) for row, end in zip(rows, ends, strict=True)]

    def _batches(self, run: Callable[[np.ndarray], None], lengths: np.ndarray) -> None:
        most = max(1, self._cache_tokens // max(1, 8 * int(lengths.max())))
        self._in_batches(run, lengths, self._tokens, int(self._tokens * OVERHEAD), most=most)

    def pooled(self, rows: Sequence[ScoreRow]) -> np.ndarray:
        import torch

        self._check_rows(rows)
        means: dict[int, np.ndarray] = {}
        lengths = np.array([row.positions.max() + 1 if len(row.positions) else 0 for row in rows], dtype=np.int64)

        def read(batch: np.ndarray, ids: Tensor) -> None:
            states = self._scorer.hidden(ids)
            for place, i in enumerate(batch.tolist()):
                own = states[place, torch.from_numpy(rows[i].positions).to(states.device)]
                means[i] = own.float().mean(0).cpu().numpy()

        with torch.no_grad():
            self._read(rows, lengths, read)
        # A model may project its last layer to another width than its hidden size.
        width = next((len(mean) for mean in means.values()), self._width)
        none = np.full(width, np.nan, dtype=np.float32)
        return np.stack([means.get(i, none) for i in range(len(rows))]) if rows else np.empty((0, width), np.float32)

    def _read(self, rows: Sequence[ScoreRow], lengths: np.ndarray, read: Callable[[np.ndarray, Tensor], None]) -> None:
        """Hands the rows over in batches: their places, and their first ``lengths`` ids, padded on the right."""
        import torch

        filled = np.flatnonzero(lengths)

        def run(batch: np.ndarray) -> None:
            places = filled[batch]
            ids = np.zeros((len(places), lengths[places].max()), dtype=np.int64)
            for at, i in enumerate(places):
                ids[at, : lengths[i]] = rows[i].ids[: lengths[i]]
            read(places, torch.from_numpy(ids).to(self.device))

        overhead = int(self._tokens * OVERHEAD)
        self._in_batches(run, lengths[filled], self._tokens, overhead, boundary=self._boundary)

    def generate(
        self, prompts: Sequence[np.ndarray], decodings: Sequence[Decoding], stop_ids: Sequence[int]
    ) -> list[Generation]:
        import torch

        for prompt in prompts:
            self._check_ids(prompt)
            if not len(prompt):
                raise UserError(
                    "A prompt has no token.", "There is nothing to continue.", "Give it at least one token."
                )
        context = self.context_length or 1 << 30
        rooms = [context - len(p) for p in prompts]
        limits = [max(0, min(d.max_new_tokens, room)) for d, room in zip(decodings, rooms, strict=True)]
        # Equal prompts side by side, so that they meet in one batch.
        order = sorted((i for i, limit in enumerate(limits) if limit), key=lambda i: prompts[i].tobytes())
        tokens = [np.empty(0, dtype=np.int64)] * len(prompts)

        # A step holds scores, probabilities and their float64 sums of every row.
        most = max(1, 4 * LOGITS[self._where] // (20 * self.vocab_size))
        if self._sharing is not None:

            def cached(run: Callable[[np.ndarray, int, int], None], lengths: np.ndarray) -> None:
                def held(batch: np.ndarray) -> None:
                    run(batch, max(1, most // self._share), max(1, self._cache_tokens // 2 // self._share))

                # All in one run; in several only where memory ran out.
                every = int(lengths.max()) * len(lengths)
                self._in_batches(held, lengths, every, every)

            jobs = [Job(p, d, limit) for p, d, limit in zip(prompts, decodings, limits, strict=True)]
            with torch.no_grad():
                new = self._sharing.generate(jobs, order, stop_ids, self._batches, cached)
            for i, own in new.items():
                tokens[i] = own
            order = [i for i in order if i not in new]

        def run(batch: np.ndarray) -> None:
            places = [order[i] for i in batch]
            continued = continue_prompts(
                self._generator,
                [prompts[i] for i in places],
                [decodings[i] for i in places],
                [limits[i] for i in places],
                [rooms[i] for i in places],
                stop_ids,
            )
            for i, new in zip(places, continued, strict=True):
                tokens[i] = new

        # Recurrent models take no padding: prompts of one length meet, and any padding closes a batch.
        padded = new_cache(self._generator) is not None
        lengths = np.array([len(prompts[i]) + limits[i] * padded for i in order], dtype=np.int64)
        self._in_batches(run, lengths, self._cache_tokens, self._cache_tokens * padded, most=most)
        return [self._generation(t, stop_ids, d) for t, d in zip(tokens, decodings, strict=True)]

    def exchanged(self, checkpoint: Checkpoint) -> HfBackend | None:
        import torch

        embeddings = self._inner.get_input_embeddings().weight.shape[0]
        # An adapter that brought embeddings of its own has changed the base.
        if self._base != base_folder(checkpoint) or embeddings != self._embeddings:
            return None
        outer, inner, tokenizer, head = self._outer, self._inner, self._tokenizer, self._head
        self.close()
        if head is not None:
            head.remove()
        outer, inner = exchange(outer, inner, checkpoint)
        with torch.no_grad():
            return HfBackend(outer, inner, tokenizer, self._base, self._embeddings)

    def close(self) -> None:
        import torch

        for name in ("_scorer", "_generator", "_tokenizer", "_sharing", "_outer", "_inner"):
            vars(self).pop(name, None)
        gc.collect()
        if self._where == "cuda":
            torch.cuda.empty_cache()

    def _generation(self, tokens: np.ndarray, stop_ids: Sequence[int], decoding: Decoding) -> Generation:
        stopped = bool(len(tokens)) and int(tokens[-1]) in stop_ids
        text = ""
        if self._tokenizer is not None:
            answer = tokens[: len(tokens) - stopped].tolist()
            text = self._tokenizer.decode(answer, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Generation(tokens, text, stopped, decoding)

    def _check_rows(self, rows: Sequence[ScoreRow]) -> None:
        for row in rows:
            self._check_ids(row.ids)
            if len(row.positions) and not 1 <= row.positions.min() <= row.positions.max() < len(row.ids):
                raise ValueError(f"positions outside [1, {len(row.ids)}): {row.positions.min()}, {row.positions.max()}")

    def _check_ids(self, ids: np.ndarray) -> None:
        if self.context_length is not None and len(ids) > self.context_length:
            raise UserError(
                f"A row of {len(ids):,} tokens is longer than the model's context.",
                f"The model was made for {self.context_length:,} tokens.",
                "Cut the row with a trainer preset's max_length, or leave it out.",
            )
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocab_size:
            outside = int(ids.max() if ids.max() >= self.vocab_size else ids.min())
            raise UserError(
                f"Token id {outside} is outside the model's vocabulary.",
                f"The model has {self.vocab_size:,} ids, 0 to {self.vocab_size - 1}.",
                "Use the tokenizer the model was trained with; tokens added to it need the model that has them.",
            )

    def _in_batches(
        self, run: Callable[[np.ndarray], None], lengths: np.ndarray, budget: int, overhead: int, **limits: int | None
    ) -> None:
        """Runs every row once; a batch that does not fit into memory is cut in two, and so is every later one."""
        import torch

        left = np.arange(len(lengths))
        while len(left):
            for batch in plan_batches(lengths[left], budget // self._share, overhead // self._share, **limits):
                try:
                    run(left[batch])
                except torch.OutOfMemoryError:
                    failed = len(batch)
                    break
                left[batch] = -1
            else:
                return
            if failed == 1:
                raise _too_large(int(lengths[left[batch[0]]]), self.device)
            left = left[left >= 0]
            self._share *= 2
            gc.collect()
            if self._where == "cuda":
                torch.cuda.empty_cache()

    def _fill(self, sheet: _Sheet, at_least: int) -> None:
        """Computes the numbers of waiting positions, in chunks, until fewer than ``at_least`` wait."""
        import torch

        while sheet.waiting >= at_least:
            places, states = sheet.take(self._positions)
            try:
                logits = self._scorer.logits(states)
                targets = torch.from_numpy(sheet.targets[places]).to(logits.device)
                sheet.write(places, *token_numbers(logits, targets, BUFFER[self._where]))
            except torch.OutOfMemoryError:
                sheet.put(places, states)
                if self._positions == 1:
                    raise
                self._positions //= 2
                at_least = min(at_least, self._positions)


class _Sheet:
    """Numbers of all positions of a call, and the hidden states that wait for theirs."""

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = targets
        n = len(targets)
        self._argmax = np.empty(n, np.int64)
        self._logprobs, self._margin = np.empty(n, np.float32), np.empty(n, np.float32)
        self._lognorm = np.empty((n, len(TEMPERATURES)), np.float32)
        self._places: list[np.ndarray] = []
        self._states: list[Tensor] = []

    @property
    def waiting(self) -> int:
        return sum(len(p) for p in self._places)

    def put(self, places: np.ndarray, states: Tensor) -> None:
        self._places.append(places)
        self._states.append(states)

    def take(self, n: int) -> tuple[np.ndarray, Tensor]:
        """Up to n waiting positions with their states."""
        import torch

        places, states = np.concatenate(self._places), torch.cat(self._states)
        self._places, self._states = [], []
        if len(places) > n:
            self.put(places[n:], states[n:])
        return places[:n], states[:n]

    def write(self, places: np.ndarray, logprobs: Tensor, argmax: Tensor, margin: Tensor, lognorm: Tensor) -> None:
        self._logprobs[places], self._argmax[places] = logprobs.numpy(), argmax.numpy()
        self._margin[places], self._lognorm[places] = margin.numpy(), lognorm.numpy()

    def scores(self, positions: np.ndarray, end: int) -> TokenScores:
        columns = (self._logprobs, self._argmax, self._margin, self._lognorm)
        return TokenScores(positions, *(column[end - len(positions) : end] for column in columns))


def _stop_ids(model: Any) -> tuple[int, ...]:
    for config in (model.generation_config, model.config.get_text_config(decoder=True)):
        ids = getattr(config, "eos_token_id", None)
        if ids is not None:
            return tuple(ids) if isinstance(ids, list | tuple) else (int(ids),)
    return ()


def _keep_head_inputs_contiguous(model: Any) -> Any:
    """Saves a copy of the vocabulary projection per row at the first step of ``generate``.

    The last state of each prompt is a strided view, which torch multiplies as a batch with a copy of the weights for
    each row: 25 seconds against 1 for 16 prompts of 60 tokens, a vocabulary of 152,000 and bfloat16. A clone has the
    strides of a fresh tensor, which ``contiguous`` does not promise for a single row.
    """
    import torch

    def renew(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)

    head = model.get_output_embeddings()
    return None if head is None else head.register_forward_pre_hook(renew)


def _cache_bytes(config: Any, itemsize: int) -> int:
    """Bytes of one token in the key-value cache; for recurrent models a bound on what stands for it."""
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * key_value_heads * width * itemsize)


def _rope_boundary(config: Any) -> int | None:
    """The length above which longrope turns all rows of a batch over to its other set of frequencies."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("original_max_position_embeddings") if rope.get("rope_type") == "longrope" else None


def _too_large(tokens: int, device: str) -> UserError:
    return UserError(
        f"A row of {tokens:,} tokens does not fit into the memory of {device}.",
        "It ran out with this row alone.",
        "Free memory on the device, use bfloat16, or cut long rows.",
    )


class Hf(BackendKind):
    """See ``core.backends._base.BackendKind``."""

    name = "hf"
    label = "transformers on this machine"
    help = "Opens the checkpoint's folder with transformers, an adapter with PEFT. Gives everything Lacuna can measure."
    capabilities = frozenset(CAPABILITIES)

    def open(
        self,
        checkpoint: Checkpoint,
        dtype: DtypeName = "float32",
        device: str = "auto",
        tokenizer: Any = None,
        merged: bool = False,
    ) -> HfBackend:
        import torch

        torch.set_float32_matmul_precision("highest")  # no TF32: differences of 1e-4 are meant to be seen
        outer, inner = load(checkpoint, dtype, pick_device(device))
        base = "" if merged or dtype == "auto" else base_folder(checkpoint)
        if merged and outer is not inner:
            outer = inner = outer.merge_and_unload().eval().requires_grad_(False)
        with torch.no_grad():
            return HfBackend(outer, inner, tokenizer, base)


KIND = Hf()
