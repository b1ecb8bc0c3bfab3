"""What a backend is: an open checkpoint that scores given tokens, generates new ones, or does both.

A kind of backend declares its capabilities. Whatever it lacks is not measured, and the run says so with the reason; no
number is put in its place.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from core.errors import UserError
from core.types import Checkpoint, Decoding, DtypeName, Generation, TokenScores

Capability = Literal[
    "logprobs", "argmax", "margin", "lognorm", "states", "generations", "weights", "losses", "outputs", "tokens"
]
CAPABILITIES: Mapping[Capability, str] = {
    "logprobs": "log-probabilities of given tokens",
    "argmax": "the most likely token at each place",
    "margin": "how far a token is ahead of the others",
    "lognorm": "probabilities at temperatures other than 1",
    "states": "hidden states",
    "generations": "generated answers",
    "weights": "weights that can be held in another type or merged",
}
"""What a backend may give, in words. All but the last two come from scoring given tokens."""

FOLLOWING: Mapping[Capability, str] = {
    "losses": "the loss of each row",
    "outputs": "an answer to each row",
    "tokens": "the tokenizer to rebuild what the trainer saw",
}
"""What no backend declares: one with ``logprobs`` gives losses, one with ``generations`` outputs, and every checkpoint
with weights has a tokenizer. A checkpoint without weights names which of them its files give."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Tokens of one sample and the positions to score.

    Attributes:
        ids: (l,) int64 token ids.
        positions: (t,) int64, ascending, each in [1, l): nothing predicts position 0. May be empty.
    """

    ids: np.ndarray
    positions: np.ndarray


@runtime_checkable
class Backend(Protocol):
    """An open checkpoint.

    Every answer comes in the caller's order. What else shares a call changes a number by rounding only (below 1e-4 per
    token in float32): no row sees another, and every row draws from its own seed.

    Attributes:
        context_length: most tokens the model was made for, None where that is not known.
        stop_ids: every id that ends an answer; of a folder those of its generation_config, else its config.
        vocab_size: number of ids, all of which are below it; None where it is not known.
        device: where the weights are (``cpu``, ``cuda:0``, ``remote``).
        dtype: what the weights are held in (``float32``, ``bfloat16``, ...), empty where that is not known.
    """

    context_length: int | None
    stop_ids: tuple[int, ...]
    vocab_size: int | None
    device: str
    dtype: str

    def close(self) -> None:
        """Gives the memory back. The backend cannot be used afterwards."""
        ...


@runtime_checkable
class ScoringBackend(Backend, Protocol):
    """A backend with the capability ``logprobs``."""

    def score(self, rows: Sequence[ScoreRow]) -> list[TokenScores]:
        """One teacher-forced pass over each row; see ``TokenScores`` for the definitions.

        Logits come in the model's dtype; everything after them is float32. What the kind does not declare
        (``argmax``, ``margin``, ``lognorm``) is left out: ``TokenScores.of``.

        Raises:
            UserError: an id outside the vocabulary, a row longer than ``context_length``, a row that does not fit
                into the device's memory.
        """
        ...


@runtime_checkable
class PoolingBackend(Backend, Protocol):
    """A backend with the capability ``states``."""

    def pooled(self, rows: Sequence[ScoreRow]) -> np.ndarray:
        """(n, d) float32: mean of the last hidden layer over each row's positions; NaN for a row without positions.

        The layer is the one that the vocabulary projection reads, after the final norm, at the position itself (not at
        the one that predicts it).

        Raises:
            UserError: as ``score``; or the model does not give its hidden states away.
        """
        ...


@runtime_checkable
class GeneratingBackend(Backend, Protocol):
    """A backend with the capability ``generations``."""

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


@runtime_checkable
class ExchangingBackend(Backend, Protocol):
    """A backend that keeps a base's weights in memory while adapters on it come and go."""

    def exchanged(self, checkpoint: Checkpoint) -> Backend | None:
        """The checkpoint over the weights that are there, where it is an adapter on them or they themselves.

        This backend cannot be used afterwards. None where the weights do not serve; then nothing has changed.
        """
        ...


