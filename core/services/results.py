"""What a run found: at a glance, in pages, and one sample with all its evidence."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core.causes import UNDETERMINED, ordered_causes
from core.errors import UserError
from core.judge.diagnose import chances, findings, plan, reasons
from core.plugins import kind, kinds
from core.services import artefacts, proven
from core.services.runs import get_run, signals_of
from core.services.views import (
    Advice,
    Breakdown,
    CheckpointView,
    FaultView,
    Histogram,
    Overview,
    Page,
    SampleView,
    Share,
    TokenPiece,
    TurnView,
)
from core.signals._base import Measure
from core.statistics import wilson
from core.status import STATUSES, columns_read, cut_of, judge_status, rate_interval
from core.types import FAULT, PIPELINE, STRENGTH, Filter, Run, SignalTable, Status, Thresholds
from db import samples as sample_table
from db import signals as signal_table
from db import verdicts as verdict_table
from db.session import database

# A filter that keeps one sample in so many, or more, fills a page soon along any order.
_PART = 20
ORDER = tuple(s.value for s in STATUSES)


def share(k: int, n: int) -> Share:
    """k of n with its interval; the share is NaN where n is 0."""
    return Share(k, n, k / n if n else math.nan, *wilson(k, n))


def overview(run_id: int, chosen: Filter) -> Overview:
    """The run at a glance under the current filter."""
    run = get_run(run_id)
    summary = _Summary(run, chosen)
    shown = sum(summary.count("status").values())
    counts = {s: summary.count("status").get(s, 0) for s in ORDER}
    return Overview(
        total=run.n_samples,
        shown=shown,
        status={s: share(n, shown) for s, n in counts.items()},
        causes=_causes(summary.count("cause")),
        breakdowns=tuple(b for b in (summary.by("stage"), summary.by("source"), summary.by_length()) if b is not None),
        nll=summary.nll_histogram(),
        mean_nll={"all": summary.mean(), **{s: summary.mean(s) for s in ORDER}},
        hidden=tuple(run.summary.get("hidden", ())),
        notes=run_notes(run),
        advice=_advice(summary),
        study=_study(run, chosen),
    )


def _study(run: Run, chosen: Filter) -> tuple[tuple[str | None, str | None, int], ...] | None:
    """Our cause against the one by the study's rules, with counts; None where the run did not measure it."""
    if "study_cause" not in {c.name for c in run.columns}:
        return None
    with database().reading() as conn:
        counts = verdict_table.group_counts(conn, run, ["cause", "study_cause"], chosen)
    return tuple((ours, theirs, n) for (ours, theirs), n in counts if ours is not None or theirs is not None)


def _advice(summary: _Summary) -> tuple[Advice, ...]:
    """Up to three sentences on what to do next, the causes and faults that weigh most first."""
    counts = {c: n for c, n in summary.count("cause").items() if c is not None and c != UNDETERMINED}
    total, out = sum(summary.count("cause").get(c, 0) for c in summary.count("cause") if c is not None), []
    for cause, n in sorted(counts.items(), key=lambda pair: -pair[1])[:3]:
        code = PIPELINE.member(cause)
        known = kinds("causes").get(cause) if code is None else kinds("faults").get(code)
        if known is None:
            continue
        stages = {s: k for s, k in summary.crossed("cause", "stage").get(cause, {}).items() if s is not None}
        most = max(stages, key=stages.get, default=None)  # type: ignore[arg-type]
        where = f", {stages[most] / n:.0%} of them in stage {most}" if most is not None and len(stages) > 1 else ""
        what = getattr(known, "advice", "") or known.help
        out.append(Advice(cause, f"{known.label}: {n:,} of {total:,} samples{where}. {what}"))
    return tuple(out)


def _causes(counts: Mapping[str | None, int]) -> dict[str, Share]:
    """Share of each cause among the samples that got one, with its interval."""
    named = {c: n for c, n in counts.items() if c is not None}
    total = sum(named.values())
    return {c: share(n, total) for c, n in named.items()}


