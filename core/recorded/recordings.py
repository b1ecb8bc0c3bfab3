"""What ``lacuna_recorder.py`` wrote while a training ran: the loss of every sample at every visit."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np

from core.errors import UserError
from core.intake.containers import detect_container, read_records
from core.intake.records import Record as FileRow
from core.recorded.rows import Recorded
from core.types import Sample, Supervision

_NAME = re.compile(r"rank(\d+)(?:-(\d+))?\.")
_NEEDED = ("step", "epoch", "row", "ids", "loss", "tokens", "right")


@dataclass(frozen=True, slots=True)
class _Visit:
    """A sample in one step: ``exact`` where every token that carried loss was the first choice."""

    row: str
    ids: str
    rank: int
    epoch: int
    step: int
    loss: float
    exact: bool
    tokens: str | None


@dataclass(slots=True)
class Epoch:
    """One epoch of a recording, as a checkpoint of the way.

    Attributes:
        by_row, by_ids: digest to the first visit; equal rows have several in one epoch.
    """

    label: str
    step: int
    by_row: dict[str, _Visit]
    by_ids: dict[str, _Visit]
    _used: set[str] = field(default_factory=set)
    _other_mask: int = 0

    def row(self, sample: Sample, supervision: Supervision | None) -> Recorded | None:
        if supervision is None:
            return None
        whole, ids = digests(supervision.ids, supervision.trained)
        visit = self.by_row.get(whole)
        same_mask = visit is not None
        visit = visit or self.by_ids.get(ids)
        if visit is None:
            return None
        self._used.add(visit.row)
        self._other_mask += not same_mask
        exact = float(visit.exact) if same_mask else math.nan
        return Recorded(visit.loss, exact, (), True, visit.step, same_mask, _token_losses(visit.tokens))

    def unmatched(self) -> list[str]:
        return [f"step {v.step} ({key[:8]})" for key, v in self.by_row.items() if key not in self._used]

    def remarks(self) -> list[str]:
        if not self._other_mask:
            return []
        rows = "1 row" if self._other_mask == 1 else f"{self._other_mask:,} rows"
        return [f"{rows} carried loss on other tokens in “{self.label}” than the trainer preset says."]


def _token_losses(text: str | None) -> np.ndarray | None:
    try:
        return None if text is None else np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(float)
    except ValueError:
        return None


def digests(ids: np.ndarray, trained: np.ndarray) -> tuple[str, str]:
    """What finds a row in a recording: digests of ids with loss mask, and of ids; as ``lacuna_recorder`` makes them.

    Args:
        ids: (l,) token ids. trained: (l,) bool; the first does not count, because nothing predicts it.
    """
    numbers = ids.astype("<i8").tobytes()
    mask = trained.astype(np.uint8)
    mask[:1] = 0
    whole = hashlib.blake2b(numbers + mask.tobytes(), digest_size=16)
    return whole.hexdigest(), hashlib.blake2b(numbers, digest_size=16).hexdigest()


def read(files: Sequence[Path]) -> list[Epoch]:
    """The epochs of a recording, in order; kept while its files stay as they are.

    Raises:
        UserError: a file cannot be read or is no recording.
    """
    try:
        marks = tuple((file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read.", str(error.strerror), "Check the path.") from error
    return [Epoch(e.label, e.step, e.by_row, e.by_ids) for e in _read(marks)]


@lru_cache(maxsize=2)
def _read(marks: tuple[tuple[Path, int, int], ...]) -> list[Epoch]:
    visits: list[_Visit] = []
    for file, _, _ in sorted(marks, key=lambda mark: _place(mark[0])):
        new = list(_visits(file))
        # A resumed training repeats steps: what was trained on in the end counts.
        began = {rank: min(v.step for v in new if v.rank == rank) for rank in {v.rank for v in new}}
        visits = [v for v in visits if v.step < began.get(v.rank, math.inf)] + new
    if not visits:
        raise UserError(f"{marks[0][0].name} holds no sample.", "", "Give the files that lacuna_recorder.py wrote.")
    visits.sort(key=lambda v: (v.step, v.rank))
    epochs = []
    for number in sorted({v.epoch for v in visits}):
        own = [v for v in visits if v.epoch == number]
        by_row: dict[str, _Visit] = {}
        by_ids: dict[str, _Visit] = {}
        for visit in own:
            by_row.setdefault(visit.row, visit)
            by_ids.setdefault(visit.ids, visit)
        epochs.append(Epoch(f"epoch {number + 1}", median_low([v.step for v in own]), by_row, by_ids))
    return epochs


def _place(file: Path) -> tuple[int, int, str]:
    match = _NAME.match(file.name)
    return (int(match[1]), int(match[2] or 1), file.name) if match else (0, 1, file.name)


def _visits(file: Path) -> Iterable[_Visit]:
    for record in read_records(file, detect_container(file)):
        if not isinstance(record, FileRow):
            continue  # the last line of a training that was killed
        value: dict[str, Any] = record.value
        if any(name not in value for name in _NEEDED):
            raise UserError(
                f"{file.name} is no recording of lacuna_recorder.py.",
                f"Its columns are {', '.join(list(value)[:20])}; these are needed: {', '.join(_NEEDED)}.",
                "Losses of your own by row id are taken with --outputs.",
            )
        numbers = [value[name] for name in ("step", "epoch", "loss", "tokens", "right")]
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            continue  # a loss that was no number; the run's own log says so
        # Epochs are shares of whole numbers of steps, so a whole epoch may miss its number by a rounding.
        epoch = int(value["epoch"] + 1e-6)
        exact = value["right"] == value["tokens"]
        rank = value["rank"] if isinstance(value.get("rank"), int) else 0
        kept = value.get("token_losses")
        tokens = kept if isinstance(kept, str) else None
        yield _Visit(
            str(value["row"]), str(value["ids"]), rank, epoch, int(value["step"]), value["loss"], exact, tokens
        )
