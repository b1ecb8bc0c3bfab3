"""What a signal is, and what it works with.

A signal turns samples into numbers with a model. It declares its columns, says which measurements a run needs
(``plan``), and yields chunks (``measure``). It does not depend on the size of a chunk or on the order of the samples,
and it never fills in a number it did not measure: NaN stays NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from core.backends._base import Backend, Capability, GeneratingBackend, ScoringBackend, lanes
from core.errors import UserError
from core.recorded.rows import Record
from core.signals._artefacts import Artefact
from core.types import (
    DEFAULT_BACKEND,
    Checkpoint,
    Chunk,
    Column,
    DtypeName,
    Role,
    RunSpec,
    Sample,
    SignalTable,
    Supervision,
    digest,
)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measurement of one signal under one checkpoint, for all samples of a run.

    Attributes:
        signal: name of the signal.
        role: the checkpoint's part in the run; None where no weights are used.
        checkpoint: the weights used; without a role the final ones, unread.
        depends: everything but the sample's content that the numbers depend on.
        requires: what the backend must give; a measurement whose backend lacks one of these is left out of the run.
        partly: what the backend may lack, to the columns that are then not measured.
        kin: everything that the numbers depend on besides what ``Signal.subjects`` reads of a row. Measurements with
            equal ``kin`` share rows of equal subjects, whatever their runs, datasets and presets; empty: with none.
        compared: columns that the verdict table shows of it besides those that its signal names.
    """

    signal: str
    role: Role | None
    checkpoint: Checkpoint
    depends: Mapping[str, Any]
    requires: tuple[Capability, ...] = ()
    partly: Mapping[Capability, tuple[str, ...]] = field(default_factory=dict)
    kin: Mapping[str, Any] = field(default_factory=dict)
    compared: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identity of the measurement; equal keys and equal content give equal numbers, so nothing runs twice."""
        return f"{self.signal}:{digest(self.depends)[:32]}"

    @property
    def kin_key(self) -> str:
        """What the subjects of kindred measurements begin with."""
        return digest(self.kin)[:32]

    def column(self, name: str) -> str:
        """Name of a column of this measurement in a table that holds several: ``nll``, ``base_nll``, ``t0_nll``."""
        return name if self.role is None else self.role.column(name)


class Instruments(Protocol):
    """What the method lends to a signal; opened when first used, at most one model at a time."""

    spec: RunSpec

    def tokenizer(self) -> Any:
        """The tokenizer of the final checkpoint: all checkpoints are given the same token ids."""
        ...

    def scoring(self, checkpoint: Checkpoint) -> ScoringBackend:
        """The checkpoint, for scoring tokens. Raises UserError where the run's backend does not score."""
        ...

    def generating(self, checkpoint: Checkpoint) -> GeneratingBackend:
        """The checkpoint, for generating. Raises UserError where the run's backend does not generate."""
        ...

    def backend(self, checkpoint: Checkpoint) -> Backend:
        """The same, for what every backend gives."""
        ...

    def record(self, checkpoint: Checkpoint) -> Record | None:
        """What files say of a checkpoint without weights, None for one with weights.

        Raises:
            UserError: a file is gone, changed or cannot be read.
        """
        ...

    def renders(self) -> bool:
        """Whether there is a tokenizer, so that ``supervision`` can be asked for."""
        ...

    def held_otherwise(self, checkpoint: Checkpoint, dtype: DtypeName, merged: bool) -> ScoringBackend:
        """The checkpoint in another type or with its adapter merged; the caller closes it.

        Raises:
            UserError: it cannot be held that way.
        """
        ...

    def close(self) -> None:
        """Gives the memory of the open checkpoint back."""
        ...

    def supervision(self, sample: Sample) -> Supervision:
        """Raises UserError where the template refuses the row."""
        ...

    def samples(self) -> Sequence[Sample]:
        """All n samples of the dataset in training order, exact duplicates too; read once and kept."""
        ...

    def examples_from(self) -> Sequence[Sample]:
        """The samples from which words, frames and examples of questions are read; see ``RunSpec.examples_rows``."""
        ...

    def measured(self) -> SignalTable:
        """What has been measured so far, of all n samples in training order; columns as in ``judge``."""
        ...

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
        """The details that a measurement of this run stored of a sample; None where it has none."""
        ...