class _Summary:
    """Counts of one run under one filter, folded from two grouped queries: by categories, and by bins of numbers."""

    BY = ("status", "cause", "stage", "source")

    def __init__(self, run: Run, chosen: Filter) -> None:
        self._run = run
        edges = {"nll": run.summary.get("nll_edges"), "n_target": run.summary.get("length_edges")}
        bins = {name: [float(e) for e in found] for name, found in edges.items() if found and len(found) > 1}
        with database().reading() as conn:
            self._cells = verdict_table.cube(conn, run, self.BY, {}, "nll", chosen)
            self._binned = verdict_table.cube(conn, run, ("status",), bins, "nll", chosen)
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
        for values, n, _, _ in cells:
            out[values[at]] = out.get(values[at], 0) + n
        return out

    def mean(self, status: str | None = None) -> float | None:
        """Mean loss over the measured rows, all or of one status; None where there is none."""
        mine = [c for c in self._cells if status is None or c[0][0] == status]
        measured = sum(c[2] for c in mine)
        return sum(c[3] for c in mine) / measured if measured else None

    def crossed(self, name: str, by: str = "status") -> dict[Any, dict[Any, int]]:
        """Counts of one column's values, each by the values of another."""
        cells, at = self._at(name)
        across = 0 if by == "status" else self._at(by)[1]
        rows: dict[Any, dict[Any, int]] = {}
        for values, n, _, _ in cells:
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
        edges = self._bins.get("n_target")
        if not edges:
            return None
        crossed, rows, bounds = self.crossed("n_target"), [], []
        for i, (low, high) in enumerate(pairwise(edges)):
            # Bins are half-open, the last one closed; token counts are whole, so the label can say both ends.
            top = high if i == len(edges) - 2 else high - 1
            rows.append((f"{low:.0f}" if low == top else f"{low:.0f}–{top:.0f}", crossed.get(i, {})))
            bounds.append((low, top))
        return Breakdown("n_target", "Target tokens", tuple(rows), tuple(bounds))

    def nll_histogram(self) -> Histogram:
        edges = self._bins.get("nll")
        if not edges:
            return Histogram("nll", (), {}, 0)
        crossed = self.crossed("nll")
        counts = {s: tuple(crossed.get(i, {}).get(s, 0) for i in range(len(edges) - 1)) for s in ORDER}
        return Histogram("nll", tuple(edges), counts, sum(crossed.get(-1, {}).values()))


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
    for found in faults:
        if found["state"] == "fail":
            words = (f"{found['label']}: {found['text']}", found["measured"] if found["scope"] == "run" else "")
            out.append(("fail" if found["scope"] == "run" else "warn", " ".join(w for w in words if w)))
    if unknown := [f for f in faults if f["state"] == "unknown" and f["needs"]]:
        told = "; ".join(f"{f['label'].lower()} ({f['needs']})" for f in unknown)
        many = "1 fault" if len(unknown) == 1 else f"{len(unknown)} faults"
        out.append(
            (
                "unknown",
                f"{many} could not be judged for lack of evidence: {told}.",
            )
        )
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
        asked = {t.column for t in chosen.terms}
        groups = [[n for n in names if n not in asked], *([n] for n in names if n in asked)]
        for group in (g for g in groups if g):
            others = Filter(tuple(t for t in chosen.terms if t.column not in group), chosen.text)
            for values, n in verdict_table.group_counts(conn, run, group, others):
                for name, value in zip(group, values, strict=True):
                    counts = out.setdefault(name, {})
                    counts[value] = counts.get(value, 0) + n
    return {name: sorted(out.get(name, {}).items(), key=lambda pair: -pair[1]) for name in names}


# ------------------------------------------------------------------------------------------------------ the table


