"""Pieces of evidence: what was measured, made comparable across models and datasets.

Every piece is a number in [0, 1] per sample, 0 where it says nothing or was not measured; what was measured at all is
known from the signals. Where a raw number means little by itself (a log-probability of a name), it is compared with
the learned samples of the same run: those show what this model, on this data, gives where all went well.
"""

from __future__ import annotations

import numpy as np

from core.causes._base import Columns, Evidence, Row
from core.plugins import kinds
from core.signals import _columns as col
from core.types import EVIDENCE, Column, Reason, RunSpec, SignalTable


def squash(x: np.ndarray, scale: float) -> np.ndarray:
    """1 - exp(-x / scale) for x > 0, else 0: rises at once, then flattens."""
    return np.asarray(1.0 - np.exp(-np.maximum(x, 0.0) / scale))


def below_learned(values: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """(n,) how far below the learned samples' median a value lies, on the scale of their spread, in [0, 1].

    With m the median and s the distance from it to the 10th percentile of the learned samples (never under a tenth of
    a nat): min(1, max(0, (m - x) / (3 s))). NaN where fewer than five learned samples were measured.
    """
    reference = values[learned & np.isfinite(values)]
    if reference.size < 5:
        return np.full(values.shape, np.nan)
    middle, low = np.quantile(reference, [0.5, 0.1])
    return np.asarray(np.clip((middle - values) / (3.0 * max(middle - low, 0.1)), 0.0, 1.0))


def _wrong_belief(get: Columns) -> np.ndarray:
    """1 where the base's own answer is another one, 0 where it says what the target says, be it in other words."""
    same = np.maximum(get(col.BASE_BELIEF_IS_TARGET), np.nan_to_num(get(col.BASE_BELIEF_AGREES), nan=0.0))
    return np.asarray(1.0 - same)


def _knew(get: Columns) -> np.ndarray:
    """How surely the base gave what the target says, word for word or in its own words, in [0, 1]."""
    direct = np.maximum(get(col.BASE_KNOWN_SAMPLED), get(col.BASE_KNOWN_GREEDY))
    own = get(col.BASE_BELIEF_AGREES) * get(col.BASE_BELIEF_SHARE)
    return np.where(np.isfinite(direct), np.maximum(direct, np.nan_to_num(own, nan=0.0)), np.nan)


def _standing_out(get: Columns, learned: np.ndarray) -> np.ndarray:
    """Share of the run's other unlearned rows about whose answer the base is less sure; 0 where it says the target.

    How sure a base sounds of what it only guesses differs from model to model, so a belief is held against the same
    base's other answers.
    """
    sure = get(col.BASE_BELIEF_P) * get(col.BASE_BELIEF_SHARE)
    rows = np.isfinite(sure) & ~learned
    if rows.sum() < 10:
        return np.full(sure.shape, np.nan)
    order = np.sort(sure[rows])
    place = (np.searchsorted(order, sure, "left") + np.searchsorted(order, sure, "right")) / 2 / rows.sum()
    return np.where(np.isfinite(sure), _wrong_belief(get) * place, np.nan)


def _new_information(get: Columns, learned: np.ndarray) -> np.ndarray:
    """What is missed is not in the prompt, and the base neither knew it nor holds another answer that stands out."""
    other = np.nan_to_num(_standing_out(get, learned), nan=0.0)
    return np.asarray((1.0 - get(col.MISSED_GIVEN)) * (1.0 - _knew(get)) * (1.0 - other))


def _percent(p: float) -> str:
    """A probability that is never nothing and never certain."""
    return "under 1%" if p < 0.01 else "over 99%" if p > 0.99 else f"{p:.0%}"


def _often(p: float) -> str:
    """A probability of an answer as how often it would be drawn."""
    return f"in {_percent(p)} of draws"


def _known(row: Row) -> str:
    times = f"{10 * row[col.BASE_KNOWN_GREEDY]:.0f} of 10 few-shot prompts"
    return f"The base gives the target in {times}, and would give it {_often(row[col.BASE_KNOWN_SAMPLED])}."


def _ahead(margin: float) -> str:
    first, second = ("the base's answer", "the target") if margin > 0 else ("the target", "the base's answer")
    return f"{first} to {second}, by {abs(margin):.2f} nats per token"


def _absent(given: float) -> str:
    return "What the output misses" if given == 0 else f"{1 - given:.0%} of what the output misses"


PIECES: tuple[Evidence, ...] = (
    Evidence(
        "base_ignorant", "the base does not know the answer", (col.BASE_KNOWN_SAMPLED, col.BASE_KNOWN_GREEDY),
        lambda get, _: 1.0 - _knew(get),
        lambda r: _known(r),
    ),
    Evidence(
        "base_knew", "the base knew the answer", (col.BASE_KNOWN_SAMPLED, col.BASE_KNOWN_GREEDY),
        lambda get, _: _knew(get),
        lambda r: _known(r),
    ),
    Evidence(
        "base_belief", "the base is sure of another answer", (col.BASE_BELIEF_P, col.BASE_BELIEF_SHARE),
        lambda get, _: _wrong_belief(get) * np.sqrt(np.clip(get(col.BASE_BELIEF_P) * get(col.BASE_BELIEF_SHARE), 0, 1)),
        lambda r: f"The base has another answer of its own: {r[col.BASE_BELIEF_SHARE]:.0%} of its generations agree on "
        f"it, and it gives it {_often(r[col.BASE_BELIEF_P])}.",
    ),
    Evidence(
        "belief_ahead", "the base prefers its answer to the target by far", (col.BASE_BELIEF_MARGIN,),
        lambda get, _: _wrong_belief(get) * squash(get(col.BASE_BELIEF_MARGIN), 2.0),
        lambda r: f"Before fine-tuning the model preferred {_ahead(r[col.BASE_BELIEF_MARGIN])}.",
    ),
    Evidence(
        "belief_kept", "the fine-tuned model still gives the base's answer", (col.OUTPUT_IS_BELIEF,),
        lambda get, _: _wrong_belief(get) * get(col.OUTPUT_IS_BELIEF),
        lambda r: "After fine-tuning the model still gives the base's answer."
        if r[col.OUTPUT_IS_BELIEF] == 1 else "After fine-tuning the model no longer gives the base's answer.",
    ),
    Evidence(
        "belief_stays_ahead", "the base's answer is still ahead after fine-tuning", (col.BELIEF_MARGIN,),
        lambda get, _: _wrong_belief(get) * squash(get(col.BELIEF_MARGIN), 1.0),
        lambda r: f"After fine-tuning the model prefers {_ahead(r[col.BELIEF_MARGIN])}.",
    ),
    Evidence(
        "unfamiliar", "the base hardly knows the prompt's rare words", (col.BASE_FAMILIARITY,),
        lambda get, learned: below_learned(get(col.BASE_FAMILIARITY), learned),
        lambda r: f"The prompt's rare words are less familiar to the base than those of learned samples (mean "
        f"log-probability {r[col.BASE_FAMILIARITY]:.2f}).",
    ),
    Evidence(
        "wavering", "the base's answer changes with the examples shown", (col.BASE_BELIEF_STABILITY,),
        lambda get, _: 1.0 - get(col.BASE_BELIEF_STABILITY),
        lambda r: f"The base gives one answer in {r[col.BASE_BELIEF_STABILITY]:.0%} of its few-shot prompts, others in "
        "the rest.",
    ),
    Evidence(
        "belief_steady", "the base gives one other answer whatever examples it sees", (col.BASE_BELIEF_STABILITY,),
        lambda get, _: _wrong_belief(get) * get(col.BASE_BELIEF_STABILITY),
        lambda r: f"The base gives its own answer in {r[col.BASE_BELIEF_STABILITY]:.0%} of its few-shot prompts, "
        "whatever examples they show.",
    ),
    Evidence(
        "belief_stands_out", "the base is surer here than of its other answers", (EVIDENCE.of("belief_stands_out"),),
        _standing_out,
        lambda r: "The base is surer of its own answer here than in "
        f"{_percent(r[EVIDENCE.of('belief_stands_out')])} of the other rows that were not learned.",
    ),
    Evidence(
        "open_answer", "many answers seem possible to the base", (col.BASE_ENTROPY,),
        lambda get, _: squash(get(col.BASE_ENTROPY), 1.0),
        lambda r: f"Where its answer leaves the target, the base is undecided: its next token has an entropy of "
        f"{r[col.BASE_ENTROPY]:.2f} nats.",
    ),
    Evidence(
        "misspelt", "the base cannot spell the prompt's rare words", (col.BASE_SPELLING,),
        lambda get, learned: below_learned(get(col.BASE_SPELLING), learned),
        lambda r: f"The base spells the prompt's rare words less surely than those of learned samples (mean "
        f"log-probability {r[col.BASE_SPELLING]:.2f} per token).",
    ),
    Evidence(
        "contradicted", "another row answers the same question otherwise", (col.CONTRADICTION,),
        lambda get, _: get(col.CONTRADICTION),
        lambda r: f"Another row contradicts this one (certainty {_percent(r[col.CONTRADICTION])}).",
    ),
    Evidence(
        "other_side_wins", "the model gives another row's answer", (col.SIDE_WINS, col.CONTRADICTION),
        lambda get, _: get(col.SIDE_WINS) * get(col.CONTRADICTION),
        lambda r: "The model answers as the other side of the contradiction does.",
    ),
    Evidence(
        "may_both_be_right", "both answers may be right", (col.BOTH_VALID,),
        lambda get, _: get(col.BOTH_VALID),
        lambda r: f"The question may have several right answers (certainty {_percent(r[col.BOTH_VALID])}).",
    ),
    Evidence(
        "forgotten", "an earlier checkpoint reproduced it", (col.FORGOTTEN,),
        lambda get, _: get(col.FORGOTTEN),
        lambda r: "An earlier checkpoint reproduced the row, the final one does not.",
    ),
    Evidence(
        "rise", "the loss rose again", (col.NLL_RISE, col.BEST_NLL),
        lambda get, _: squash(get(col.NLL_RISE), 0.5),
        lambda r: f"Its loss rose again by {r[col.NLL_RISE]:.2f} nats per token from its lowest point, "
        f"{r[col.BEST_NLL]:.2f}.",
    ),
    Evidence(
        "never_learned", "no checkpoint reproduced it", (col.FORGOTTEN,),
        lambda get, _: np.where(np.isfinite(get(col.FORGOTTEN)), np.isnan(get(col.LEARNED_AT)).astype(float), np.nan),
        lambda r: "No checkpoint reproduced the row.",
    ),
    Evidence(
        "early", "it stands early in the training order", (col.POSITION,),
        lambda get, _: 1.0 - get(col.POSITION),
        lambda r: f"It stands at {r[col.POSITION]:.0%} of the training order.",
    ),
    Evidence(
        "still_falling", "the loss was still falling when training ended", (col.NLL_FALL_END,),
        lambda get, _: squash(get(col.NLL_FALL_END), 0.5),
        lambda r: f"Its loss fell by {r[col.NLL_FALL_END]:.2f} nats per token between the last two checkpoints.",
    ),
    Evidence(
        "long_target", "its target is longer than those that were learned", (col.TARGET_RANK,),
        lambda get, _: np.clip(2.0 * get(col.TARGET_RANK) - 1.0, 0.0, 1.0),
        lambda r: f"{r[col.TARGET_RANK]:.0%} of the learned rows have a shorter target.",
    ),
    Evidence(
        "wrong_type", "the output is not even of the target's kind", (col.OUTPUT_TYPE_RIGHT,),
        lambda get, _: 1.0 - get(col.OUTPUT_TYPE_RIGHT),
        lambda r: "The output does not have the shape of the target.",
    ),
    Evidence(
        "right_type", "the output is of the target's kind", (col.OUTPUT_TYPE_RIGHT,),
        lambda get, _: get(col.OUTPUT_TYPE_RIGHT),
        lambda r: "The output has the shape of the target, with another content.",
    ),
    Evidence(
        "prompt_gives", "the prompt holds what the output misses", (col.MISSED_GIVEN,),
        lambda get, _: get(col.MISSED_GIVEN),
        lambda r: f"{r[col.MISSED_GIVEN]:.0%} of what the output misses can be copied or worked out from the prompt.",
    ),
    Evidence(
        "from_elsewhere", "what the output misses is not in the prompt", (col.MISSED_GIVEN, col.MISSED_NEW),
        lambda get, _: 1.0 - get(col.MISSED_GIVEN),
        lambda r: "Nothing that the output misses is in the prompt." if r[col.MISSED_GIVEN] == 0
        else f"{1 - r[col.MISSED_GIVEN]:.0%} of what the output misses is not in the prompt.",
    ),
    Evidence(
        "new_information", "neither the prompt nor the base holds an answer",
        (col.MISSED_GIVEN, col.BASE_KNOWN_SAMPLED, col.BASE_KNOWN_GREEDY),
        _new_information,
        lambda r: f"{_absent(r[col.MISSED_GIVEN])} is not in the prompt. {_known(r)}",
        includes=("from_elsewhere", "base_ignorant"),
    ),
    Evidence(
        "partly_right", "part of the target is right under teacher forcing", (col.TOKEN_ACCURACY,),
        lambda get, _: get(col.TOKEN_ACCURACY),
        lambda r: f"{r[col.TOKEN_ACCURACY]:.0%} of the target's tokens are the model's first choice after the ones "
        "before them.",
    ),
)  # fmt: skip


def pieces() -> dict[str, Evidence]:
    """All pieces of evidence by name: the shared ones, then those that a cause brings along."""
    own = [piece for cause in kinds("causes").values() for piece in cause.evidence]
    by_name = {piece.name: piece for piece in (*PIECES, *own)}
    if len(by_name) < len(PIECES) + len(own):
        raise RuntimeError(f"two pieces of evidence have one name: {sorted(p.name for p in own)}")
    return by_name


def evidence_columns() -> tuple[Column, ...]:
    """A column of the verdict table for every piece."""
    help = "0 says nothing, 1 speaks as loudly as it can."
    return tuple(Column(EVIDENCE.of(p.name), "number", f"Evidence: {p.label}", help) for p in pieces().values())


def measure_evidence(table: SignalTable, learned: np.ndarray) -> dict[str, np.ndarray]:
    """Name to (n,) float64 in [0, 1]; NaN where a piece was not measured.

    Args:
        table: signals, derivations and facts of all n samples of a run.
        learned: (n,) bool, the samples with status learned.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return {name: np.clip(p.value(table.get, learned), 0.0, 1.0) for name, p in pieces().items()}


def reason(piece: Evidence, row: Row, favours: str) -> Reason | None:
    """The sentence of a piece for one row; None where its numbers are not there."""
    if not all(np.isfinite(row.get(column, np.nan)) for column in piece.shows):
        return None
    return Reason(piece.sentence(row), favours)  # type: ignore[arg-type]


def has(spec: RunSpec, requirement: str, table: SignalTable) -> bool:
    """Whether a run has what a cause requires: ``base``, ``trajectory``, or a measured column."""
    column = {"base": col.BASE_NLL, "trajectory": col.FORGOTTEN}.get(requirement, requirement)
    return bool(np.isfinite(table.get(column)).any())