class Signal(Protocol):
    """What ``KIND`` of a file in this folder is: a subclass that gives at least a name, a label, columns and methods.

    Attributes:
        name: the file's name; part of the identity of what it measured.
        label: what progress and tables call it.
        version: raised whenever the numbers would change for the same input.
        columns: what ``measure`` yields for the final checkpoint, and what of it the verdict table shows.
        compared: names of columns that the verdict table also shows for every other checkpoint it is measured under.
        artefact: what it keeps of each sample beside the columns, where another signal or a page reads it.
        needs: columns and artefacts of other signals that must be there first.
        whole: whether ``measure`` must be given all samples that it needs in one call, because its numbers compare
            them. Such a signal still yields chunks, and its ``depends`` hold the dataset's fingerprint.
    """

    name: str
    label: str
    version: int
    columns: tuple[Column, ...]
    compared: tuple[str, ...] = ()
    artefact: Artefact[Any] | None = None
    needs: tuple[str | Artefact[Any], ...] = ()
    whole: bool = False

    def plan(self, spec: RunSpec) -> list[Measure]:
        """The measurements that a run needs, none where it lacks what they would be made with."""
        ...

    def applies_to(self, table: SignalTable) -> np.ndarray:
        """(n,) bool: which samples need this measurement; ``table`` holds what ``needs`` names. All by default."""
        return np.ones(len(table.keys), dtype=bool)

    def subjects(self, measure: Measure, sample: Sample, instruments: Instruments) -> tuple[str, ...]:
        """What of one row the numbers rest on, as digests: the one to look for first, then what else it answers.

        Called only where the measurement has ``kin``.
        """
        return ()

    def measure(
        self,
        measure: Measure,
        samples: Sequence[Sample],
        instruments: Instruments,
        stop: Callable[[], bool],
    ) -> Iterator[Chunk]:
        """Measures the samples in the order given, chunk by chunk.

        Columns of a chunk are named without a role. A sample that cannot be measured has NaN and no details. ``stop``
        says between chunks whether to return early.
        """
        ...


def supervision_facts(spec: RunSpec) -> dict[str, Any]:
    """What token ids, masks and the model's answers depend on besides the sample and the weights."""
    return {
        **({} if spec.backend == DEFAULT_BACKEND else {"backend": spec.backend}),
        "tokens_from": spec.final.fingerprint,
        "tokenizer": spec.final.tokenizer,
        "preset": spec.preset,
        "preset_settings": dict(spec.preset_settings),
        "dtype": spec.dtype,
    }


def supervision_digest(sample: Sample, instruments: Instruments) -> str:
    """Digest of what the trainer made of a row: ids, masks, turns and notes, or why the template refuses it."""
    try:
        row = instruments.supervision(sample)
    except UserError as refusal:
        return digest({"refused": refusal.as_dict()})
    facts = {
        "turns": [[turn.start, turn.stop, turn.has_stop_token] for turn in row.turns],
        "truncated": row.truncated,
        "cut": row.cut_target,
        "dropped": row.dropped,
        "notes": list(row.notes),
    }
    state = hashlib.sha256(digest(facts).encode())
    for values in (row.ids.astype(np.int64), row.trained.astype(bool), row.target.astype(bool)):
        state.update(len(values).to_bytes(8, "big") + values.tobytes())
    return state.hexdigest()


# Parameters of the model for which what is given on a processor was chosen: one call takes it a minute or two.
HALF_A_BILLION = 500_000_000


def at_once(backend: Backend, cpu: int, accelerator: int) -> int:
    """How much to give the backend in one call: what one device of its kind takes, for each that works beside it.

    On a processor a smaller model takes more, so that a call, after which progress is stored, takes about as long.
    """
    if backend.device.startswith("cuda"):
        return accelerator * lanes(backend)
    parameters = getattr(backend, "parameters", HALF_A_BILLION)
    return cpu * lanes(backend) * min(max(HALF_A_BILLION // parameters, 1), accelerator // cpu)


def chunked(samples: Sequence[Sample], cost: Callable[[Sample], int], limit: int, most: int) -> Iterator[list[Sample]]:
    """Runs of samples whose summed cost stays within ``limit`` (one sample may exceed it) and count within ``most``.

    The cut depends on the samples alone, never on the clock, so that a repeated run batches alike.
    """
    chunk: list[Sample] = []
    spent = 0
    for sample in samples:
        price = cost(sample)
        if chunk and (spent + price > limit or len(chunk) >= most):
            yield chunk
            chunk, spent = [], 0
        chunk.append(sample)
        spent += price
    if chunk:
        yield chunk


def seed_of(text: str) -> int:
    """A seed that depends on a text alone, on no batch and no order."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stop_ids_of(supervision: Supervision, backend_stops: Sequence[int]) -> frozenset[int]:
    """The model's stop ids and the stop tokens its targets were trained to end with."""
    own = {int(supervision.ids[t.stop - 1]) for t in supervision.turns if t.has_stop_token}
    return frozenset(own | {int(i) for i in backend_stops})