def _pack(cursor: Any, backwards: bool) -> str | None:
    if cursor is None:
        return None
    text = json.dumps([int(backwards), *cursor], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpack(text: str | None) -> tuple[Any, bool]:
    if not text:
        return None, False
    try:
        back, value, ordinal = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return (value, ordinal), bool(back)
    except (ValueError, TypeError) as error:
        raise UserError("This address points to no page of the table.", "", "Go back to the first page.") from error


def page(run_id: int, chosen: Filter, cursor: str | None = None, limit: int = 50, matching: int | None = None) -> Page:
    """One page of the sample table under the filter, in its order; ``matching`` where it was counted before."""
    run = get_run(run_id)
    at, backwards = _unpack(cursor)
    with database().reading() as conn:
        matching = verdict_table.count(conn, run, chosen) if matching is None else matching
        many = matching * _PART >= run.n_samples
        rows, before, behind = verdict_table.page(conn, run, chosen, at, limit, backwards, many)
    return Page(tuple(rows), run.n_samples, matching, _pack(before, True), _pack(behind, False))


def status_preview(run_id: int, thresholds: Thresholds) -> dict[str, int]:
    """How many samples would have which status; arithmetic over what was measured, no model."""
    run = get_run(run_id)
    names = columns_read(thresholds, run.spec.decoding_temperature)
    with database().reading() as conn:
        table = SignalTable((), verdict_table.verdict_columns(conn, run, names))
    n = len(next(iter(table.columns.values()), ()))
    codes = judge_status(SignalTable(("",) * n, table.columns), thresholds, run.spec.decoding_temperature)
    return {s: int((codes == i).sum()) for i, s in enumerate(ORDER)}


# ------------------------------------------------------------------------------------------------------ one sample


def sample(run_id: int, sid: str, chosen: Filter) -> SampleView:
    """One sample with all its evidence."""
    run = get_run(run_id)
    measures = plan(run.spec)
    with database().reading() as conn:
        row = verdict_table.row(conn, run, sid)
        found = sample_table.get_sample(conn, run.spec.dataset_id, sid)
        before, behind = verdict_table.neighbours(conn, run, chosen, sid)
        table = signals_of(conn, run, [found.content_hash], measures)
        details = {m.key: _details(conn, m, found.content_hash) for m in measures}
    signals = {name: float(values[0]) for name, values in table.columns.items()} | numbers_of(row)
    first = next(m for m in measures if m.signal == "likelihood" and m.role == "final")
    seen = details[first.key] or {}
    asked = next((details[m.key] for m in measures if m.signal == "reproduction"), None) or {}
    found_of_run = run.summary.get("faults", ())
    why = reasons(run.spec, signals, row["cause"], run.thresholds, found_of_run) if run.state == "judged" else ()
    return SampleView(
        sample=found,
        status=Status(row["status"] or "unknown"),
        cause=row["cause"],
        confidence=row["confidence"],
        causes={c.name: row.get(STRENGTH.of(c.name)) for c in ordered_causes()},
        findings=findings(signals, run.summary.get("causes", {})) if row["cause"] else (),
        reasons=why,
        values=row,
        columns=run.columns,
        pieces=_pieces(seen),
        notes=(*found.notes, *seen.get("notes", ()), *_refusal(seen)),
        turns=_turns(seen, asked, run),
        checkpoints=_checkpoints(run, measures, signals),
        chance=chances(signals),
        copies=row["copies"],
        previous=before,
        next=behind,
        faults=_faults(run, row),
        tried=proven.reasons_of(run, sid, row["cause"]),
    )


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The measured numbers of a row of the verdict table."""
    return {k: float(v) for k, v in row.items() if isinstance(v, (int, float))}


def _faults(run: Run, row: Mapping[str, Any]) -> tuple[FaultView, ...]:
    """Every fault that was checked, those that explain the sample first, then those that cannot tell.

    The run's sentence stands where it says something of this row: that a fault of some rows explains others is no
    news here.
    """
    out = []
    for found in run.summary.get("faults", ()):
        value = row.get(FAULT.of(found["code"]))
        state = "unknown" if value is None else "explains" if value == 1 else "no"
        text = found["text"] if found["scope"] == "run" else ""
        needs = found["needs"] or kind("faults", found["code"]).needs if state == "unknown" else ""
        said = " ".join(p for p in (text, found["measured"] if text else "") if p)
        out.append(FaultView(found["code"], found["label"], state, said, needs))
    order = {"explains": 0, "unknown": 1, "no": 2}
    return tuple(sorted(out, key=lambda f: order[f.state]))


def _details(conn: Any, measure: Measure, content_hash: str) -> Mapping[str, Any] | None:
    ids = signal_table.find_measures(conn, [measure.key])
    ref = signal_table.detail_ref(conn, ids[measure.key], content_hash) if measure.key in ids else None
    return None if ref is None else artefacts.read(*ref)


def _refusal(seen: Mapping[str, Any]) -> tuple[str, ...]:
    said = [" ".join(p for p in seen["refused"].values() if p)] if "refused" in seen else []
    if "dropped" in seen:
        said.append(f"The trainer leaves this row out: {seen['dropped']}")
    return tuple(said)


def _pieces(seen: Mapping[str, Any]) -> tuple[TokenPiece, ...]:
    if "pieces" not in seen:
        return ()
    scored = {p: (lp, h == "1") for p, lp, h in zip(seen["positions"], seen["logprobs"], seen["hits"], strict=True)}
    return tuple(
        TokenPiece(text, token, trained == "1", target == "1", *scored.get(i, (None, None)))
        for i, (text, token, trained, target) in enumerate(
            zip(seen["pieces"], seen["ids"], seen["trained"], seen["target"], strict=True)
        )
    )


def _turns(seen: Mapping[str, Any], asked: Mapping[str, Any], run: Run) -> tuple[TurnView, ...]:
    answers = {t["turn"]: t for t in asked.get("turns", ())}
    cut = cut_of(run.thresholds) / 100
    out = []
    for i, turn in enumerate(seen.get("turns", ())):
        span = seen["pieces"][turn["start"] : turn["stop"] - (1 if turn["complete"] else 0)]
        target = "".join(span)
        answer = answers.get(i)
        if answer is None:
            exact = turn["exact"]
            source = "the teacher-forced pass: greedy decoding gives the target" if exact else "not measured"
            out.append(TurnView(i, target, exact, target if exact else None, source, exact or None, None, *(None,) * 4))
            continue
        draws = answer["draws"]
        hits = sum(s >= cut for s in draws)
        low, high = rate_interval(hits, len(draws)) if draws else (None, None)
        out.append(
            TurnView(
                i, answer["target"], turn["exact"], answer["output"],
                "greedy decoding" + (", cut at its limit" if answer["complete"] and not answer["stopped"] else ""),
                answer["score"] >= cut, answer["score"], len(draws) or None, hits if draws else None, low, high,
                tuple(answer["texts"]),
            )
        )  # fmt: skip
    return tuple(out)


def _checkpoints(run: Run, measures: list[Measure], signals: Mapping[str, float]) -> tuple[CheckpointView, ...]:
    def known(value: float | None) -> float | None:
        return None if value is None or np.isnan(value) else value

    order = {"base": 0, "final": 2}
    rows = sorted(
        (m for m in measures if m.signal == "likelihood"),
        key=lambda m: (order.get(m.role, 1), int(m.role[1:]) if m.role.startswith("t") else 0),
    )
    out = []
    for m in rows:
        exact = known(signals.get(m.column("greedy_exact")))
        out.append(
            CheckpointView(
                m.checkpoint.label, m.role if m.role in order else "checkpoint", m.checkpoint.step,
                known(signals.get(m.column("nll"))), None if exact is None else exact == 1,
            )
        )  # fmt: skip
    return tuple(out)
