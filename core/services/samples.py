"""Samples of a run: in pages, and one with all its evidence."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.errors import UserError
from core.judge.verdict import chances, numbers_of, verdict_of
from core.plugins import kind
from core.services import proven
from core.services.measurements import records, signals_of
from core.services.runs import get_run
from core.services.views import (
    CheckpointView,
    FaultView,
    Page,
    SampleView,
    TokenPiece,
    TurnView,
)
from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS, TOKENS
from core.signals._records import RowOutputs, RowTokens, TurnOutputs, TurnTokens
from core.status import cut_of, rate_interval
from core.types import FAULT, Filter, Run
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


def around(run_id: int, sid: str, chosen: Filter, limit: int = 50, matching: int | None = None) -> Page:
    """The page of the table in whose middle the sample stands; the sample itself need not match the filter.

    Args:
        matching: how many samples pass, where they were counted before.
    """
    run = get_run(run_id)
    with database().reading() as conn:
        own = verdict_table.row(conn, run, sid, Filter(tuple(t for t in chosen.terms if t.column == "judged")))
        at = (own[chosen.sort], own["ordinal"])
        before, first, _ = verdict_table.page(conn, run, chosen, at, limit // 2, backwards=True)
        behind, _, last = verdict_table.page(conn, run, chosen, at, limit - 1 - len(before))
        matching = verdict_table.count(conn, run, chosen) if matching is None else matching
    return Page((*before, own, *behind), run.n_samples, matching, _pack(first, True), _pack(last, False))


def means(run_id: int, names: Sequence[str]) -> dict[str, float]:
    """Mean of each number column over the run; columns that are not measured anywhere are left out."""
    with database().reading() as conn:
        return verdict_table.means(conn, get_run(run_id), names)


def sample(run_id: int, sid: str, chosen: Filter) -> SampleView:
    """One sample with all its evidence."""
    run = get_run(run_id)
    with database().reading() as conn:
        row = verdict_table.row(conn, run, sid)
        stored = sample_table.get_sample(conn, run.spec.dataset_id, sid)
        before, behind = verdict_table.neighbours(conn, run, chosen, sid)
        key = stored.content_hash
        table = signals_of(conn, run, [key])
        tokens = records(conn, run, TOKENS, [key]).get(key, RowTokens())
        outputs = records(conn, run, OUTPUTS, [key]).get(key, RowOutputs())
    signals = {name: float(values[0]) for name, values in table.columns.items()} | numbers_of(row)
    return SampleView(
        sample=stored,
        verdict=verdict_of(run, row, signals, proven.reasons_of(run, sid, row["cause"])),
        values=row,
        columns=run.columns,
        pieces=_pieces(tokens),
        notes=(*stored.notes, *tokens.notes, *_refusal(tokens)),
        turns=_turns(tokens, outputs, run),
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
    for fault in run.summary.get("faults", ()):
        value = row.get(FAULT.of(fault["code"]))
        state = "unknown" if value is None else "explains" if value == 1 else "no"
        text = fault["text"] if fault["scope"] == "run" else ""
        needs = fault["needs"] or kind("faults", fault["code"]).needs if state == "unknown" else ""
        sentence = " ".join(p for p in (text, fault["measured"] if text else "") if p)
        out.append(FaultView(fault["code"], fault["label"], state, sentence, needs))
    order = {"explains": 0, "unknown": 1, "no": 2}
    return tuple(sorted(out, key=lambda f: order[f.state]))


def _refusal(tokens: RowTokens) -> tuple[str, ...]:
    notes = [" ".join(part for part in tokens.refused.values() if part)] if tokens.refused else []
    if tokens.dropped is not None:
        notes.append(f"The trainer leaves this row out: {tokens.dropped}")
    return tuple(notes)


def _pieces(tokens: RowTokens) -> tuple[TokenPiece, ...]:
    if tokens.pieces is None:
        return ()
    hits = [{"1": True, "0": False}.get(letter) for letter in tokens.hits]
    scored = zip(tokens.positions, tokens.logprobs, hits, strict=True)
    scores = {position: (logprob, hit) for position, logprob, hit in scored}
    rendered = zip(tokens.pieces, tokens.ids or (), tokens.trained, tokens.target, strict=True)
    return tuple(
        TokenPiece(text, token, trained == "1", target == "1", *scores.get(i, (None, None)))
        for i, (text, token, trained, target) in enumerate(rendered)
    )


def _turns(tokens: RowTokens, outputs: RowOutputs, run: Run) -> tuple[TurnView, ...]:
    answers = {answer.turn: answer for answer in outputs.turns}
    views = []
    if not tokens.turns:  # without a tokenizer there are answers and no tokens
        views = [_answered(TurnTokens(0, 0, answer.complete), answer, run) for answer in outputs.turns]
    for i, turn in enumerate(tokens.turns):
        target = "".join((tokens.pieces or ())[turn.start : turn.stop - (1 if turn.complete else 0)])
        views.append(_answered(turn, answers[i], run) if i in answers else _not_generated(i, turn, target))
    return tuple(views)


def _not_generated(index: int, turn: TurnTokens, target: str) -> TurnView:
    source = "the teacher-forced pass: greedy decoding gives the target" if turn.exact else "not measured"
    output = target if turn.exact else None
    return TurnView(index, target, turn.exact, output, source, turn.exact or None, None, *(None,) * 4)


def _answered(turn: TurnTokens, answer: TurnOutputs, run: Run) -> TurnView:
    cut = cut_of(run.thresholds) / 100
    hits = sum(score >= cut for score in answer.draws)
    low, high = rate_interval(hits, len(answer.draws)) if answer.draws else (None, None)
    cut_short = ", cut at its limit" if answer.complete and not answer.stopped else ""
    source = f"greedy decoding{cut_short}" if run.spec.final.has_weights else "the file"
    return TurnView(
        answer.turn, answer.target, turn.exact, answer.output,
        source,
        answer.score >= cut, answer.score, len(answer.draws) or None, hits if answer.draws else None, low, high,
        tuple(answer.texts),
    )  # fmt: skip


def _checkpoints(run: Run, signals: Mapping[str, float]) -> tuple[CheckpointView, ...]:
    def known(value: float | None) -> float | None:
        return None if value is None or np.isnan(value) else value

    out = []
    for role, checkpoint in run.spec.checkpoints.items():
        exact, nll = (known(signals.get(role.column(name))) for name in (col.GREEDY_EXACT, col.NLL))
        out.append(
            CheckpointView(checkpoint.label, role.kind, checkpoint.step, nll, None if exact is None else exact == 1)
        )
    return tuple(out)
