"""Samples of a run: in pages, and one with all its evidence."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.errors import UserError
from core.judge.verdict import chances, numbers_of, verdict_of
from core.plugins import kind
from core.services import proven
from core.services.measurements import details_of, signals_of
from core.services.runs import get_run
from core.services.views import (
    CheckpointView,
    FaultView,
    Page,
    SampleView,
    TokenPiece,
    TurnView,
)
from core.signals._plan import plan
from core.status import cut_of, rate_interval
from core.types import FAULT, FINAL, Filter, Run
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

# A filter that keeps one sample in so many, or more, fills a page soon along any order.
_PART = 20


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


def sample(run_id: int, sid: str, chosen: Filter) -> SampleView:
    """One sample with all its evidence."""
    run = get_run(run_id)
    measures = plan(run.spec)
    with database().reading() as conn:
        row = verdict_table.row(conn, run, sid)
        found = sample_table.get_sample(conn, run.spec.dataset_id, sid)
        before, behind = verdict_table.neighbours(conn, run, chosen, sid)
        table = signals_of(conn, run, [found.content_hash], measures)
        details = {m.key: details_of(conn, m, found.content_hash) for m in measures}
    signals = {name: float(values[0]) for name, values in table.columns.items()} | numbers_of(row)
    first = next(m for m in measures if m.signal == "likelihood" and m.role == FINAL)
    seen = details[first.key] or {}
    asked = next((details[m.key] for m in measures if m.signal == "reproduction"), None) or {}
    return SampleView(
        sample=found,
        verdict=verdict_of(run, row, signals, proven.reasons_of(run, sid, row["cause"])),
        values=row,
        columns=run.columns,
        pieces=_pieces(seen),
        notes=(*found.notes, *seen.get("notes", ()), *_refusal(seen)),
        turns=_turns(seen, asked, run),
        checkpoints=_checkpoints(run, signals),
        chance=chances(signals),
        copies=row["copies"],
        previous=before,
        next=behind,
        faults=_faults(run, row),
    )


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


def _refusal(seen: Mapping[str, Any]) -> tuple[str, ...]:
    said = [" ".join(p for p in seen["refused"].values() if p)] if "refused" in seen else []
    if "dropped" in seen:
        said.append(f"The trainer leaves this row out: {seen['dropped']}")
    return tuple(said)


def _pieces(seen: Mapping[str, Any]) -> tuple[TokenPiece, ...]:
    if "pieces" not in seen:
        return ()
    hit = {"1": True, "0": False}
    scored = {
        position: (logprob, hit.get(letter))
        for position, logprob, letter in zip(
            seen.get("positions", ()), seen.get("logprobs", ()), seen.get("hits", ()), strict=True
        )
    }
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


def _checkpoints(run: Run, signals: Mapping[str, float]) -> tuple[CheckpointView, ...]:
    def known(value: float | None) -> float | None:
        return None if value is None or np.isnan(value) else value

    out = []
    for role, checkpoint in run.spec.checkpoints.items():
        exact, nll = (known(signals.get(role.column(name))) for name in ("greedy_exact", "nll"))
        out.append(
            CheckpointView(checkpoint.label, role.kind, checkpoint.step, nll, None if exact is None else exact == 1)
        )
    return tuple(out)