class BackendKind(Protocol):
    """A way to open checkpoints; what ``KIND`` of a file in this folder is."""

    name: str
    label: str
    help: str
    capabilities: frozenset[Capability]
    """What it can give; where that depends on the checkpoint, a method ``gives(checkpoint)`` says how much of it."""

    def open(
        self,
        checkpoint: Checkpoint,
        dtype: DtypeName = "float32",
        device: str = "auto",
        tokenizer: Any = None,
        merged: bool = False,
    ) -> Backend:
        """The checkpoint, ready for what the kind declares.

        Args:
            checkpoint: a full model, or an adapter with its base.
            dtype: ``auto`` takes what the weights are stored in.
            device: ``auto`` is CUDA where there is one, else the CPU; or a torch device name.
            tokenizer: decodes ``Generation.text`` (special tokens kept, stop token left out); None leaves it empty.
            merged: adds an adapter to its base's weights first; asked of a kind with the capability ``weights`` only.

        Raises:
            UserError: unreadable or missing weights, an architecture transformers does not know, a missing base.
        """
        ...


def capabilities_of(kind: BackendKind, checkpoint: Checkpoint) -> frozenset[Capability]:
    """What the kind gives of this checkpoint: some depend on it and say so by a method ``gives``."""
    gives: Callable[[Checkpoint], frozenset[Capability]] | None = getattr(kind, "gives", None)
    return kind.capabilities if gives is None else gives(checkpoint)


def runs_servers(kind: BackendKind) -> bool:
    """Whether the kind asks servers and opens no folder; it then says ``on_server = True``."""
    return bool(getattr(kind, "on_server", False))


def fits(kind: BackendKind, checkpoint: Checkpoint) -> bool:
    """Whether the kind runs such a checkpoint: a folder, or a model on a server."""
    return runs_servers(kind) == (checkpoint.server is not None)


def is_installed(kind: BackendKind) -> bool:
    """Whether the package is there that the kind needs beside Lacuna's own (``package`` of the kind)."""
    package = getattr(kind, "package", "")
    return not package or importlib.util.find_spec(package) is not None


def check_installed(kind: BackendKind) -> None:
    """Raises UserError unless the kind's package is there; names the file that installs it (``requirements``)."""
    if not is_installed(kind):
        file = getattr(kind, "requirements", "")
        raise UserError(
            f"The backend {kind.name!r} needs the package {getattr(kind, 'package', '')!r}, which is not installed.",
            "It is not among what every installation needs.",
            f"Run: .venv/bin/pip install -r {file} -c constraints.txt" if file else "Install it.",
        )


def lanes(backend: Backend) -> int:
    """How many rows are worked on side by side, beyond what one device does; 1 where the backend does not say."""
    return max(1, int(getattr(backend, "lanes", 1)))


class Interrupted(Exception):
    """The work at hand was given up because its job was asked to stop; nothing of it counts."""


_stop: ContextVar[Callable[[], bool]] = ContextVar("stop", default=lambda: False)


@contextmanager
def interruptible(stop: Callable[[], bool]) -> Iterator[None]:
    """Lets backends that wait for others give up within a call where ``stop`` says so; they raise Interrupted."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def stop_asked() -> Callable[[], bool]:
    """What ``interruptible`` was given, else a function that never says so."""
    return _stop.get()


def scoring(kind: BackendKind, backend: Backend) -> ScoringBackend:
    """The backend, for scoring given tokens.

    Raises:
        UserError: its kind does not.
    """
    if isinstance(backend, ScoringBackend):
        return backend
    raise _lacking(kind, "logprobs")


def generating(kind: BackendKind, backend: Backend) -> GeneratingBackend:
    """The backend, for generating.

    Raises:
        UserError: its kind does not.
    """
    if isinstance(backend, GeneratingBackend):
        return backend
    raise _lacking(kind, "generations")


def _lacking(kind: BackendKind, capability: Capability) -> UserError:
    text = f"The backend “{kind.label}” does not give {CAPABILITIES[capability]}."
    return UserError(text, "This cannot be done without.", "Choose another backend.")
