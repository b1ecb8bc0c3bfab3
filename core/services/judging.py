"""Writes a run's verdict table from what was measured. No model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from core.faults import judge_run
from core.judge.columns import columns_of
from core.judge.judgement import judge
from core.services import jobs, proven
from core.services.jobs import Work
from core.services.measurements import facts_of, index_outputs, signals_of, with_facts
from core.services.routes import reachable
from core.services.runs import get_run, need_today_s_measurements
from core.signals import _columns as col
from core.signals._plan import gaps_of
from core.text.counts import counted
from core.types import (
    Run,
    SignalTable,
    Thresholds,
)
from db import runs as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database


def start_rejudge(run_id: int, thresholds: Thresholds) -> int:
    """Judges what was measured again, with other thresholds. No model is loaded.

    Raises:
        UserError: the run came as a bundle of other versions of signals.
    """
    run = get_run(run_id)
    need_today_s_measurements(run)
    payload = {"run": run_id, "thresholds": asdict(thresholds)}
    return jobs.enqueue("rejudge", payload, title=f"Judge {run.name} again", run_id=run_id)


def write_judgement(run: Run, thresholds: Thresholds) -> None:
    """Judges the run from what was measured and replaces its verdict table.

    Raises:
        UserError: the run came as a bundle of other versions of signals.
    """
    need_today_s_measurements(run)
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        signals = with_facts(conn, run, signals_of(conn, run, hashes))
        facts = sample_table.order(conn, run.spec.dataset_id)
        reached, reached_values = reachable.columns_for(conn, run, hashes)
    known = facts_of(run)
    judgement = judge(run.spec, signals, thresholds, known)
    derived = SignalTable(signals.keys, judgement.columns)
    values = {**judgement.columns, **reached_values}
    columns: dict[str, Any] = {"status": judgement.status, "cause": judgement.cause, "stage": facts["stage"]}
    columns["source"] = facts["source"]
    columns |= {"study_cause": judgement.study} if run.spec.paper_mode else {}
    declared = (*columns_of(run.spec), *reached)
    for column in declared:
        if column.name not in columns:
            columns[column.name] = values.get(column.name, np.full(len(hashes), np.nan))
    summary = dict(run.summary) | summarise(judgement.status, signals) | {"causes": judgement.judged_by}
    gaps = gaps_of(run.spec)
    summary["gaps"] = [asdict(gap) for gap in gaps]
    summary["faults"] = [finding.as_dict() for finding in judge_run(derived, known, judgement.status, gaps)]
    judged = replace(run, columns=declared, thresholds=thresholds, state="judged", summary=summary)
    with database().writing() as conn:
        verdict_table.write_verdicts(conn, judged, columns, facts["ordinal"], facts["sid"])
        index_outputs(conn, judged)
        proven.write(conn, judged)
        table.set_run(conn, run.id, thresholds=thresholds, state="judged", summary=summary)


def summarise(status: np.ndarray, signals: SignalTable) -> dict[str, Any]:
    """What pages need of a run without reading every row: counts, edges of histograms, what the mean hides."""
    values, counts = np.unique(status.astype(str), return_counts=True)
    by_status = {str(v): int(c) for v, c in zip(values, counts, strict=True)}
    lengths = signals.get(col.N_TARGET)
    lengths = lengths[np.isfinite(lengths)]
    quantiles = sorted({int(q) for q in np.quantile(lengths, [0, 0.2, 0.4, 0.6, 0.8, 1.0])}) if lengths.size else []
    return {
        "status": by_status,
        "nll_edges": _edges(signals.get(col.NLL), 40),
        "length_edges": quantiles,
        "hidden": _hidden(status, signals.get(col.NLL)),
        "refused": int(np.nansum(signals.get(col.REFUSED))),
        "dropped": int(np.nansum(signals.get(col.DROPPED))),
        "truncated": int(np.nansum(signals.get(col.TRUNCATED))),
        "near_ties": int(np.nansum(signals.get(col.NEAR_TIE))),
        "unsupervised": int(np.nansum(signals.get(col.N_UNSUPERVISED) > 0)),
        "foreign": int(np.nansum(signals.get(col.FOREIGN_LANGUAGE))),
    }


def _edges(values: np.ndarray, count: int) -> list[float]:
    """Edges of equal bins up to the 99th percentile; the last bin reaches up to the largest value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return []
    edges = np.linspace(0.0, float(np.quantile(values, 0.99)) or 1.0, count + 1)
    edges[-1] = max(edges[-1], float(values.max()))
    return [float(edge) for edge in edges]


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
        has, them = ("has", "it") if low == 1 else ("have", "them")
        samples = counted(low, "unlearned sample")
        out.append(f"{samples} {has} a loss at or below the mean: a threshold on loss would pass {them}.")
    if high := int((learned & (nll >= mean)).sum()):
        out.append(f"{counted(high, 'learned sample')} {'has' if high == 1 else 'have'} a loss at or above the mean.")
    return out


def handle_rejudge(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    work.progress("judging")
    write_judgement(get_run(payload["run"]), Thresholds(**payload["thresholds"]))
    return {"run": payload["run"]}
