"""A run at a glance: counts, histograms and notes under one filter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from core.services.runs import get_run
from core.services.views import (
    Breakdown,
    Histogram,
    Overview,
    Share,
)
from core.signals import _columns as col
from core.statistics import wilson
from core.status import STATUSES, columns_read, judge_status
from core.text.counts import counted
from core.types import Filter, Run, SignalTable, Thresholds
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

ORDER = tuple(s.value for s in STATUSES)


def share(k: int, n: int) -> Share:
    """k of n with its interval; the share is NaN where n is 0."""
    return Share(k, n, k / n if n else math.nan, *wilson(k, n))


def overview(run_id: int, chosen: Filter, binned: bool = True) -> Overview:
    """The run at a glance under the current filter.

    Args:
        binned: also counts by length and by loss, which takes several times as long as the rest.
    """
    run = get_run(run_id)
    summary = _Summary(run, chosen, binned)
    shown = sum(summary.count("status").values())
    counts = {s: summary.count("status").get(s, 0) for s in ORDER}
    return Overview(
        total=run.n_samples,
        shown=shown,
        status={s: share(n, shown) for s, n in counts.items()},
        causes=_causes(summary.count("cause")),
        breakdowns=tuple(b for b in (summary.by("stage"), summary.by("source"), summary.by_length()) if b is not None),
        nll=summary.nll_histogram(),
        hidden=tuple(run.summary.get("hidden", ())),
        notes=run_notes(run),
        study=_study(run, chosen),
    )


def _study(run: Run, chosen: Filter) -> tuple[tuple[str | None, str | None, int], ...] | None:
    """Our cause against the one by the study's rules, with counts; None where the run did not measure it."""
    if "study_cause" not in {c.name for c in run.columns}:
        return None
    with database().reading() as conn:
        counts = verdict_table.group_counts(conn, run, ["cause", "study_cause"], chosen)
    return tuple((ours, theirs, n) for (ours, theirs), n in counts if ours is not None or theirs is not None)


def _causes(counts: Mapping[str | None, int]) -> dict[str, Share]:
    """Share of each cause among the samples that got one, with its interval."""
    named = {c: n for c, n in counts.items() if c is not None}
    total = sum(named.values())
    return {c: share(n, total) for c, n in named.items()}


class _Summary:
    """Counts of one run under one filter, folded from two grouped queries: by categories, and by bins of numbers."""

    BY = ("status", "cause", "stage", "source")

    def __init__(self, run: Run, chosen: Filter, binned: bool) -> None:
        self._run = run
        edges = {col.NLL: run.summary.get("nll_edges"), col.N_TARGET: run.summary.get("length_edges")}
        bins = {name: [float(e) for e in own] for name, own in edges.items() if binned and own and len(own) > 1}
        with database().reading() as conn:
            self._cells = verdict_table.cube(conn, run, self.BY, {}, chosen)
            self._binned = verdict_table.cube(conn, run, ("status",), bins, chosen) if bins else []
            self._dataset = sample_table.get_dataset(conn, run.spec.dataset_id)
        self._bins = bins

    def _at(self, name: str) -> tuple[list[Any], int]:
        """The cells that tell the column apart, and its place in their values."""
        if name in self._bins:
            return self._binned, 1 + list(self._bins).index(name)
        return self._cells, self.BY.index(name)

    def count(self, name: str) -> dict[Any, int]:
        cells, at = self._at(name)
        out: dict[Any, int] = {}
        for values, n in cells:
            out[values[at]] = out.get(values[at], 0) + n
        return out

    def crossed(self, name: str, by: str = "status") -> dict[Any, dict[Any, int]]:
        """Counts of one column's values, each by the values of another."""
        cells, at = self._at(name)
        across = 0 if by == "status" else self._at(by)[1]
        rows: dict[Any, dict[Any, int]] = {}
        for values, n in cells:
            row = rows.setdefault(values[at], {})
            row[values[across]] = row.get(values[across], 0) + n
        return rows

    def by(self, name: str) -> Breakdown | None:
        rows = self.crossed(name)
        if not any(value is not None for value in rows):
            return None
        label = next(c.label for c in self._run.columns if c.name == name)
        # Stages in training order; everything else by size.
        place = {value: i for i, value in enumerate(self._dataset.stages if name == "stage" else ())}
        order = sorted(rows, key=lambda v: (v is None, place.get(v, 0), -sum(rows[v].values())))
        return Breakdown(name, label, tuple((v, rows[v]) for v in order))

    def by_length(self) -> Breakdown | None:
        edges = self._bins.get(col.N_TARGET)
        if not edges:
            return None
        crossed, rows, bounds = self.crossed(col.N_TARGET), [], []
        for i, (low, high) in enumerate(pairwise(edges)):
            # Bins are half-open, the last one closed; token counts are whole, so the label can say both ends.
            top = high if i == len(edges) - 2 else high - 1
            rows.append((f"{low:.0f}" if low == top else f"{low:.0f}–{top:.0f}", crossed.get(i, {})))
            bounds.append((low, top))
        return Breakdown(col.N_TARGET, "Target tokens", tuple(rows), tuple(bounds))

    def nll_histogram(self) -> Histogram:
        edges = self._bins.get(col.NLL)
        if not edges:
            return Histogram(col.NLL, (), {}, 0)
        crossed = self.crossed(col.NLL)
        counts = {s: tuple(crossed.get(i, {}).get(s, 0) for i in range(len(edges) - 1)) for s in ORDER}
        return Histogram(col.NLL, tuple(edges), counts, sum(crossed.get(-1, {}).values()))


