"""Runs: what is asked, what is stored of it, and the jobs that measure and judge."""

from __future__ import annotations

import importlib.metadata
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.faults import judge_run
from core.judge.diagnose import Instruments, columns_of, judge, plan
from core.plugins import kind, kinds
from core.scorers import suggest
from core.services import artefacts, checkpoints, datasets, jobs, proven
from core.services.jobs import JobContext
from core.services.routes import reachable
from core.services.views import KindForm, RowPreview, TokenPiece
from core.settings import settings
from core.signals._base import Measure
from core.types import (
    Check,
    Checkpoint,
    Run,
    RunFacts,
    RunSpec,
    Sample,
    SignalTable,
    Supervision,
    Thresholds,
    TrainerState,
)
from db import routes as route_table
from db import runs as table
from db import samples as sample_table
from db import signals as signal_table
from db import verdicts as verdict_table
from db.session import database

# Packages that could change a number.
VERSIONS = ("torch", "transformers", "tokenizers", "peft", "numpy", "sentence-transformers", "scikit-learn")
# Rows that a preflight renders; more would make people wait for a preview.
PREFLIGHT_ROWS = 2_000


def _forms(folder: str) -> list[KindForm]:
    return [KindForm(k.name, k.label, k.help, tuple(k.settings)) for k in kinds(folder).values()]


def presets() -> list[KindForm]:
    """Trainer presets; ``custom``, the default, first."""
    return sorted(_forms("presets"), key=lambda f: (f.name != "custom", f.name))


def scorers() -> list[KindForm]:
    return _forms("scorers")


def suggest_scorer(dataset_id: int) -> tuple[str, str]:
    """The scorer that fits the dataset's targets, and why."""
    n = datasets.get_dataset(dataset_id).n_samples
    ordinals = sorted({int(i) for i in np.linspace(0, max(n - 1, 0), num=min(n, 500))})
    with database().reading() as conn:
        return suggest([s.response for s in sample_table.iter_samples(conn, dataset_id, ordinals)])


def list_runs() -> list[Run]:
    """Newest first."""
    with database().reading() as conn:
        return table.list_runs(conn)


def get_run(run_id: int) -> Run:
    with database().reading() as conn:
        return table.get_run(conn, run_id)


def rename_run(run_id: int, name: str) -> None:
    if not name.strip():
        raise UserError("A run needs a name.")
    with database().writing() as conn:
        table.rename_run(conn, run_id, name.strip())


def delete_run(run_id: int) -> None:
    """Deletes the run, its verdicts, and the measurements and files that no other run rests on.

    Raises:
        UserError: a job of the run is under way.
    """
    job = jobs.active_for_run(run_id)
    if job is not None and job.state in ("running", "queued"):
        raise UserError(f"Run {run_id} is being worked on.", f"Job {job.id} is {job.state}.", "Cancel the job first.")
    with database().writing() as conn:
        texts = route_table.artefacts_of_run(conn, run_id)
        unused = table.delete_run(conn, run_id)
    artefacts.remove([*unused, *texts])


# ------------------------------------------------------------------------------------------------- what is asked


def make_spec(
    dataset_id: int,
    final: Checkpoint,
    base: Checkpoint | None = None,
    trajectory: Sequence[Checkpoint] = (),
    *,
    preset: str = "custom",
    preset_settings: Mapping[str, Any] | None = None,
    scorer: str | None = None,
    scorer_settings: Mapping[str, Any] | None = None,
    max_draws: int = 20,
    max_new_tokens: int | None = None,
    seed: int = 0,
    paper_mode: bool = False,
    dtype: str = "float32",
    encoder: str | None = None,
) -> RunSpec:
    """A complete, checked specification; names and settings that do not exist raise UserError."""
    from core.presets._base import with_defaults

    dataset = datasets.get_dataset(dataset_id)
    scorer = scorer or suggest_scorer(dataset_id)[0]
    encoder = settings().encoder if encoder is None else encoder
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    versions["encoder_weights"] = kind("encoders", "sentence_transformer").fingerprint(encoder)
    return RunSpec(
        dataset_id=dataset_id,
        dataset_fingerprint=dataset.fingerprint,
        final=final,
        base=base,
        trajectory=tuple(sorted(trajectory, key=lambda c: (c.step is None, c.step or 0))),
        preset=preset,
        preset_settings=with_defaults(kind("presets", preset), preset_settings or {}),
        scorer=scorer,
        scorer_settings=with_defaults(kind("scorers", scorer), scorer_settings or {}),
        max_draws=max_draws,
        max_new_tokens=max_new_tokens or 512,
        seed=seed,
        paper_mode=paper_mode,
        dtype=dtype,
        encoder=encoder,
        versions=versions,
    )


