"""Learned, partly, unlearned, unknown: a pure rule on signals. Moving a threshold loads no model.

- *learned*: greedy decoding gives every target, verbatim or right by the scorer.
- *partly*: some turns of several are right; or greedy decoding fails, but draws reach the target, and it is not shown
  that their rate is below the limit; or the probability of the exact target alone reaches the limit.
- *unlearned*: the success rate is below the limit with the required certainty; or the one answer that a file holds is
  wrong, where nothing can be drawn.
- *unknown*: not measured, nothing to judge, or too few draws to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from core.signals import _columns as col
from core.types import TEMPERATURES, Gap, Reason, SignalTable, Status, Thresholds

# Success cuts in percent at which graded scores are counted. The slider moves on this grid.
PERCENT: tuple[int, ...] = (50, 60, 70, 80, 90, 100)
LEARNED, PARTLY, UNLEARNED, UNKNOWN = range(4)
STATUSES: tuple[Status, ...] = (Status.LEARNED, Status.PARTLY, Status.UNLEARNED, Status.UNKNOWN)


def rate_below(limit: float | np.ndarray, hits: float | np.ndarray, draws: float | np.ndarray) -> np.ndarray:
    """P(rate < limit) after ``hits`` in ``draws``: the cumulative Beta(1 + hits, 1 + draws - hits), uniform prior.

    A posterior does not depend on when drawing stopped, so looking often does not spoil it.
    """
    from scipy.special import betainc

    return np.asarray(betainc(1.0 + np.asarray(hits), 1.0 + np.asarray(draws) - np.asarray(hits), limit))


def rate_interval(hits: float, draws: float, level: float = 0.9) -> tuple[float, float]:
    """Equal-tailed posterior interval of the success rate, with the same prior."""
    from scipy.special import betaincinv

    a, b, tail = 1.0 + hits, 1.0 + draws - hits, (1.0 - level) / 2
    return float(betaincinv(a, b, tail)), float(betaincinv(a, b, 1.0 - tail))


def cut_of(thresholds: Thresholds) -> int:
    """The success cut in percent, on the grid that was counted."""
    return min(PERCENT, key=lambda c: abs(c - 100 * thresholds.success_cut))


def temperature_column(temperature: float) -> str | None:
    """The column with the target's log-probability at this temperature; None if it is not on the grid."""
    return col.logp_at(temperature) if any(abs(temperature - t) < 1e-9 for t in TEMPERATURES) else None


def columns_read(thresholds: Thresholds, temperature: float) -> list[str]:
    """Names of the signals that ``judge_status`` reads."""
    cut, closed = cut_of(thresholds), temperature_column(temperature)
    names = [col.GREEDY_EXACT, col.TURNS, col.TURNS_EXACT, col.TURNS_ASKED, col.right_at(cut), col.hits_at(cut)]
    return [*names, col.DRAWS, col.ONE_ANSWER, *([closed] if closed else ())]


def judge_status(table: SignalTable, thresholds: Thresholds, temperature: float) -> np.ndarray:
    """(n,) int8 codes into ``STATUSES``.

    Args:
        table: signals of n samples.
        thresholds: the limits.
        temperature: the one at which draws were made. The target's probability at it is a lower bound of the rate.
    """
    exact, turns = table.get(col.GREEDY_EXACT), table.get(col.TURNS)
    cut = cut_of(thresholds)
    right, hits, draws = table.get(col.right_at(cut)), table.get(col.hits_at(cut)), table.get(col.DRAWS)
    column = temperature_column(temperature)
    floor = np.exp(table.get(column)) if column else np.full(len(table.keys), np.nan)
    with np.errstate(invalid="ignore"):
        all_right = right >= table.get(col.TURNS_ASKED)
        some_right = (right > 0) | ((turns > 1) & (table.get(col.TURNS_EXACT) > 0))
        below = rate_below(thresholds.unlearned_below, hits, draws)
        shown_below = below >= thresholds.certainty
        reached = (hits > 0) | (below <= 1 - thresholds.certainty)
    out = np.full(len(table.keys), UNKNOWN, dtype=np.int8)
    out[shown_below] = UNLEARNED
    out[(table.get(col.ONE_ANSWER) == 1) & ~all_right] = UNLEARNED
    out[reached & ~shown_below] = PARTLY
    out[(exact == 0) & (floor >= thresholds.unlearned_below)] = PARTLY
    out[some_right] = PARTLY
    out[(exact == 1) | all_right] = LEARNED
    out[~(turns > 0)] = UNKNOWN
    return out


