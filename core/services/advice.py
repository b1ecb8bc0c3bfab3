"""What to do about each cause, in rows: what may come back, what it may cost, and how much training it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from core.errors import UserError
from core.plugins import kind, with_defaults
from core.proof.expected import Way, on_worlds
from core.proof.retraining import BATCH, course, lengths
from core.services import again as again_from_base
from core.services import proofs, recipes
from core.services.measurements import facts_of
from core.services.runs import get_run
from core.statistics import wilson
from core.text.counts import counted
from core.types import Filter, Proof, Run, Term
from db import verdicts as verdict_table
from db.session import database

MISSED = ("unlearned", "partly")
WORDS = {
    "go_on": "Go on from the checkpoint",
    "again": "Train again from the base",
    "leave_out": "Leave the rows out",
    "accept": "Leave it as it is",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be done about the samples of one cause.

    Attributes:
        cause, n: the cause, and its samples that were not learned.
        what: a key of ``WORDS``; ``recipe``: of the first two, else None.
        restored: rows that may come back, with the limits of a 95 % interval; None where nothing was measured.
        at_risk: learned rows of the run that may be lost, likewise.
        rows: rows to train on, passes counted; 0 for none, None where the recipe refuses these samples.
        seconds: as long as the training may take on the machine of the proof; None where none was timed.
        source: where the figures are from, in words; or why this may be right.
    """

    cause: str
    n: int
    what: Literal["go_on", "again", "leave_out", "accept"]
    recipe: str | None
    restored: tuple[float, float, float] | None
    at_risk: tuple[float, float, float] | None
    rows: int | None
    seconds: float | None
    source: str

    @property
    def gain(self) -> float | None:
        """Rows that come back less rows that are lost."""
        if self.restored is None or self.at_risk is None:
            return None
        return self.restored[0] - self.at_risk[0]


_NOTHING = (0.0, 0.0, 0.0)


def in_rows(values: tuple[float, float, float] | None) -> str:
    """A figure of an option as a person reads it."""
    if values is None:
        return "not measured"
    value, low, high = values
    return f"{value:.0f}" if low == high else f"{value:.0f} ({low:.0f} to {high:.0f})"


def options(run_id: int, chosen: Filter) -> tuple[Option, ...]:
    """What can be done about each cause among the samples that pass, most gain first, what is unknown last."""
    run = get_run(run_id)
    if not any(column.name == "cause" for column in run.columns):
        return ()
    missed = replace(chosen, terms=(*chosen.terms, Term("status", "in", MISSED)))
    with database().reading() as conn:
        counts = {cause: n for (cause,), n in verdict_table.group_counts(conn, run, ["cause"], missed)}
        by_status = {status: n for (status,), n in verdict_table.group_counts(conn, run, ["status"], Filter())}
    learned = by_status.get("learned", 0)
    finished = [proof for proof in proofs.of_run(run_id) if proof.result is not None]
    all_options: list[Option] = []
    for cause, n in counts.items():
        recipe = recipes.recipe_for(cause) if cause is not None else None
        if cause is not None and recipe is not None:
            all_options += _of_cause(run, missed, cause, n, recipe, learned, finished)
    return tuple(sorted(all_options, key=_rank))


def _rank(option: Option) -> tuple[bool, float, int, str]:
    gain = option.gain
    return gain is None, -(gain or 0.0), list(WORDS).index(option.what), option.cause


def _of_cause(
    run: Run, missed: Filter, cause: str, n: int, recipe: str, learned: int, finished: Sequence[Proof]
) -> list[Option]:
    found = [
        _training(run, missed, cause, n, recipe, learned, finished, "go_on"),
        *(
            [_training(run, missed, cause, n, recipe, learned, finished, "again")]
            if again_from_base.has_base(run)
            else []
        ),
    ]
    why = kind("recipes", recipe).leave_out
    if why:
        found.append(Option(cause, n, "leave_out", recipe, _NOTHING, _NOTHING, 0, None, why))
    found.append(Option(cause, n, "accept", None, _NOTHING, _NOTHING, 0, None, "It costs nothing and changes nothing."))
    return found


def _training(
    run: Run, missed: Filter, cause: str, n: int, recipe: str, learned: int, finished: Sequence[Proof], way: Way
) -> Option:
    """One of the two ways to train: figures from the newest proof of this run, else from worlds."""
    again = way == "again"
    of_way = [p for p in finished if bool(p.request.get("retrain")) == again]
    timed = next((seconds for p in of_way if (seconds := _seconds_a_row(p)) is not None), None)
    rows = _rows(run, missed, cause, recipe, again)
    seconds = None if rows is None or timed is None else rows * timed
    option = Option(cause, n, way, recipe, None, None, rows, seconds, "not measured")
    proven = next(((p.id, counts) for p in of_way if p.recipe == recipe and (counts := _proven(p)) is not None), None)
    if proven is not None:
        return _filled(option, *proven[1], learned, f"proof {proven[0]}")
    measured = on_worlds(cause, way)
    if measured is None:
        return option
    of_model = "" if measured.model is None else f" around {measured.model}"
    return _filled(
        option,
        measured.restored,
        measured.lost,
        learned,
        f"{counted(len(measured.worlds), 'planted world')}{of_model}: {', '.join(measured.worlds)}",
    )


def _filled(option: Option, restored: tuple[int, int], lost: tuple[int, int], learned: int, source: str) -> Option:
    return replace(option, restored=_of(restored, option.n), at_risk=_of(lost, learned), source=source)


def _of(counts: tuple[int, int], rows: int) -> tuple[float, float, float] | None:
    """A share of ``rows`` with its limits, in rows."""
    k, n = counts
    if not n:
        return None
    low, high = wilson(k, n)
    return k / n * rows, low * rows, high * rows


def _proven(proof: Proof) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Counts of restored and lost rows; None where the proof came with a bundle and does not have them."""
    try:
        arm = (proof.result or {})["arms"]["treatment"]
        lost = arm["lost"] or {"k": 0, "n": 0}
        return (int(arm["recovered"]["k"]), int(arm["recovered"]["n"])), (int(lost["k"]), int(lost["n"]))
    except (LookupError, TypeError, ValueError):
        return None


def _seconds_a_row(proof: Proof) -> float | None:
    """Seconds of one arm a row that it trained on, asking included; None where that was not timed."""
    try:
        arm = proof.arms["treatment"]
        rows = int(arm["training"]["steps"]) * (int(proof.request["budget"]["batch"]) or BATCH)
        return float(arm["seconds"]) / max(1, rows)
    except (LookupError, TypeError, ValueError):
        return None


def _rows(run: Run, missed: Filter, cause: str, recipe: str, again: bool) -> int | None:
    """Rows to train on, passes counted; None where the recipe cannot do anything with the samples."""
    own = kind("recipes", recipe)
    chosen = replace(missed, terms=(*missed.terms, Term("cause", "in", (cause,))))
    try:
        planned = recipes.make_plan(run, chosen, recipe, with_defaults(own, own.proof if again else {}), {})
    except UserError:
        return None
    plan = planned.plan
    if not again:
        return round(plan.total * plan.training.epochs)
    stages = again_from_base.stages(planned.pool)
    wanted = {setting.name: setting.default for setting in proofs.budget(retrain=True)}
    taught = sum(n for part, n in plan.counts.items() if part in own.taught) if own.taught else len(plan.counted)
    left_out = again_from_base.left_out(plan)
    if not taught and not len(left_out):
        return None
    try:
        how = course(wanted, facts_of(run), len(stages))
        return sum(lengths(stages, how, taught, plan.training.epochs, left_out))
    except UserError:
        return None