def create_run(
    name: str,
    dataset_id: int,
    final_id: int,
    base_id: int | None = None,
    trajectory_ids: Sequence[int] = (),
    **options: Any,
) -> tuple[int, int]:
    """Stores a run and queues its diagnosis; returns (run id, job id). ``options`` as ``make_spec`` takes them."""
    spec = make_spec(dataset_id, *_checkpoints(final_id, base_id, trajectory_ids), **options)
    return start(store_run(name, spec))


def _checkpoints(final_id: int, base_id: int | None, trajectory_ids: Sequence[int]) -> tuple[Any, ...]:
    final = checkpoints.get_checkpoint(final_id).checkpoint
    base = None if base_id is None else checkpoints.get_checkpoint(base_id).checkpoint
    # The final checkpoint closes the trajectory by itself; naming it there again must not measure it twice.
    others = [checkpoints.get_checkpoint(i).checkpoint for i in trajectory_ids if i != final_id]
    return final, base, tuple(c for c in others if c.fingerprint != final.fingerprint)


def store_run(name: str, spec: RunSpec) -> Run:
    dataset = datasets.get_dataset(spec.dataset_id)
    run_name = name.strip() or f"{dataset.name} × {spec.final.label}"
    with database().writing() as conn:
        return table.create_run(conn, run_name, spec, Thresholds(), columns_of(spec), dataset.n_samples)


def start(run: Run) -> tuple[int, int]:
    job = jobs.enqueue("diagnose", {"run": run.id}, lane="long", title=f"Diagnose {run.name}", run_id=run.id)
    return run.id, job


