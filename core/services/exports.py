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
from core.causes import explain_cause, ordered_causes
from core.filters import describe, to_text
from core.judge.explanation import reasons
from core.plugins import kinds
from core.services import proven
from core.services.measurements import signals_of
from core.services.runs import get_run
from core.services.samples import numbers_of
from core.types import STRENGTH, Filter, Run
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
    }  # fmt: skip


def _significant(value: float | None) -> float | None:
    """Six significant digits; None for NaN. What lies beyond them is noise of the machine."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.6g}")


def _flag(value: float | None) -> bool | None:
    return None if value is None or math.isnan(value) else bool(value)


def verdict_lines(run_id: int, chosen: Filter | None = None) -> Iterator[bytes]:
    """One JSON object per sample, in training order."""
    run = get_run(run_id)
    with database().reading() as conn:
        chosen_ordinals = verdict_table.ordinals(conn, run, chosen or Filter())
        while batch := list(islice(chosen_ordinals, BATCH)):
            yield from _verdicts(conn, run, batch)


def _verdicts(conn: Any, run: Run, batch: list[int]) -> Iterator[bytes]:
    samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, batch))
    judged = verdict_table.judged(conn, run, batch)
    outcomes = proven.outcomes_of(conn, run)
    table = signals_of(conn, run, [s.content_hash for s in samples])
    names = list(table.columns)
    rows = np.stack([table.columns[n] for n in names], axis=1) if names else np.empty((len(samples), 0))
    for sample, values in zip(samples, rows.tolist(), strict=True):
        row = dict(zip(names, values, strict=True))
        verdict = judged[sample.ordinal]
        row |= numbers_of(verdict)
        why = reasons(run.spec, row, verdict["cause"], run.thresholds, run.summary.get("faults", ()), run.gaps)
        if verdict["cause"] in kinds("causes"):
            why += explain_cause(verdict["cause"], row, run.summary["causes"])
        why += proven.reasons(outcomes, sample.id, verdict["cause"])
        yield (
            json.dumps(
                {
                    "id": sample.id,
                    "row": sample.row,
                    "status": verdict["status"],
                    "nll": _significant(row.get("nll")),
                    "greedy_exact": _flag(row.get("greedy_exact")),
                    "p_exact": _significant(math.exp(row["logp_10"]) if "logp_10" in row else None),
                    "cause": verdict["cause"],
                    "confidence": _significant(verdict["confidence"]),
                    "proof": verdict.get("proof"),
                    "causes": {c.name: _significant(verdict.get(STRENGTH.of(c.name))) for c in ordered_causes()},
                    "reasons": [r.text for r in why],
                },
                ensure_ascii=False,
                allow_nan=False,
            ).encode("utf-8", "backslashreplace")
            + b"\n"
        )
