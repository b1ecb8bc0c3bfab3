"""How likely a checkpoint finds each target, in one teacher-forced pass.

From the same pass follows, without generating, whether greedy decoding gives the target, and how probable this exact
token sequence is in one draw at each temperature of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.backends._base import Backend, Capability, ScoreRow, ScoringBackend, lanes
from core.errors import UserError
from core.recorded.rows import Record, Recorded
from core.rendering.render import pieces
from core.signals import _columns as col
from core.signals._artefacts import TOKENS
from core.signals._base import (
    Instruments,
    Measure,
    Signal,
    at_once,
    chunked,
    stop_ids_of,
    supervision_digest,
    supervision_facts,
)
from core.signals._records import RowTokens, TurnTokens, mask
from core.types import (
    FINAL,
    TEMPERATURES,
    Checkpoint,
    Chunk,
    Column,
    RunSpec,
    Sample,
    Supervision,
    TokenScores,
    Turn,
    digest,
)

# Two logits closer than this may change places between batch sizes or machines.
NEAR_TIE = 1e-3
ROW_COLUMNS = (
    col.N_TOKENS, col.N_TARGET, col.N_TRAINED, col.N_UNSUPERVISED, col.CUT_TARGET, col.TRUNCATED, col.DROPPED,
    col.REFUSED, col.TURNS,
)  # fmt: skip
RANK_COLUMNS = (
    col.TOKEN_ACCURACY,
    col.GREEDY_EXACT,
    col.PREFIX_ONLY,
    col.FIRST_MISS,
    col.FIRST_MISS_TRAINED,
    col.TURNS_EXACT,
)
RENDERED_COLUMNS = tuple(name for name in ROW_COLUMNS if name != col.TURNS)
LOSS_COLUMNS = (col.NLL, col.NLL_TRAINED)
LOGP_COLUMNS = tuple(map(col.logp_at, TEMPERATURES))
# What the verdict table also shows of a recording's epochs.
RECORDED_COLUMNS = (col.AT_STEP, col.NLL_TRAINED)
SCORE_COLUMNS = (*LOSS_COLUMNS, *RANK_COLUMNS, col.NEAR_TIE, *LOGP_COLUMNS)
PARTLY: Mapping[Capability, tuple[str, ...]] = {
    "tokens": RENDERED_COLUMNS,
    "losses": LOSS_COLUMNS,
    "logprobs": tuple(name for name in SCORE_COLUMNS if name not in LOSS_COLUMNS),
    "argmax": RANK_COLUMNS,
    "margin": (col.NEAR_TIE,),
    "lognorm": tuple(name for name, t in zip(LOGP_COLUMNS, TEMPERATURES, strict=True) if t != 1.0),
}


@dataclass(frozen=True, slots=True)
class TurnScore:
    """One assistant turn under teacher forcing.

    Attributes:
        exact: 1 where greedy decoding from the gold history gives the turn's tokens up to its first stop id, 0 where
            it does not, NaN where that is not measured.
        complete: the turn ends with a stop id; False where the target was cut, then ``exact`` speaks of the prefix.
        logp: (len(TEMPERATURES),) log-probability of the exact sequence up to the first stop id in one draw.
        smallest: smallest distance |logit - best other logit| among the positions ``exact`` rests on; NaN = not
            measured.
        first_miss: position in the row of the first token greedy decoding gets wrong, -1 for none.
    """

    exact: float
    complete: bool
    logp: np.ndarray
    smallest: float
    first_miss: int


def score_turn(
    ids: np.ndarray, positions: np.ndarray, scores: TokenScores, start: int, stop: int, stop_ids: frozenset[int]
) -> TurnScore:
    """One turn judged from teacher-forced scores.

    Greedy decoding gives the turn if the argmax is right at every position up to the first stop id; at that position
    any stop id ends the text, so any of them is right there. Induction over positions: as long as all earlier tokens
    were reproduced, the context of teacher forcing is the context of decoding.

    Args:
        ids: (l,) token ids of the row.
        positions: (t,) scored positions, ascending; those in [start, stop) are used.
        scores: of the same positions.
        stop_ids: every id that ends generation.
    """
    inside = np.flatnonzero((positions >= start) & (positions < stop))
    tokens = ids[positions[inside]]
    ends = np.flatnonzero(np.isin(tokens, list(stop_ids)))
    complete = ends.size > 0
    if complete:
        inside = inside[: ends[0] + 1]
        tokens = tokens[: ends[0] + 1]
    right = scores.hits(ids)[inside]
    if complete and int(scores.argmax[inside[-1]]) in stop_ids:
        right[-1] = 1.0
    logp = np.stack(
        [
            (scores.logprobs[inside].astype(np.float64) / t - scores.lognorm[inside, i]).sum()
            for i, t in enumerate(TEMPERATURES)
        ]
    )
    misses = np.flatnonzero(right == 0)
    upto = misses[0] + 1 if misses.size else len(inside)
    gaps = np.abs(scores.margin[inside][:upto])
    return TurnScore(
        exact=_all(right),
        complete=complete,
        logp=logp,
        smallest=float(gaps.min()) if gaps.size else np.inf,
        first_miss=int(positions[inside[misses[0]]]) if misses.size else -1,
    )


def _all(right: np.ndarray) -> float:
    """1 where all are 1, 0 where any is 0, else NaN."""
    return 0.0 if (right == 0).any() else float(np.min(right, initial=1.0))


def _spans(supervision: Supervision) -> list[Turn]:
    """The turns that hold a token."""
    return [turn for turn in supervision.turns if turn.stop > turn.start]


def row_values(supervision: Supervision) -> dict[str, float]:
    target, trained = supervision.target, supervision.trained
    return {
        col.N_TOKENS: len(supervision.ids),
        col.N_TARGET: int(target.sum()),
        col.N_TRAINED: int(trained.sum()),
        col.N_UNSUPERVISED: int((target & ~trained).sum()),
        col.CUT_TARGET: supervision.cut_target if supervision.cut_target >= 0 else np.nan,
        col.TRUNCATED: float(supervision.truncated),
        col.DROPPED: float(supervision.dropped is not None),
        col.REFUSED: 0.0,
        col.TURNS: len(_spans(supervision)),
    }


def score_values(
    supervision: Supervision, scores: TokenScores, stops: frozenset[int]
) -> tuple[dict[str, float], list[TurnScore]]:
    """Numbers of one row from its token scores; NaN where the row has no target or nothing trained."""
    at_target = supervision.target[scores.positions]
    at_trained = supervision.trained[scores.positions]
    spans = _spans(supervision)
    turns = [score_turn(supervision.ids, scores.positions, scores, t.start, t.stop, stops) for t in spans]
    values: dict[str, float] = {}
    if at_target.any():
        values[col.NLL] = -float(scores.logprobs[at_target].astype(np.float64).mean())
        values[col.TOKEN_ACCURACY] = float(scores.hits(supervision.ids)[at_target].mean())
    if at_trained.any():
        values[col.NLL_TRAINED] = -float(scores.logprobs[at_trained].astype(np.float64).mean())
    if turns:
        exact = np.array([turn.exact for turn in turns])
        values[col.GREEDY_EXACT] = _all(exact)
        values[col.TURNS_EXACT] = float(exact.sum())
        values[col.PREFIX_ONLY] = float(any(not t.complete for t in turns))
        smallest = float(np.min([turn.smallest for turn in turns]))
        values[col.NEAR_TIE] = float(smallest < NEAR_TIE) if not np.isnan(smallest) else np.nan
        missed = [turn.first_miss for turn in turns if turn.exact == 0]
        if missed:
            values[col.FIRST_MISS] = float(supervision.target[: missed[0]].sum())
            values[col.FIRST_MISS_TRAINED] = float(supervision.trained[missed[0]])
        for i, t in enumerate(TEMPERATURES):
            values[col.logp_at(t)] = float(sum(turn.logp[i] for turn in turns))
    return values, turns


def _rounded(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 5) for v in values]


def _record(
    supervision: Supervision, scores: TokenScores | None, turns: Sequence[TurnScore], tokenizer: Any
) -> RowTokens:
    """Per-token evidence for the row page; without a tokenizer (any but the final checkpoint) no text is kept."""
    record = RowTokens(notes=list(supervision.notes), dropped=supervision.dropped or None)
    if tokenizer is not None:
        record = replace(
            record, pieces=pieces(tokenizer, supervision.ids), ids=supervision.ids.tolist(),
            trained=mask(supervision.trained), target=mask(supervision.target),
        )  # fmt: skip
    spans = _spans(supervision)
    if scores is None:
        return replace(record, turns=tuple(TurnTokens(span.start, span.stop, span.has_stop_token) for span in spans))
    return replace(
        record,
        positions=scores.positions.tolist(),
        logprobs=_rounded(scores.logprobs),
        hits=mask(scores.hits(supervision.ids)),
        margin=_rounded(scores.margin),
        turns=tuple(
            TurnTokens(span.start, span.stop, turn.complete, _flag(turn.exact), _rounded(turn.logp))
            for span, turn in zip(spans, turns, strict=True)
        ),
    )


def recorded_values(recorded: Recorded | None, supervision: Supervision | None) -> dict[str, float]:
    """What a file says of one row. What it says of trained tokens is taken for the target as far as the masks allow."""
    if recorded is None:
        return {}
    values = {col.NLL_TRAINED: recorded.loss}
    if recorded.step is not None:
        values[col.AT_STEP] = float(recorded.step)
    if not recorded.trained_only:
        return values | {col.NLL: recorded.loss, col.GREEDY_EXACT: recorded.exact}
    if supervision is None or not recorded.same_mask:
        return values
    trained, target = supervision.trained[1:], supervision.target[1:]
    if not (target & ~trained).any():
        loss, exact = _of_target(recorded, target[trained])
        values |= {col.NLL: loss, col.GREEDY_EXACT: exact}
    return values


def _of_target(recorded: Recorded, inside: np.ndarray) -> tuple[float, float]:
    """Loss and exactness of the target from those of the trained tokens; NaN where they cannot be told apart.

    Args:
        inside: (t,) bool, which of the trained tokens are the target's.
    """
    if inside.all():
        return recorded.loss, recorded.exact
    each = recorded.token_losses
    if each is None or len(each) != len(inside) or not inside.any():
        return np.nan, np.nan if recorded.exact == 0 else recorded.exact
    # Tokens are kept in half precision and their mean in single: the few others are taken off the exact sum.
    rest = recorded.loss * len(inside) - float(np.abs(each[~inside]).sum())
    return max(rest / int(inside.sum()), 0.0), float(not np.signbit(each[inside]).any())


def _partly(checkpoint: Checkpoint) -> Mapping[Capability, tuple[str, ...]]:
    """``PARTLY``, without what the files of a checkpoint give in another way."""
    if "verbatim" not in (checkpoint.gives or ()):
        return PARTLY
    return {c: tuple(name for name in names if name != col.GREEDY_EXACT) for c, names in PARTLY.items()}


def _flag(value: float) -> bool | None:
    return None if np.isnan(value) else bool(value)


class Likelihood(Signal):
    name = "likelihood"
    label = "Likelihood"
    version = 1
    compared = (col.NLL, col.GREEDY_EXACT)
    artefact = TOKENS
    columns = (
        Column(col.NLL, "number", "Loss", "Mean negative log-likelihood over target tokens, natural logarithm.", "nats",
               "low", indexed=True, shown=True),
        Column(col.NLL_TRAINED, "number", "Loss (trained)", "The same over all tokens that carried loss.", "nats",
               "low"),
        Column(col.AT_STEP, "number", "At step", "Optimiser step in which a recording saw the row."),
        Column(col.TOKEN_ACCURACY, "number", "Token accuracy", "Share of target tokens that are the argmax.", "",
               "high"),
        Column(col.GREEDY_EXACT, "flag", "Verbatim", "Greedy decoding gives the target token by token.", indexed=True),
        Column(col.NEAR_TIE, "flag", "Near tie", "Whether it is verbatim hangs on two logits closer than 0.001."),
        Column(col.N_TOKENS, "number", "Tokens", "Tokens of the whole row as trained."),
        Column(col.N_TARGET, "number", "Target tokens", "Assistant content and stop tokens.", indexed=True),
        Column(col.N_UNSUPERVISED, "number", "Without loss", "Target tokens that carried no loss in training."),
        Column(col.CUT_TARGET, "number", "Cut", "Target tokens lost to truncation."),
        Column(col.DROPPED, "flag", "Left out", "The trainer leaves this row out."),
        Column(col.TURNS, "number", "Turns", "Assistant turns."),
        Column(col.TURNS_EXACT, "number", "Turns verbatim", "Assistant turns that greedy decoding gives token by "
               "token."),
        *(Column(col.logp_at(t), "number", f"log p at T {t:g}", "Of this exact token sequence.")
          for t in TEMPERATURES),
    )  # fmt: skip

    def plan(self, spec: RunSpec) -> list[Measure]:
        checkpoints = {FINAL: spec.final} | spec.checkpoints  # the final one first: what others need stands together
        return [
            Measure(
                self.name,
                role,
                checkpoint,
                # The final checkpoint's details hold the rendered text, the others' do not: not the same measurement.
                {"signal": self.name, "version": self.version, "weights": checkpoint.fingerprint,
                 "text": role == FINAL, **supervision_facts(spec),
                 # Rows of a file are found by their id or number, which are the dataset's.
                 **({} if checkpoint.has_weights else {"dataset": spec.dataset_fingerprint})},
                # Of the final checkpoint the rows' lengths and masks are wanted in any case.
                () if role == FINAL or "verbatim" in (checkpoint.gives or ()) else ("losses",),
                _partly(checkpoint),
                # Whatever preset made the ids, and whichever checkpoint is the final one.
                {"signal": self.name, "version": self.version, "weights": checkpoint.fingerprint,
                 "backend": spec.backend, "dtype": spec.dtype} if checkpoint.has_weights else {},
                RECORDED_COLUMNS if "steps" in (checkpoint.gives or ()) else (),
            )
            for role, checkpoint in checkpoints.items()
        ]  # fmt: skip

    def subjects(self, measure: Measure, sample: Sample, instruments: Instruments) -> tuple[str, ...]:
        row = supervision_digest(sample, instruments)
        # A row with its text serves where none is needed, not the other way round.
        text = digest([row, instruments.spec.final.tokenizer])
        return (text, row) if measure.role == FINAL else (row,)

    def measure(
        self, measure: Measure, samples: Sequence[Sample], instruments: Instruments, stop: Callable[[], bool]
    ) -> Iterator[Chunk]:
        record = instruments.record(measure.checkpoint)
        backend = instruments.backend(measure.checkpoint) if record is None else None
        budget, most = (8_192, 256) if backend is None else (at_once(backend, 8_192, 65_536), 256 * lanes(backend))
        # Four characters a token is close enough to cut chunks by; the cut must not cost a tokenisation.
        for chunk in chunked(samples, lambda s: 32 + len(s.raw) // 4, budget, most):
            if stop():
                return
            if record is not None:
                yield self._recorded(measure, chunk, instruments, record)
            elif backend is not None:
                yield self._chunk(measure, chunk, instruments, backend)

    def _recorded(self, measure: Measure, samples: list[Sample], instruments: Instruments, record: Record) -> Chunk:
        """What a file says of the rows, beside their lengths and masks where there is a tokenizer."""
        tokenizer = instruments.tokenizer() if measure.role == FINAL and instruments.renders() else None
        columns = {name: np.full(len(samples), np.nan) for name in (*ROW_COLUMNS, *SCORE_COLUMNS, col.AT_STEP)}
        details: list[dict[str, Any]] = []
        for i, sample in enumerate(samples):
            kept, supervision = RowTokens(), None
            values: dict[str, float] = {col.TURNS: float(sum(m.role in ("assistant", "text") for m in sample.messages))}
            try:
                supervision = instruments.supervision(sample) if instruments.renders() else None
            except UserError as refusal:
                kept, values = RowTokens(refused=refusal.as_dict()), {col.REFUSED: 1.0}
            if supervision is not None:
                kept, values = _record(supervision, None, (), tokenizer), row_values(supervision)
            values |= recorded_values(record.row(sample, supervision), supervision)
            for name, value in values.items():
                columns[name][i] = value
            details.append(kept.as_dict())
        return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))

    def _chunk(self, measure: Measure, samples: list[Sample], instruments: Instruments, backend: Backend) -> Chunk:
        rows: list[ScoreRow] = []
        renderings: list[Supervision | UserError] = []
        for sample in samples:
            try:
                supervision = instruments.supervision(sample)
            except UserError as refusal:
                renderings.append(refusal)
                continue
            scored_tokens = supervision.target | supervision.trained
            scored_tokens[:1] = False  # nothing predicts the first token
            rows.append(ScoreRow(supervision.ids, np.flatnonzero(scored_tokens)))
            renderings.append(supervision)
        scored = iter(backend.score(rows)) if isinstance(backend, ScoringBackend) else None
        tokenizer = instruments.tokenizer() if measure.role == FINAL else None
        columns = {name: np.full(len(samples), np.nan) for name in (*ROW_COLUMNS, *SCORE_COLUMNS)}
        details: list[dict[str, Any]] = []
        for i, rendering in enumerate(renderings):
            if isinstance(rendering, UserError):
                columns[col.REFUSED][i] = 1.0
                details.append(RowTokens(refused=rendering.as_dict()).as_dict())
                continue
            values, scores = row_values(rendering), None if scored is None else next(scored)
            turns: list[TurnScore] = []
            if scores is not None:
                numbers, turns = score_values(rendering, scores, stop_ids_of(rendering, backend.stop_ids))
                values |= numbers
            for name, value in values.items():
                columns[name][i] = value
            details.append(_record(rendering, scores, turns, tokenizer).as_dict())
        return Chunk(measure.key, tuple(s.content_hash for s in samples), columns, tuple(details))


KIND = Likelihood()