def run_notes(run: Run) -> tuple[tuple[str, str], ...]:
    """Run-wide facts, worst first: (state of a check, sentence). Faults of the whole run stand before all else."""
    out = [*fault_notes(run.summary.get("faults", ()))]
    checks = (run.summary.get("card") or {}).get("checks", [])
    rank = {"fail": 0, "warn": 1, "unknown": 2}
    notes = [(c["state"], " ".join(p for p in (c["text"], c["measured"], c["todo"]) if p)) for c in checks]
    out += [n for n in notes if n[0] in rank]
    for name, text in (
        ("refused", "refused by the chat template: no status"),
        ("dropped", "left out by the trainer"),
        ("truncated", "cut, and judged on what is left"),
        ("unsupervised", "with target tokens that carried no loss"),
        ("foreign", "in a language that the encoder does not know: contradictions among them may be missed"),
        ("near_ties", "with two logits closer than 0.001 on the way: another machine may judge otherwise"),
    ):
        if n := run.summary.get(name):
            samples = "sample" if n == 1 else "samples"
            out.append(("warn" if name not in ("near_ties", "foreign") else "unknown", f"{n:,} {samples} {text}."))
    return tuple(sorted(out, key=lambda n: rank[n[0]]))


def fault_notes(faults: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Faults of the whole run as errors, those of some rows as warnings, those that cannot tell in one sentence."""
    out = []
    for fault in faults:
        if fault["state"] == "fail":
            words = (f"{fault['label']}: {fault['text']}", fault["measured"] if fault["scope"] == "run" else "")
            out.append(("fail" if fault["scope"] == "run" else "warn", " ".join(w for w in words if w)))
    if unknown := [f for f in faults if f["state"] == "unknown" and f["needs"]]:
        needs = ". ".join(f"“{f['label']}” needs {f['needs']}" for f in unknown)
        checks = counted(len(unknown), "check of the pipeline", "checks of the pipeline")
        out.append(("unknown", f"{checks} could not be made. {needs}."))
    return out


def facets(run_id: int, chosen: Filter, names: Sequence[str] | None = None) -> dict[str, list[tuple[Any, int]]]:
    """Values and counts of category and flag columns, each under the other conditions of the filter.

    Args:
        names: the columns to count, those left out that the run has not; None for all.
    """
    run = get_run(run_id)
    names = [
        c.name
        for c in run.columns
        if c.indexed and c.kind in ("category", "flag") and (names is None or c.name in names)
    ]
    out: dict[str, dict[Any, int]] = {}
    with database().reading() as conn:
        # Columns that the filter says nothing about share one query; each other one is asked without its own condition.
        filtered_columns = {t.column for t in chosen.terms}
        groups = [[n for n in names if n not in filtered_columns], *([n] for n in names if n in filtered_columns)]
        for group in (g for g in groups if g):
            others = Filter(tuple(t for t in chosen.terms if t.column not in group), chosen.text)
            for values, n in verdict_table.group_counts(conn, run, group, others):
                for name, value in zip(group, values, strict=True):
                    counts = out.setdefault(name, {})
                    counts[value] = counts.get(value, 0) + n
    return {name: sorted(out.get(name, {}).items(), key=lambda pair: -pair[1]) for name in names}


def status_preview(run_id: int, thresholds: Thresholds) -> dict[str, int]:
    """How many samples would have which status; arithmetic over what was measured, no model."""
    run = get_run(run_id)
    names = columns_read(thresholds, run.spec.decoding_temperature)
    with database().reading() as conn:
        table = SignalTable((), verdict_table.verdict_columns(conn, run, names))
    n = len(next(iter(table.columns.values()), ()))
    codes = judge_status(SignalTable(("",) * n, table.columns), thresholds, run.spec.decoding_temperature)
    return {s: int((codes == i).sum()) for i, s in enumerate(ORDER)}
