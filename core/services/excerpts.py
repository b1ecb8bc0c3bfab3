"""What the rows of a page ask, should answer and do answer: one turn of each, and the sentence that decides.

Of a row with several turns it is the first one that fails, since that is the one to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.judge.verdict import verdict_of
from core.services.measurements import records, signals_of
from core.services.runs import get_run
from core.signals import _columns as col
from core.signals._artefacts import OUTPUTS
from core.signals._records import RowOutputs, TurnOutputs
from core.status import cut_of
from core.types import PIPELINE, Reason, Run, Sample, Verdict
from db import samples as sample_table
from db.session import database


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One row in short.

    Attributes:
        turn: number of the assistant turn shown, from 0; ``turns``: how many the row has.
        prompt: (role, text) of what stands before it.
        output: what greedy decoding gives; None = not generated.
        right: whether that counts as right; None = not judged.
        sentence: what decided the verdict; empty where nothing was concluded.
    """

    sid: str
    turn: int
    turns: int
    prompt: tuple[tuple[str, str], ...]
    target: str
    output: str | None
    right: bool | None
    sentence: str


def excerpts(run_id: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Excerpt]:
    """Sample id to its excerpt, for rows of the run's table as ``samples.page`` gives them."""
    run = get_run(run_id)
    ordinals = [row["ordinal"] for row in rows]
    with database().reading() as conn:
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, ordinals)) if ordinals else []
        keys = list(dict.fromkeys(s.content_hash for s in samples))
        outputs = records(conn, run, OUTPUTS, keys)
        table = signals_of(conn, run, keys)
    place = {key: i for i, key in enumerate(keys)}
    by_id = {}
    for row, sample in zip(rows, samples, strict=True):
        at = place[sample.content_hash]
        signals = {name: float(values[at]) for name, values in table.columns.items()}
        verdict = verdict_of(run, row, signals, others=False)
        by_id[sample.id] = _excerpt(run, row, sample, outputs.get(sample.content_hash), deciding(verdict))
    return by_id


def deciding(verdict: Verdict) -> str:
    """The one sentence that decides: for the named cause what speaks loudest for it, else for the status."""
    named = next((f.reasons for f in verdict.findings if f.cause == verdict.cause), ())
    # A fault's sentence stands last among the verdict's own; what was answered stands first.
    fault = verdict.cause is not None and PIPELINE.member(verdict.cause) is not None
    own = tuple(reversed(verdict.reasons)) if fault else verdict.reasons
    candidates: tuple[Reason, ...] = (*(r for r in named if r.favours == "for"), *own)
    return candidates[0].text if candidates else ""


def _excerpt(run: Run, row: Mapping[str, Any], sample: Sample, outputs: RowOutputs | None, sentence: str) -> Excerpt:
    answers = [i for i, m in enumerate(sample.messages) if m.role == "assistant"]
    failing = _failing(run, outputs)
    turn = min(failing.turn, len(answers) - 1) if failing is not None and answers else max(len(answers) - 1, 0)
    stop = answers[turn] if answers else 0
    prompt = tuple((m.role, m.content) for m in sample.messages[:stop])
    target = failing.target if failing is not None else sample.messages[stop].content if answers else sample.response
    exact = row.get(col.GREEDY_EXACT) == 1
    return Excerpt(
        sid=sample.id,
        turn=turn,
        turns=len(answers),
        prompt=prompt,
        target=target,
        output=failing.output if failing is not None else target if exact else None,
        right=failing.score >= _cut(run) if failing is not None else True if exact else None,
        sentence=sentence,
    )


def _cut(run: Run) -> float:
    return cut_of(run.thresholds) / 100


def _failing(run: Run, outputs: RowOutputs | None) -> TurnOutputs | None:
    """The first turn answered wrongly, else the first one that was not reproduced; None where all were."""
    if outputs is None or not outputs.turns:
        return None
    return next((t for t in outputs.turns if t.score < _cut(run)), outputs.turns[0])
