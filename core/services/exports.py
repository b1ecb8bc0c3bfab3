"""Exports: the filtered rows as they came, the verdicts, and a manifest that says what was exported."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from core import __version__
from core.causes import ordered_causes
from core.filters import by_people, describe, to_text
from core.judge.verdict import verdict_of
from core.services import labels, proven
from core.services.measurements import signals_of
from core.services.runs import get_run
from core.signals import _columns as col
from core.types import Filter, Run
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

BATCH = 1000


def count(run_id: int, chosen: Filter) -> int:
    """How many samples the filter keeps."""
    with database().reading() as conn:
        return verdict_table.count(conn, get_run(run_id), chosen)


def lines(run_id: int, chosen: Filter) -> Iterator[bytes]:
    """The raw rows that the filter keeps, in training order, each with a line feed; constant memory."""
    run = get_run(run_id)
    with database().reading() as conn:
        chosen_ordinals = verdict_table.ordinals(conn, run, chosen)
        while batch := list(islice(chosen_ordinals, BATCH)):
            for _, raw in sample_table.raw_rows(conn, run.spec.dataset_id, batch):
                yield raw + b"\n"


def manifest(run_id: int, chosen: Filter) -> dict[str, Any]:
    """What an export of this filter holds: run, filter, counts, hashes. The hash is over the bytes of ``lines``."""
    run = get_run(run_id)
    digest, n = hashlib.sha256(), 0
    for line in lines(run_id, chosen):
        digest.update(line)
        n += 1
    with database().reading() as conn:
        dataset = sample_table.get_dataset(conn, run.spec.dataset_id)
        counts = {str(v): c for (v,), c in verdict_table.group_counts(conn, run, ["status"], chosen)}
        judgement = labels.facts(conn, run)
    return {
        "lacuna": __version__,
        "run": {"id": run.id, "name": run.name, "spec_hash": run.spec.hash, "spec": run.spec.as_dict()},
        "thresholds": {
            "unlearned_below": run.thresholds.unlearned_below,
            "certainty": run.thresholds.certainty,
            "success_cut": run.thresholds.success_cut,
        },
        "dataset": {
            "name": dataset.name, "files": list(dataset.files), "fingerprint": dataset.fingerprint,
            "rows": dataset.n_rows, "samples": dataset.n_samples, "rejected": dataset.n_problems,
        },
        "filter": {"query": to_text(chosen), "words": describe(chosen, run.columns)},
        "exported": {"rows": n, "sha256": digest.hexdigest(), "status": counts},
        "people": judgement | {"counted_in_place_of_verdicts": by_people(chosen)},
    }  # fmt: skip


def _significant(value: float | None) -> float | None:
    """Six significant digits; None for NaN. What lies beyond them is noise of the machine."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.6g}")


def _flag(value: float | None) -> bool | None:
    return None if value is None or math.isnan(value) else bool(value)


def verdict_lines(run_id: int, chosen: Filter | None = None) -> Iterator[bytes]:
    """One JSON object per sample, in training order: the verdict, and beside it what a person said."""
    run = get_run(run_id)
    with database().reading() as conn:
        chosen_ordinals = verdict_table.ordinals(conn, run, chosen or Filter())
        while batch := list(islice(chosen_ordinals, BATCH)):
            yield from _verdicts(conn, run, batch)


def _verdicts(conn: Any, run: Run, batch: list[int]) -> Iterator[bytes]:
    samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, batch))
    rows = verdict_table.judged(conn, run, batch)
    outcomes = proven.outcomes_of(conn, run)
    reviews = labels.reviews_of(conn, run.id, batch)
    table = signals_of(conn, run, [s.content_hash for s in samples])
    names = list(table.columns)
    columns = np.stack([table.columns[n] for n in names], axis=1) if names else np.empty((len(samples), 0))
    for sample, values in zip(samples, columns.tolist(), strict=True):
        signals, row = dict(zip(names, values, strict=True)), rows[sample.ordinal]
        verdict = verdict_of(run, row, signals, proven.reasons(outcomes, sample.id, row["cause"]))
        line = {
            "id": sample.id,
            "row": sample.row,
            "status": verdict.status,
            "nll": _significant(signals.get(col.NLL)),
            "greedy_exact": _flag(signals.get(col.GREEDY_EXACT)),
            "p_exact": _significant(math.exp(signals[col.logp_at(1.0)]) if col.logp_at(1.0) in signals else None),
            "cause": verdict.cause,
            "confidence": _significant(verdict.confidence),
            "proof": row.get("proof"),
            "causes": {c.name: _significant(verdict.strength(c.name)) for c in ordered_causes()},
            "reasons": [reason.text for reason in verdict.evidence],
            **reviews.get(sample.ordinal, labels.NOTHING),
        }
        text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        yield text.encode("utf-8", "backslashreplace") + b"\n"
