"""The packaged backend on many workers: accelerators or processors of a Ray cluster, or of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import core
from core.backends._base import (
    CAPABILITIES,
    BackendKind,
    GeneratingBackend,
    PoolingBackend,
    ScoreRow,
    ScoringBackend,
    check_installed,
)
from core.backends._ray_pool import Facts, Opening, Pool, pool
from core.errors import UserError
from core.types import Checkpoint, Decoding, DtypeName, Generation, TokenScores

# Pieces of a call for each worker: with two, one that is slow is waited for half as long.
PIECES_EACH = 2
# Tokens that a piece should have, where there are enough: less than a batch would waste the worker.
PIECE = {"cpu": 2_048, "cuda": 16_384}


class RayBackend(ScoringBackend, PoolingBackend, GeneratingBackend):
    """Scores, pools and generates; see ``core.backends._base``. Errors are those of the packaged backend."""

    def __init__(self, workers: Pool, opening: Opening, facts: Facts, tokenizer: Any) -> None:
        self._workers, self._opening, self._tokenizer = workers, opening, tokenizer
        self.context_length, self.stop_ids, self.vocab_size = facts.context_length, facts.stop_ids, facts.vocab_size
        self.parameters, self.device, self.dtype = facts.parameters, facts.device, facts.dtype
        self.lanes = len(workers.workers)

    def score(self, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        parts = self._parts([row.ids for row in rows], [len(row.ids) for row in rows])
        pieces = [([rows[i] for i in part],) for part in parts]
        return _in_order(len(rows), parts, self._workers.run(self._opening, "score", pieces))

    def pooled(self, rows: Sequence[ScoreRow]) -> np.ndarray:
        # A call without rows still says how wide the vectors are.
        parts = self._parts([row.ids for row in rows], [len(row.ids) for row in rows]) or [np.empty(0, dtype=np.int64)]
        pieces = [([rows[i] for i in part],) for part in parts]
        means = np.concatenate(self._workers.run(self._opening, "pooled", pieces))
        ordered = np.empty_like(means)
        ordered[np.concatenate(parts)] = means
        return ordered

    def generate(
        self, prompts: Sequence[np.ndarray], decodings: Sequence[Decoding], stop_ids: Sequence[int]
    ) -> list[Generation]:
        costs = [len(p) + d.max_new_tokens for p, d in zip(prompts, decodings, strict=True)]
        parts = self._parts(prompts, costs)
        stops = tuple(stop_ids)
        pieces = [([prompts[i] for i in part], [decodings[i] for i in part], stops) for part in parts]
        generations = _in_order(len(prompts), parts, self._workers.run(self._opening, "generate", pieces))
        return [self._with_text(generation) for generation in generations]

    def _with_text(self, generation: Generation) -> Generation:
        """The tokenizer stays here; workers give tokens."""
        if self._tokenizer is None:
            return generation
        words = generation.tokens[: len(generation.tokens) - generation.stopped].tolist()
        text = self._tokenizer.decode(words, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return replace(generation, text=text)

    def _parts(self, ids: Sequence[np.ndarray], costs: Sequence[int]) -> list[np.ndarray]:
        """The rows in parts of about equal cost. Those that begin alike stay together: a worker reads that once."""
        if not len(ids):
            return []
        order = np.array(sorted(range(len(ids)), key=lambda i: ids[i].tobytes()), dtype=np.int64)
        reached = np.cumsum(np.array(costs, dtype=np.int64)[order])
        piece = PIECE["cuda" if self.device.startswith("cuda") else "cpu"]
        n = int(np.clip(reached[-1] // piece, min(self.lanes, len(ids)), PIECES_EACH * self.lanes))
        cuts = np.searchsorted(reached, reached[-1] * np.arange(1, n) / n, side="right")
        return [part for part in np.split(order, cuts) if len(part)]

    def close(self) -> None:
        self._workers.close()


def _in_order(n: int, parts: Sequence[np.ndarray], answers: Sequence[Sequence[Any]]) -> list[Any]:
    """What the parts give, each at its row's place."""
    ordered: list[Any] = [None] * n
    for part, own in zip(parts, answers, strict=True):
        for i, one in zip(part.tolist(), own, strict=True):
            ordered[i] = one
    return ordered


class Ray(BackendKind):
    """See ``core.backends._base.BackendKind``."""

    name = "ray"
    label = "transformers on a Ray cluster"
    help = (
        "The same as on this machine, on one worker for each accelerator of a Ray cluster, or on several processes "
        "here. LACUNA_RAY says where."
    )
    capabilities = frozenset(CAPABILITIES)
    package, requirements = "ray", "requirements-ray.txt"

    def open(
        self,
        checkpoint: Checkpoint,
        dtype: DtypeName = "float32",
        device: str = "auto",
        tokenizer: Any = None,
        merged: bool = False,
    ) -> RayBackend:
        check_installed(self)
        workers = pool(device != "cpu")
        opening = Opening(checkpoint, dtype, device, merged)
        facts = workers.open(opening)
        if others := {one.version for one in facts} - {core.__version__}:
            raise UserError(
                f"Workers of the cluster have Lacuna {', '.join(sorted(others))}; this is {core.__version__}.",
                "Their numbers could differ.",
                "Install the same version on every node.",
            )
        return RayBackend(workers, opening, facts[0], tokenizer)


KIND = Ray()
