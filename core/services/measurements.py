"""What was measured of a run, read back from the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.services import artefacts
from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS, Artefact, R, find_measure
from core.signals._base import Measure
from core.signals._plan import plan
from core.signals._records import RowOutputs
from core.types import FINAL, Check, Role, Run, RunFacts, Sample, SignalTable, TrainerState
from db import outputs as output_table
from db import samples as sample_table
from db import signals as signal_table
from db.session import database

# Rows whose kept answers are in memory at a time.
_BLOCK = 1000


class StoredDataset:
    """What may be asked before there is a run: the samples. Nothing is measured yet."""

    def __init__(self, dataset_id: int) -> None:
        self._dataset_id = dataset_id

    def samples(self) -> list[Sample]:
        with database().reading() as conn:
            return list(sample_table.iter_samples(conn, self._dataset_id))

    def measured(self) -> SignalTable:
        raise RuntimeError("nothing is measured before there is a run")

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
        return None


class StoredRun(StoredDataset):
    """What signals may ask of the run's store while it is measured."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.spec.dataset_id)
        self._run = run

    def measured(self) -> SignalTable:
        with database().reading() as conn:
            hashes = sample_table.content_hashes(conn, self._run.spec.dataset_id)
            return with_facts(conn, self._run, signals_of(conn, self._run, hashes))

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
        with database().reading() as conn:
            return _details(conn, measure, [content_hash]).get(content_hash)


@lru_cache(maxsize=4)
def _chunk_of(name: str) -> list[Mapping[str, Any] | None]:
    """A chunk's details, the last few kept: signals ask row by row, and a file's name is its content's."""
    return artefacts.read_all(name)


def _details(conn: Any, measure: Measure, hashes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    ids = signal_table.find_measures(conn, [measure.key])
    refs = signal_table.detail_refs(conn, ids[measure.key], hashes) if ids else {}
    by_chunk = sorted(refs.items(), key=lambda ref: ref[1])  # each chunk is read once
    values = {key: _chunk_of(name)[slot] for key, (name, slot) in by_chunk}
    return {key: value for key, value in values.items() if value is not None}


def records(conn: Any, run: Run, artefact: Artefact[R], hashes: Sequence[str], role: Role = FINAL) -> dict[str, R]:
    """Content hash to what the run kept of those samples; a sample of which it kept nothing is left out."""
    measure = find_measure(run.spec, artefact, role)
    values = _details(conn, measure, hashes) if measure is not None else {}
    return {key: artefact.record.from_dict(value) for key, value in values.items()}


def index_outputs(conn: Any, run: Run) -> None:
    """Makes what the checkpoint answers findable by text, from what was kept of it."""
    keys = sample_table.content_hashes(conn, run.spec.dataset_id)

    def texts() -> Iterator[tuple[int, str]]:
        for at in range(0, len(keys), _BLOCK):
            some = keys[at : at + _BLOCK]
            kept = records(conn, run, OUTPUTS, list(dict.fromkeys(some)))
            yield from ((at + i, _text(kept.get(key))) for i, key in enumerate(some))

    output_table.write_outputs(conn, run.id, texts())


def _text(kept: RowOutputs | None) -> str:
    return "" if kept is None else "\n".join(turn.output for turn in kept.turns)


def any_record(conn: Any, run: Run, artefact: Artefact[R], role: Role = FINAL) -> R | None:
    """What the run kept of some sample; None where it kept nothing of any."""
    measure = find_measure(run.spec, artefact, role)
    ids = signal_table.find_measures(conn, [measure.key]) if measure is not None else {}
    name = next((signal_table.any_detail(conn, measure_id) for measure_id in ids.values()), None)
    value = next((v for v in _chunk_of(name) if v is not None), None) if name is not None else None
    return None if value is None else artefact.record.from_dict(value)


def signals_of(conn: Any, run: Run, hashes: Sequence[str], measures: Sequence[Measure] | None = None) -> SignalTable:
    """Everything measured for these samples, columns named as ``Measure.column`` names them; NaN = not measured."""
    wanted = plan(run.spec) if measures is None else measures
    ids = signal_table.find_measures(conn, [m.key for m in wanted])
    return signal_table.table(conn, [(m.column(""), ids[m.key]) for m in wanted if m.key in ids], hashes)


def with_facts(conn: Any, run: Run, signals: SignalTable) -> SignalTable:
    """The signals of all samples in training order, with the facts about them that cost nothing.

    ``position`` in [0, 1] is the place in the training order, ``stage_index`` the number of the row's stage in that
    order (NaN where rows name none), ``copies`` how often the same content occurs.
    """
    facts = sample_table.order(conn, run.spec.dataset_id)
    stages = {stage: i for i, stage in enumerate(sample_table.get_dataset(conn, run.spec.dataset_id).stages)}
    n = len(facts["ordinal"])
    counted = Counter(signals.keys)
    return SignalTable(
        signals.keys,
        {
            **signals.columns,
            col.POSITION: np.arange(n) / max(1, n - 1),
            col.STAGE_INDEX: np.array([stages.get(s, np.nan) for s in facts["stage"]], dtype=np.float64),
            col.COPIES: np.array([counted[k] for k in signals.keys], dtype=np.float64),
        },
    )


def facts_of(run: Run) -> RunFacts:
    """What is known of the run besides its samples: the sanity card, training logs, trainer arguments."""
    from core.checkpoint.folders import read_folder

    card = run.summary.get("card") or {}
    known = card.get("facts") or {}
    dtypes = known.get("dtypes") or {}
    arguments = {
        **run.spec.preset_settings,
        "quantised": known.get("quantised") or "",
        **({"stored_dtype": max(dtypes, key=lambda d: dtypes[d])} if dtypes else {}),
    }
    states = []
    # The folders that a bundle names lie on another machine; what lies there here is something else.
    for checkpoint in () if run.spec.origin else (*run.spec.trajectory, run.spec.final):
        if not checkpoint.has_weights:
            continue
        try:
            log = read_folder(Path(checkpoint.path)).trainer
        except (UserError, OSError):
            continue  # the folder went after it was measured; its log is then not known
        if log is not None:
            states.append(
                TrainerState(
                    checkpoint.label,
                    log.global_step,
                    log.max_steps,
                    log.epoch,
                    log.batch,
                    log.losses,
                    log.grad_norms,
                    log.rates,
                )
            )
    checks = {c["code"]: Check(**c) for c in card.get("checks", ())}
    return RunFacts(run.spec, checks, tuple(states), arguments)
