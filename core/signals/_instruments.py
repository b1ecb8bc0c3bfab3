"""The instruments that signals work with: one model at a time, the tokenizer, the rows, the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from core.backends._base import Backend, ExchangingBackend, GeneratingBackend, ScoringBackend, generating, scoring
from core.errors import UserError
from core.plugins import kind
from core.presets._tokenised import supervision_of
from core.recorded.files import open_record
from core.recorded.rows import Record
from core.signals._base import Measure
from core.signals._plan import capabilities_of
from core.types import (
    Checkpoint,
    DtypeName,
    RunSpec,
    Sample,
    SignalTable,
    Supervision,
)

# Rows whose supervision is kept: a block of a measurement is looked up, then measured.
RENDERED = 6_144


class Stored(Protocol):
    """What the run's store lends to signals that compare samples or build on other signals."""

    def samples(self) -> Sequence[Sample]: ...

    def measured(self) -> SignalTable: ...

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None: ...


class Instruments:
    """Opens what signals ask for; one model at a time, so that two never share the memory."""

    def __init__(self, spec: RunSpec, device: str = "auto", stored: Stored | None = None) -> None:
        self.spec = spec
        self._kind = kind("backends", spec.backend)
        self._device = device if spec.device == "auto" else spec.device
        self._stored = stored
        self._samples: Sequence[Sample] | None = None
        self._tokenizer: Any = None
        self._context: int | None = None
        self._open: tuple[str, Backend] | None = None
        self._records: dict[str, Record] = {}
        self._supervise = lru_cache(maxsize=RENDERED)(self._supervise_uncached)

    def tokenizer(self) -> Any:
        from core.rendering.tokenizers import open_tokenizer

        if self._tokenizer is None:
            self._tokenizer = open_tokenizer(tokenizer_folder(self.spec.final), self.spec.final.tokenizer)
        return self._tokenizer

    def backend(self, checkpoint: Checkpoint) -> Backend:
        if self._open is None or self._open[0] != checkpoint.fingerprint:
            opened = None
            if self._open is not None and isinstance(self._open[1], ExchangingBackend):
                opened = self._open[1].exchanged(checkpoint)
            if opened is None:
                self.close()
                opened = self._kind.open(checkpoint, self.spec.dtype, self._device, self.tokenizer())
            self._open = (checkpoint.fingerprint, opened)
        return self._open[1]

    def scoring(self, checkpoint: Checkpoint) -> ScoringBackend:
        return scoring(self._kind, self.backend(checkpoint))

    def generating(self, checkpoint: Checkpoint) -> GeneratingBackend:
        return generating(self._kind, self.backend(checkpoint))

    def record(self, checkpoint: Checkpoint) -> Record | None:
        if checkpoint.has_weights:
            return None
        if checkpoint.fingerprint not in self._records:
            self._records = {checkpoint.fingerprint: open_record(checkpoint)}
        return self._records[checkpoint.fingerprint]

    def renders(self) -> bool:
        return "tokens" in capabilities_of(self.spec, self.spec.final)

    def held_otherwise(self, checkpoint: Checkpoint, dtype: DtypeName, merged: bool) -> ScoringBackend:
        self.close()
        return scoring(self._kind, self._kind.open(checkpoint, dtype, self._device, merged=merged))

    def context_length(self) -> int | None:
        from core.checkpoint.folders import read_folder

        if self.spec.final.server is not None:
            return self.spec.final.server.context_length
        if self._context is None:
            folder = self.spec.final.base or self.spec.final.path
            try:
                self._context = read_folder(Path(folder)).context_length or 0
            except UserError:
                if self.spec.final.has_weights:
                    raise
                self._context = 0  # a tokenizer alone knows no context
        return self._context or None

    def supervision(self, sample: Sample) -> Supervision:
        return self._supervise(sample)

    def _supervise_uncached(self, sample: Sample) -> Supervision:
        settings = self.spec.preset_settings
        return supervision_of(self.spec.preset, sample, self.tokenizer(), settings, self.context_length())

    def samples(self) -> Sequence[Sample]:
        if self._samples is None:
            self._samples = self._run().samples()
        return self._samples

    def examples_from(self) -> Sequence[Sample]:
        return self.samples()[: self.spec.examples_rows or None]

    def measured(self) -> SignalTable:
        return self._run().measured()

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
        return self._run().details(measure, content_hash)

    def _run(self) -> Stored:
        if self._stored is None:
            raise RuntimeError("these instruments were opened without a stored run")
        return self._stored

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def tokenizer_folder(checkpoint: Checkpoint) -> str:
    """Where the tokenizer lies: in the checkpoint's folder, for an adapter without one in its base's."""
    here = Path(checkpoint.path)
    has_own = any((here / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    return checkpoint.path if has_own or checkpoint.base is None else checkpoint.base
