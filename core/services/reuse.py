"""What earlier runs measured of a run's rows: found by key, by what a row rests on, and by the rows it begins with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.plugins import kind
from core.signals._artefacts import providers
from core.signals._base import Instruments, Measure
from core.signals._plan import plan
from core.types import RunSpec, Sample
from db import runs as run_table
from db import samples as sample_table
from db import signals as signal_table
from db.session import database

# A dataset that grew by more than a quarter is asked with examples of its own: its new rows may ask in forms of which
# the old ones hold no example.
EXAMPLES_SHARE = 0.8
# Rows that are looked up at a time, and of how many it is found out before a run whether they rest on what is stored:
# each of them has to be rendered for that, and a check must not keep people waiting for minutes.
BLOCK, LOOKED_UP = 4096, 20_000


def continued(spec: RunSpec) -> RunSpec:
    """The specification with the examples of an earlier run, where that run's rows begin this dataset.

    Words, frames and examples of questions then stay as they were, so that what was asked of the old rows holds.
    Nothing changes for a dataset that was diagnosed as it is, or that no run's dataset begins.
    """
    if spec.origin or spec.examples_rows:
        return spec
    with database().reading() as conn:
        total = sample_table.get_dataset(conn, spec.dataset_id).n_samples
        anchors = {_anchor(run.spec, run.n_samples) for run in run_table.list_runs(conn) if not run.spec.origin}
        fitting = [(n, mark) for n, mark in sorted(anchors) if EXAMPLES_SHARE * total <= n < total]
        if not fitting or _asked_before(conn, spec):
            return spec
        specs = [replace(spec, examples_rows=n, examples_fingerprint=mark) for n, mark in fitting]
        specs = [s for s in specs if _asked_before(conn, s)]
        marks = _beginnings(conn, spec.dataset_id, {s.examples_rows for s in specs})
    same = [s for s in specs if marks.get(s.examples_rows) == s.examples_fingerprint]
    return same[-1] if same else spec


def _asked_before(conn: Any, spec: RunSpec) -> bool:
    """Whether anything that depends on these examples is stored."""
    without = {m.key for m in plan(replace(spec, examples_rows=1, examples_fingerprint="none"))}
    keys = [m.key for m in plan(spec) if m.key not in without]
    return bool(signal_table.find_measures(conn, keys))


def _anchor(spec: RunSpec, n_samples: int) -> tuple[int, str]:
    """The rows from which a run took its examples: how many, and their fingerprint."""
    return (
        (spec.examples_rows, spec.examples_fingerprint) if spec.examples_rows else (n_samples, spec.dataset_fingerprint)
    )


def _beginnings(conn: Any, dataset_id: int, lengths: set[int]) -> dict[int, str]:
    """Number of rows to the fingerprint of so many first rows, as ``import_files`` takes it."""
    if not lengths:
        return {}
    state, marks = hashlib.sha256(), {}
    for n, sample in enumerate(sample_table.iter_samples(conn, dataset_id), 1):
        state.update(sample.raw + b"\n")
        if n in lengths:
            marks[n] = state.hexdigest()
        if n == max(lengths):
            break
    return marks


def subjects_of(measure: Measure, samples: Iterable[Sample], instruments: Instruments) -> dict[str, tuple[str, ...]]:
    """Content hash to what the row rests on, marked with the measurement's kin; empty where it has none."""
    if not measure.kin:
        return {}
    signal = kind("signals", measure.signal)
    own = {s.content_hash: signal.subjects(measure, s, instruments) for s in samples}
    return {key: tuple(f"{measure.kin_key}:{text}" for text in texts) for key, texts in own.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement.

    Attributes:
        label: what is measured; ``checkpoint``: under which.
        samples: contents that it looks at, at most: some look only at what others leave open (``after``).
        stored: of these, how many were measured before and are not measured again.
    """

    signal: str
    label: str
    checkpoint: str
    samples: int
    stored: int
    after: tuple[str, ...]


def steps_of(spec: RunSpec, instruments: Instruments) -> list[Step]:
    """The measurements of a run in their order, and what of each is known."""
    with database().reading() as conn:
        first: dict[str, int] = {}
        for ordinal, key in enumerate(sample_table.content_hashes(conn, spec.dataset_id)):
            first.setdefault(key, ordinal)
        steps = []
        for measure in plan(spec):
            signal = kind("signals", measure.signal)
            after = tuple(sorted(kind("signals", name).label for name in providers(signal)))
            stored = _known(conn, measure, first, spec, instruments)
            steps.append(Step(measure.signal, signal.label, measure.checkpoint.label, len(first), stored, after))
    return steps


def in_words(spec: RunSpec, steps: Sequence[Step]) -> str:
    """How many rows are known under each checkpoint before a run; empty where none is."""
    read = [s for s in steps if s.signal == "likelihood"]
    if not any(s.stored for s in read):
        return ""
    n = read[0].samples
    if len({s.stored for s in read}) == 1:
        where = f"under {read[0].checkpoint}" if len(read) == 1 else f"under all {len(read)} checkpoints"
        counts = f"{read[0].stored:,} of {n:,} are known {where}"
    else:
        counts = f"Of {n:,}, " + ", ".join(f"{s.stored:,} are known under {s.checkpoint}" for s in read)
    text = f"{counts}. They are not measured again."
    if spec.examples_rows:
        text += f" Questions are put with the examples of the first {spec.examples_rows:,} rows, as in an earlier run."
    return text


def _known(conn: Any, measure: Measure, samples: Mapping[str, int], spec: RunSpec, instruments: Instruments) -> int:
    """How many of the contents need not be measured: they are stored, or rest on what another run measured.

    Args:
        samples: content hash to the position of the first row that has it.
    """
    measure_id = signal_table.find_measures(conn, [measure.key]).get(measure.key)
    missing = list(samples) if measure_id is None else signal_table.missing(conn, measure_id, samples)
    count = len(samples) - len(missing)
    if missing and measure.kin and signal_table.has_kin(conn, measure.kin_key, measure_id):
        ordinals = sorted(samples[key] for key in missing)[:LOOKED_UP]
        for at in range(0, len(ordinals), BLOCK):
            rows = sample_table.iter_samples(conn, spec.dataset_id, ordinals[at : at + BLOCK])
            count += len(signal_table.findable(conn, subjects_of(measure, rows, instruments)))
    return count
