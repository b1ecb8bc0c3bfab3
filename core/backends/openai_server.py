"""Models that a server holds: vLLM, SGLang, ``transformers serve``, and any other OpenAI-compatible server."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from core.backends._base import BackendKind, Capability, GeneratingBackend, ScoreRow, ScoringBackend
from core.backends._batching import plan_batches
from core.backends._flavours import FLAVOURS, Plain, Sglang, Unreadable, Vllm
from core.backends._probe import check_unchanged, stop_ids_of_folder
from core.backends._server import Client, Refused
from core.errors import UserError
from core.types import Checkpoint, Decoding, DtypeName, Generation, TokenScores

# One scoring request: log-probabilities of prompts take a server's memory (vLLM #5907, #14239), and what breaks at a
# request is asked again in halves.
MOST_ROWS, MOST_TOKENS = 8, 8_192
# Rows of a chunk for each row that one device works on: requests of many rows are under way at a time.
LANES = 4
P = TypeVar("P", bound=Plain)


class ServerBackend(GeneratingBackend, Generic[P]):
    """Generates; see ``core.backends._base``. ``device`` is ``remote``.

    Args:
        wire: how this kind of server is asked.
    """

    device, dtype, vocab_size, lanes = "remote", "", None, LANES

    def __init__(self, client: Client, wire: P, tokenizer: Any, context: int | None, stop_ids: tuple[int, ...]) -> None:
        self._client, self._wire, self._tokenizer = client, wire, tokenizer
        self.context_length, self.stop_ids = context, stop_ids

    def generate(
        self, prompts: Sequence[np.ndarray], decodings: Sequence[Decoding], stop_ids: Sequence[int]
    ) -> list[Generation]:
        for prompt in prompts:
            self._check_length(prompt)
            if not len(prompt):
                raise UserError(
                    "A prompt has no token.", "There is nothing to continue.", "Give it at least one token."
                )
        work = [
            partial(self._continue, prompt, decoding, tuple(stop_ids))
            for prompt, decoding in zip(prompts, decodings, strict=True)
        ]
        if not self._wire.alone:
            return self._client.all(work)
        return [generation for piece in work for generation in self._client.all([piece])]

    def _continue(
        self, prompt: np.ndarray, decoding: Decoding, stop_ids: tuple[int, ...], stopped: threading.Event
    ) -> Generation:
        room = self.context_length - len(prompt) if self.context_length else decoding.max_new_tokens
        limit = min(decoding.max_new_tokens, room)
        if limit < 1:
            return Generation(np.empty(0, dtype=np.int64), "", False, decoding)
        address, body = self._wire.generation(prompt, decoding, limit, stop_ids)
        try:
            answer = self._client.ask(address, body, stopped)
            continuation = self._wire.continuation(answer, prompt, stop_ids)
        except (Refused, Unreadable) as failure:
            raise _error(failure, address) from failure
        tokens = continuation.tokens[:limit]
        ended = continuation.stopped and len(tokens) == len(continuation.tokens)
        text = continuation.text
        if text is None:
            words = tokens[: len(tokens) - ended].tolist()
            text = "" if self._tokenizer is None else _decoded(self._tokenizer, words)
        return Generation(tokens, text, ended, decoding)

    def close(self) -> None:
        self._client.close()

    def _check_length(self, ids: np.ndarray) -> None:
        if self.context_length is not None and len(ids) > self.context_length:
            raise UserError(
                f"A row of {len(ids):,} tokens is longer than the server's model reads.",
                f"It reads {self.context_length:,} tokens and writes one more.",
                "Cut the row with a trainer preset's max_length, or start the server with a longer context.",
            )


class ScoringServer(ServerBackend[Vllm | Sglang], ScoringBackend):
    """Scores, too; normalisers at other temperatures are not measured, since no server gives them."""

    def score(self, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        for row in rows:
            self._check_length(row.ids)
            if len(row.positions) and not 1 <= row.positions.min() <= row.positions.max() < len(row.ids):
                raise ValueError(f"positions outside [1, {len(row.ids)}): {row.positions.min()}, {row.positions.max()}")
        none = TokenScores.of(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        scores = [none] * len(rows)
        filled = np.array([i for i, row in enumerate(rows) if len(row.positions)], dtype=np.int64)
        lengths = np.array([rows[i].positions.max() + 1 for i in filled], dtype=np.int64)
        # Prompts are not padded, so that rows of any lengths may share a request.
        batches = plan_batches(lengths, MOST_TOKENS, overhead=MOST_TOKENS, most=MOST_ROWS) if len(filled) else []
        work = [partial(self._scored, [rows[i] for i in filled[batch]]) for batch in batches]
        for batch, own in zip(batches, self._client.all(work), strict=True):
            for i, one in zip(filled[batch], own, strict=True):
                scores[i] = one
        return scores

    def _scored(self, rows: list[ScoreRow], stopped: threading.Event) -> list[TokenScores]:
        """The scores of one request; where it fails, those of two smaller ones."""
        address, body = self._wire.scoring(rows)
        try:
            return self._wire.scores(self._client.ask(address, body, stopped, alone=len(rows) == 1), rows)
        except (Refused, Unreadable) as failure:
            if len(rows) == 1 or (isinstance(failure, Refused) and failure.status in (401, 403, 404)):
                raise _error(failure, address) from failure
        half = len(rows) // 2
        return [*self._scored(rows[:half], stopped), *self._scored(rows[half:], stopped)]


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _error(failure: Refused | Unreadable, address: str) -> UserError:
    return failure.error() if isinstance(failure, Refused) else Refused(address, 200, str(failure)).error()


class OpenaiServer(BackendKind):
    """See ``core.backends._base.BackendKind``."""

    name = "openai_server"
    label = "Model server"
    help = (
        "Asks a server that holds the model. vLLM and SGLang give log-probabilities and answers; transformers serve "
        "and other OpenAI-compatible servers give answers only."
    )
    capabilities = frozenset[Capability]().union(*(wire.gives for wire in FLAVOURS.values()))
    on_server = True

    def gives(self, checkpoint: Checkpoint) -> frozenset[Capability]:
        """What the checkpoint's kind of server gives."""
        return frozenset() if checkpoint.server is None else FLAVOURS[checkpoint.server.flavour].gives

    def open(
        self,
        checkpoint: Checkpoint,
        dtype: DtypeName = "float32",
        device: str = "auto",
        tokenizer: Any = None,
        merged: bool = False,
    ) -> ServerBackend[Any]:
        server = checkpoint.server
        if server is None:
            raise UserError(
                f"{checkpoint.label} is a folder, not a model on a server.",
                f"The backend “{self.label}” asks servers.",
                "Choose another backend, or name the server.",
            )
        client = Client(server.url)
        try:
            wire = FLAVOURS[server.flavour](client.url, client.root, server.model, tokenizer)
            stop_ids = stop_ids_of_folder(checkpoint.path, tokenizer)
            check_unchanged(client, wire, server, checkpoint.path if tokenizer is None else tokenizer)
        except BaseException:
            client.close()
            raise
        if isinstance(wire, Vllm | Sglang):
            return ScoringServer(client, wire, tokenizer, server.context_length, stop_ids)
        return ServerBackend(client, wire, tokenizer, server.context_length, stop_ids)


KIND = OpenaiServer()
