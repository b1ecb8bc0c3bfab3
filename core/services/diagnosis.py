"""The diagnosis: measures what is missing, then judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection

from core.backends._base import Interrupted, interruptible
from core.errors import UserError, as_sentence
from core.plugins import kind
from core.services import artefacts, reuse, token_rows
from core.services.jobs import Work
from core.services.judging import write_judgement
from core.services.measurements import StoredRun, signals_of
from core.services.preflight import card_of, checking, some_samples
from core.services.runs import get_run, need_home
from core.settings import settings
from core.signals._artefacts import providers
from core.signals._base import Measure
from core.signals._instruments import Instruments
from core.signals._plan import plan
from core.types import Chunk, Run
from db import runs as table
from db import samples as sample_table
from db import signals as signal_table
from db.session import database


def handle_diagnose(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Measures what is missing, then judges. Killed anywhere, a second call goes on where the first one stopped."""
    run = get_run(payload["run"])
    need_home(run)
    summary = dict(run.summary)
    measures = plan(run.spec)
    names = {_stage(m, i, len(measures)): kind("signals", m.signal).label for i, m in enumerate(measures, 1)}
    check = {} if "card" in summary else {checking(run.spec): ""}
    ids = {token_rows.STAGE: ""} if token_rows.holds(run.spec.dataset_id) else {}
    work.plan({**check, **ids, **names, "judging": ""})
    if "card" not in summary:
        work.progress(checking(run.spec))
        card, spec = card_of(run.spec, some_samples(run.spec.dataset_id, run.n_samples, 64))
        spec = reuse.continued(spec)
        summary["card"] = card
        failed = [c for c in card["checks"] if c["state"] == "fail"]
        if failed:
            raise UserError(failed[0]["text"], as_sentence(failed[0]["measured"]), failed[0]["todo"])
        with database().writing() as conn:
            table.set_run(conn, run.id, spec=spec, summary=summary, state="measuring")
        run = get_run(run.id)
    instruments = Instruments(run.spec, settings().device, StoredRun(run))
    try:
        if ids and not instruments.renders():
            raise UserError(
                "The rows are token ids, and there is no tokenizer to read them with.",
                "A dataset that was tokenised before training has no text.",
                "Give the training's tokenizer (--tokenizer), or the checkpoint.",
            )
        if ids:
            token_rows.read_texts(work, run.spec.dataset_id, instruments.tokenizer())
        measures = plan(run.spec)
        for step, measure in enumerate(measures, 1):
            _measure(work, run, measure, instruments, _stage(measure, step, len(measures)))
    finally:
        instruments.close()
    work.progress("judging")
    write_judgement(run, run.thresholds)
    return {"run": run.id}


def _stage(measure: Measure, step: int, steps: int) -> str:
    return f"{step} of {steps} · {kind('signals', measure.signal).label.lower()}: {measure.checkpoint.label}"


def _measure(work: Work, run: Run, measure: Measure, instruments: Instruments, stage: str) -> None:
    signal = kind("signals", measure.signal)
    with database().writing() as conn:
        measure_id = signal_table.measure_id(
            conn, measure.key, measure.signal, measure.checkpoint.fingerprint, dict(measure.depends)
        )
        signal_table.link_run(conn, run.id, [measure_id])
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        needed = [m for m in plan(run.spec) if m.signal in providers(signal)]
        wanted = signal.applies_to(signals_of(conn, run, hashes, needed))
        first: dict[str, int] = {}
        for ordinal, (key, want) in enumerate(zip(hashes, wanted, strict=True)):
            if want:
                first.setdefault(key, ordinal)
        missing = signal_table.missing(conn, measure_id, list(first))
        kindred = bool(missing and measure.kin) and signal_table.has_kin(conn, measure.kin_key, measure_id)
    total = len(first)
    done = total - len(missing)
    work.progress(stage, done, total, "samples")
    # Samples are read in blocks, so that a dataset of any size fits in memory; a signal that compares samples gets all.
    ordinals = [first[key] for key in missing]
    size = max(1, len(ordinals)) if signal.whole else 4096
    for block in range(0, len(ordinals), size):
        with database().reading() as conn:
            samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, ordinals[block : block + size]))
        subjects = reuse.subjects_of(measure, samples, instruments)
        if kindred:
            adopted: set[str] = set()

            def adopt(conn: Connection, rows: signal_table.Subjects = subjects, taken: set[str] = adopted) -> None:
                taken.update(signal_table.adopt(conn, measure_id, rows))

            work.progress(stage, done, total, "samples", adopt)
            samples = [sample for sample in samples if sample.content_hash not in adopted]
            done += len(adopted)
        for chunk in _chunks(signal.measure(measure, samples, instruments, work.asked_to_stop), work):
            # A file that no row would name could never be deleted.
            kept = any(detail is not None for detail in chunk.details)
            name = artefacts.write(chunk.details) if kept else None
            done += len(chunk.keys)
            rests_on = {key: subjects[key] for key in chunk.keys if key in subjects}
            store = partial(_store, measure_id=measure_id, chunk=chunk, artefact=name, subjects=rests_on)
            work.progress(stage, done, total, "samples", store)
        if work.asked_to_stop():
            work.progress(stage, done, total, "samples")


def _store(
    conn: Connection, measure_id: int, chunk: Chunk, artefact: str | None, subjects: signal_table.Subjects
) -> None:
    signal_table.store_chunk(conn, measure_id, chunk, artefact)
    signal_table.note_subjects(conn, measure_id, subjects)


def _chunks(measured: Iterator[Chunk], work: Work) -> Iterator[Chunk]:
    """The chunks; none more where a backend gave up the one at hand because the job was asked to stop."""
    while True:
        try:
            with interruptible(work.asked_to_stop):
                chunk = next(measured, None)
        except Interrupted:
            return
        if chunk is None:
            return
        yield chunk