def start_preflight(
    dataset_id: int,
    final_id: int,
    base_id: int | None = None,
    trajectory_ids: Sequence[int] = (),
    preset: str = "custom",
    preset_settings: Mapping[str, Any] | None = None,
    scorer: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Checks the checkpoint, renders a few rows and estimates the cost, before any long compute."""
    spec = make_spec(
        dataset_id, *_checkpoints(final_id, base_id, trajectory_ids), preset=preset, preset_settings=preset_settings,
        scorer=scorer, **(options or {}),
    )  # fmt: skip
    return jobs.enqueue("preflight", {"spec": spec.as_dict()}, title=f"Check {spec.final.label}")


def start_rejudge(run_id: int, thresholds: Thresholds) -> int:
    """Judges what was measured again, with other thresholds. No model is loaded."""
    run = get_run(run_id)
    payload = {"run": run_id, "thresholds": asdict(thresholds)}
    return jobs.enqueue("rejudge", payload, title=f"Judge {run.name} again", run_id=run_id)


# ------------------------------------------------------------------------------------------- run by the worker


def _some_samples(dataset_id: int, n_samples: int, most: int) -> list[Sample]:
    ordinals = sorted({int(i) for i in np.linspace(0, max(n_samples - 1, 0), num=min(n_samples, most))})
    with database().reading() as conn:
        return list(sample_table.iter_samples(conn, dataset_id, ordinals))


def _card(spec: RunSpec, samples: Sequence[Sample]) -> tuple[dict[str, Any], RunSpec]:
    """The sanity card as a dict, and the spec with the tokenizer variant that fits."""
    from core.checkpoint.card import card

    found, final = card(
        spec.final, spec.base, samples, preset=spec.preset, preset_settings=spec.preset_settings, dtype=spec.dtype,
        device=settings().device,
    )  # fmt: skip
    return checkpoints.card_as_dict(found), replace(spec, final=final)


def handle_preflight(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = RunSpec.from_dict(payload["spec"])
    dataset = datasets.get_dataset(spec.dataset_id)
    context.progress("checking weights and tokenizer")
    samples = _some_samples(dataset.id, dataset.n_samples, PREFLIGHT_ROWS)
    card, spec = _card(spec, samples[:64])
    usable = not any(c["state"] == "fail" for c in card["checks"])
    instruments = Instruments(spec, settings().device)
    try:
        counts, previews, seen = _render(context, spec, samples, instruments, dataset.n_samples)
        estimate = _estimate(context, spec, seen, counts, instruments) if usable and seen else None
    finally:
        instruments.close()
    return {"card": card, "rows": previews, "counts": counts, "estimate": estimate, "usable": usable}


def _render(
    context: JobContext, spec: RunSpec, samples: Sequence[Sample], instruments: Instruments, n_samples: int
) -> tuple[dict[str, int], list[dict[str, Any]], list[Supervision]]:
    from core.rendering.render import pieces

    counts = dict.fromkeys(
        ("samples", "looked_at", "tokens", "target_tokens", "dropped", "refused", "truncated", "not_supervised"), 0
    )
    counts["samples"], counts["looked_at"] = n_samples, len(samples)
    previews: list[dict[str, Any]] = []
    seen: list[Supervision] = []
    for i, sample in enumerate(samples):
        context.progress("rendering rows", i, len(samples), "rows")
        try:
            found = instruments.supervision(sample)
        except UserError as refusal:
            counts["refused"] += 1
            if len(previews) < 5:
                previews.append(asdict(RowPreview(sample.id, (), (), str(refusal))))
            continue
        seen.append(found)
        counts["tokens"] += len(found.ids)
        counts["target_tokens"] += int(found.target.sum())
        counts["dropped"] += found.dropped is not None
        counts["truncated"] += found.truncated
        counts["not_supervised"] += bool((found.target & ~found.trained).any())
        if len(previews) < 5:
            texts = pieces(instruments.tokenizer(), found.ids)
            marks = zip(texts, found.ids.tolist(), found.trained.tolist(), found.target.tolist(), strict=True)
            shown = tuple(TokenPiece(t, i, a, b) for t, i, a, b in marks)
            notes = (*found.notes, *((f"the trainer leaves this row out: {found.dropped}",) if found.dropped else ()))
            previews.append(asdict(RowPreview(sample.id, shown, notes)))
    return counts, previews, seen


def _estimate(
    context: JobContext, spec: RunSpec, seen: Sequence[Supervision], counts: Mapping[str, int], instruments: Instruments
) -> dict[str, Any]:
    """Seconds for the whole run, from a measured handful of rows under the final checkpoint."""
    from core.backends._base import ScoreRow
    from core.types import Decoding

    context.progress("timing the model")
    backend = instruments.backend(spec.final)
    some = sorted(seen, key=lambda s: len(s.ids))[:: max(1, len(seen) // 12)][:12]
    rows = [ScoreRow(s.ids, np.flatnonzero(s.target)[np.flatnonzero(s.target) > 0]) for s in some]
    backend.score(rows[:1])  # the first call pays for set-up
    began = time.perf_counter()
    backend.score(rows)
    per_token = (time.perf_counter() - began) / sum(len(r.ids) for r in rows)
    turns = [(s, t) for s in some for t in s.turns if t.start > 0][:8]
    began = time.perf_counter()
    made = backend.generate([s.ids[: t.start] for s, t in turns], [Decoding(max_new_tokens=16)] * len(turns), ())
    per_new = (time.perf_counter() - began) / max(1, sum(len(g.tokens) for g in made))
    scale = counts["samples"] / max(1, counts["looked_at"])
    checkpoints_used = 1 + (spec.base is not None) + len(spec.trajectory)
    scoring = per_token * counts["tokens"] * scale * checkpoints_used
    # One greedy answer and about ten draws for each row that is not reproduced.
    asking = per_new * counts["target_tokens"] * scale * 11
    low, high = scoring + 0.1 * asking, scoring + 0.6 * asking
    text = (
        f"About {jobs.duration(scoring)} to score {counts['samples']:,} samples under {checkpoints_used} "
        f"checkpoint{'s' if checkpoints_used > 1 else ''}; with answers drawn for what is not reproduced "
        f"{jobs.duration(low)} (a tenth of the rows) to {jobs.duration(high)} (most of them)."
    )
    return {"seconds": scoring + 0.3 * asking, "scoring_seconds": scoring, "low": low, "high": high, "text": text}


def handle_diagnose(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Measures what is missing, then judges. Killed anywhere, a second call goes on where the first one stopped."""
    run = get_run(payload["run"])
    summary = dict(run.summary)
    if "card" not in summary:
        context.progress("checking weights and tokenizer")
        card, spec = _card(run.spec, _some_samples(run.spec.dataset_id, run.n_samples, 64))
        summary["card"] = card
        failed = [c for c in card["checks"] if c["state"] == "fail"]
        if failed:
            raise UserError(failed[0]["text"], failed[0]["measured"], failed[0]["todo"])
        with database().writing() as conn:
            table.set_run(conn, run.id, spec=spec, summary=summary, state="measuring")
        run = get_run(run.id)
    instruments = Instruments(run.spec, settings().device, StoredRun(run))
    try:
        measures = plan(run.spec)
        for step, measure in enumerate(measures, 1):
            _measure(context, run, measure, instruments, f"{step} of {len(measures)}")
    finally:
        instruments.close()
    context.progress("judging")
    write_judgement(run, run.thresholds)
    return {"run": run.id}


class StoredRun:
    """What signals may ask of the run's store while it is measured."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def samples(self) -> list[Sample]:
        with database().reading() as conn:
            return list(sample_table.iter_samples(conn, self._run.spec.dataset_id))

    def measured(self) -> SignalTable:
        with database().reading() as conn:
            hashes = sample_table.content_hashes(conn, self._run.spec.dataset_id)
            return with_facts(conn, self._run, signals_of(conn, self._run, hashes))

    def details(self, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
        with database().reading() as conn:
            ids = signal_table.find_measures(conn, [measure.key])
            ref = signal_table.detail_ref(conn, ids[measure.key], content_hash) if measure.key in ids else None
        return None if ref is None else _chunk_of(ref[0])[ref[1]]


@lru_cache(maxsize=4)
def _chunk_of(name: str) -> list[Mapping[str, Any] | None]:
    """A chunk's details, the last few kept: signals ask row by row, and a file's name is its content's."""
    return artefacts.read_all(name)


def _measure(context: JobContext, run: Run, measure: Measure, instruments: Instruments, step: str) -> None:
    signal = kind("signals", measure.signal)
    with database().writing() as conn:
        measure_id = signal_table.measure_id(
            conn, measure.key, measure.signal, measure.checkpoint.fingerprint, dict(measure.depends)
        )
        signal_table.link_run(conn, run.id, [measure_id])
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        needed = [m for m in plan(run.spec) if m.signal in signal.needs]
        wanted = signal.wanted(signals_of(conn, run, hashes, needed))
        first: dict[str, int] = {}
        for ordinal, (key, want) in enumerate(zip(hashes, wanted, strict=True)):
            if want:
                first.setdefault(key, ordinal)
        missing = signal_table.missing(conn, measure_id, list(first))
    stage = f"{step} · {signal.label.lower()}: {measure.checkpoint.label}"
    total = len(first)
    done = total - len(missing)
    context.progress(stage, done, total, "samples")
    # Samples are read in blocks, so that a dataset of any size fits in memory; a signal that compares samples gets all.
    ordinals = [first[key] for key in missing]
    size = max(1, len(ordinals)) if signal.whole else 4096
    for block in range(0, len(ordinals), size):
        with database().reading() as conn:
            samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, ordinals[block : block + size]))
        for chunk in signal.measure(measure, samples, instruments, context.asked_to_stop):
            # A file that no row would name could never be deleted.
            kept = any(detail is not None for detail in chunk.details)
            name = artefacts.write(chunk.details) if kept else None
            done += len(chunk.keys)
            context.progress(
                stage, done, total, "samples",
                lambda conn, chunk=chunk, name=name: signal_table.store_chunk(conn, measure_id, chunk, name),
            )  # fmt: skip
        if context.asked_to_stop():
            context.progress(stage, done, total, "samples")


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
            "position": np.arange(n) / max(1, n - 1),
            "stage_index": np.array([stages.get(s, np.nan) for s in facts["stage"]], dtype=np.float64),
            "copies": np.array([counted[k] for k in signals.keys], dtype=np.float64),
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
    for checkpoint in (*run.spec.trajectory, run.spec.final):
        try:
            log = read_folder(Path(checkpoint.path)).trainer
        except (UserError, OSError):
            continue  # the folder went after it was measured; its log is then not known
        if log is not None:
            states.append(
                TrainerState(
                    checkpoint.label, log.global_step, log.max_steps, log.epoch, log.batch, log.losses, log.grad_norms
                )
            )
    checks = {c["code"]: Check(**c) for c in card.get("checks", ())}
    return RunFacts(run.spec, checks, tuple(states), arguments)