def explain_status(
    row: Mapping[str, float], thresholds: Thresholds, temperature: float, scorer: str, gaps: Sequence[Gap] = ()
) -> tuple[Reason, ...]:
    """Sentences for one sample's status, with the numbers they rest on.

    Args:
        row: the sample's signals by name; NaN = not measured.
        scorer: the scorer's label.
        gaps: what the run could not measure.
    """

    def value(name: str) -> float:
        return row.get(name, np.nan)

    if value(col.REFUSED) == 1:
        return (Reason("The chat template refuses this row, so there is nothing to score.", favours="note"),)
    if not value(col.TURNS) > 0:
        cut = value(col.CUT_TARGET)
        text = (
            "No target token is left: the whole answer was cut." if cut > 0 else "The row has no target to reproduce."
        )
        return (Reason(text),)
    of_file = any(gap.of == "file" for gap in gaps)
    if value(col.GREEDY_EXACT) == 1 and of_file:
        return (Reason("By what the file says, greedy decoding gives the target.", "for"),)
    if value(col.GREEDY_EXACT) == 1:
        text = "Greedy decoding gives the target token by token"
        text += ", as far as it was not cut." if value(col.PREFIX_ONLY) == 1 else ", up to its stop token."
        tie = Reason("Two logits are closer than 0.001 on the way: another machine may decide otherwise.", "against")
        return (Reason(text, "for"), *([tie] if value(col.NEAR_TIE) == 1 else []))
    lacking = [gap.needs for gap in gaps if {col.GREEDY_EXACT, col.SCORE} & set(gap.columns)]
    unmeasured = tuple(Reason(f"A surer status needs {needs}.") for needs in lacking)
    if np.isnan(value(col.SCORE)):
        if np.isnan(value(col.GREEDY_EXACT)):
            if any(gap.of == "nothing" for gap in gaps):
                return (Reason("No model was given, so it is not known whether the target was learned."),)
            return (Reason("Whether greedy decoding gives the target is not known."), *unmeasured)
        return (Reason("Greedy decoding does not give the target verbatim; its answer was not judged."), *unmeasured)
    if np.isfinite(value(col.ONE_ANSWER)):
        return (*_explain_given(value, thresholds, scorer), *unmeasured)
    return (*_explain_answer(value, thresholds, temperature, scorer), *unmeasured)


def _explain_given(value: Callable[[str], float], thresholds: Thresholds, scorer: str) -> tuple[Reason, ...]:
    """What answers from a file say: how they were decoded is not known."""
    cut = cut_of(thresholds)
    right = value(col.right_at(cut)) >= value(col.TURNS_ASKED)
    if value(col.ONE_ANSWER) == 1:
        text = f"The answer in the file is {'' if right else 'not '}right by “{scorer}” (score {value(col.SCORE):.2f})."
        more = () if right else (Reason("It is the only one: how often the checkpoint would be right is not known."),)
        return (Reason(text, "for" if right else "against"), *more)
    draws, hits = value(col.DRAWS), value(col.hits_at(cut))
    low, high = rate_interval(hits, draws)
    text = f"{hits:.0f} of the {draws:.0f} answers in the file are right by “{scorer}”: rate {low:.2f} to {high:.2f}"
    return (Reason(f"{text} (90% posterior).", "for" if hits else "against"),)


def rarely(p: float) -> str:
    """A chance as how often it is met: large ones as a share, small ones as one in so many."""
    if p >= 0.01:
        return f"in {p:.0%} of draws"
    return f"in 1 of {1 / p:,.0f} draws" if p > 1e-9 else "in fewer than 1 of 1,000,000,000 draws"


def _explain_answer(
    value: Callable[[str], float], thresholds: Thresholds, temperature: float, scorer: str
) -> tuple[Reason, ...]:
    """What was generated, greedily and in draws, and whether it was right."""
    cut = cut_of(thresholds)
    turns, right = value(col.TURNS_ASKED), value(col.right_at(cut))
    reasons: list[Reason] = []
    which = (
        f"{right:.0f} of {turns:.0f} answers count"
        if turns > 1
        else f"its answer {'counts' if right else 'is not counted'}"
    )
    miss = value(col.FIRST_MISS) + 1
    departs = (
        f"Greedy decoding leaves the target at its token {miss:.0f}; " if np.isfinite(miss) else "Asked greedily, "
    )
    reasons.append(
        Reason(
            f"{departs}{which} as right by “{scorer}” (score {value(col.SCORE):.2f}).",
            "for" if right == turns else "against",
        )
    )
    draws, hits = value(col.DRAWS), value(col.hits_at(cut))
    if draws > 0 and right < turns:
        low, high = rate_interval(hits, draws)
        certain = float(rate_below(thresholds.unlearned_below, hits, draws))
        reasons.append(
            Reason(
                f"{hits:.0f} of {draws:.0f} draws at temperature {temperature:g} are right. The success rate is "
                f"{low:.2f} to {high:.2f} (90% interval), and below {thresholds.unlearned_below:g} with probability "
                f"{certain:.2f}.",
                "for" if hits else "against",
            )
        )
    if value(col.NEAR_TIE) == 1 and right < turns:
        text = "Two logits are closer than 0.001 on the way: rounding may decide."
        reasons.append(Reason(f"{text} A row that is partly learned then gets no cause."))
    column = temperature_column(temperature)
    if column and np.isfinite(value(column)):
        p = float(np.exp(value(column)))
        reasons.append(Reason(f"At temperature {temperature:g} the exact target comes up {rarely(p)}."))
    return tuple(reasons)