def write_judgement(run: Run, thresholds: Thresholds) -> None:
    """Judges the run from what was measured and replaces its verdict table."""
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        signals = with_facts(conn, run, signals_of(conn, run, hashes))
        facts = sample_table.order(conn, run.spec.dataset_id)
        reached, reached_values = reachable.columns_for(conn, run, hashes)
    known = facts_of(run)
    found = judge(run.spec, signals, thresholds, known)
    derived = SignalTable(signals.keys, found.columns)
    values = {**found.columns, **reached_values}
    columns: dict[str, Any] = {"status": found.status, "cause": found.cause, "stage": facts["stage"]}
    columns["source"] = facts["source"]
    columns |= {"study_cause": found.study} if run.spec.paper_mode else {}
    declared = (*columns_of(run.spec), *reached)
    for column in declared:
        if column.name not in columns:
            columns[column.name] = values.get(column.name, np.full(len(hashes), np.nan))
    summary = dict(run.summary) | summarise(found.status, signals) | {"causes": found.judged_by}
    summary["faults"] = [finding.as_dict() for finding in judge_run(derived, known, found.status)]
    judged = replace(run, columns=declared, thresholds=thresholds, state="judged", summary=summary)
    with database().writing() as conn:
        verdict_table.write_verdicts(conn, judged, columns, facts["ordinal"], facts["sid"])
        proven.write(conn, judged)
        table.set_run(conn, run.id, thresholds=thresholds, state="judged", summary=summary)


def summarise(status: np.ndarray, signals: SignalTable) -> dict[str, Any]:
    """What pages need of a run without reading every row: counts, edges of histograms, what the mean hides."""
    values, counts = np.unique(status.astype(str), return_counts=True)
    by_status = {str(v): int(c) for v, c in zip(values, counts, strict=True)}
    lengths = signals.get("n_target")
    lengths = lengths[np.isfinite(lengths)]
    quantiles = sorted({int(q) for q in np.quantile(lengths, [0, 0.2, 0.4, 0.6, 0.8, 1.0])}) if lengths.size else []
    return {
        "status": by_status,
        "nll_edges": _edges(signals.get("nll"), 40),
        "length_edges": quantiles,
        "hidden": _hidden(status, signals.get("nll")),
        "refused": int(np.nansum(signals.get("refused"))),
        "dropped": int(np.nansum(signals.get("dropped"))),
        "truncated": int(np.nansum(signals.get("truncated"))),
        "near_ties": int(np.nansum(signals.get("near_tie"))),
        "unsupervised": int(np.nansum(signals.get("n_unsupervised") > 0)),
        "foreign": int(np.nansum(signals.get("foreign_language"))),
    }


def _edges(values: np.ndarray, count: int) -> list[float]:
    """Edges of equal bins up to the 99th percentile; the last bin reaches up to the largest value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return []
    edges = np.linspace(0.0, float(np.quantile(values, 0.99)) or 1.0, count + 1)
    edges[-1] = max(edges[-1], float(values.max()))
    return edges.tolist()


def _hidden(status: np.ndarray, nll: np.ndarray) -> list[str]:
    """What the mean loss hides, in sentences with numbers."""
    known = np.isfinite(nll)
    unlearned, learned = known & (status == "unlearned"), known & (status == "learned")
    if not unlearned.any():
        return []
    mean, theirs = float(nll[known].mean()), float(nll[unlearned].mean())
    ratio = f", {theirs / mean:.1f} times the mean" if mean > 0 else ""
    out = [f"The mean loss is {mean:.3f}. Over the {unlearned.sum():,} unlearned samples it is {theirs:.3f}{ratio}."]
    if low := int((unlearned & (nll <= mean)).sum()):
        out.append(f"{low:,} unlearned samples have a loss at or below the mean: a threshold on loss would pass them.")
    if high := int((learned & (nll >= mean)).sum()):
        out.append(f"{high:,} learned samples have a loss at or above the mean.")
    return out


def handle_rejudge(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    context.progress("judging")
    write_judgement(get_run(payload["run"]), Thresholds(**payload["thresholds"]))
    return {"run": payload["run"]}
