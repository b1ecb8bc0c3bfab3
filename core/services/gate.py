"""Limits held against a finished run, for CI: which are passed, and in which words to say so."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from core.errors import UserError
from core.report import ci
from core.report.limits import CAUSE, FAULTS, NOT_LEARNED, REJECTED, Limit, Outcome, parse
from core.services import causes, words
from core.services.results import ORDER
from core.services.runs import get_run
from core.types import PIPELINE, STRENGTH, Filter, Run, Status, Term
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database


def limit(text: str) -> Limit:
    """The limit that ``text`` states; raises UserError naming the value and the choices."""
    return parse(text, causes.values())


def hold(run_id: int, limits: Sequence[Limit], chosen: Filter | None = None) -> list[Outcome]:
    """Every limit against the samples of the run that pass the filter.

    Raises:
        UserError: the run has no verdicts yet.
    """
    run, chosen = _judged(run_id), chosen or Filter()
    with database().reading() as conn:
        counts = verdict_table.group_counts(conn, run, ["status", "cause"], chosen)
        dataset = sample_table.get_dataset(conn, run.spec.dataset_id)
        total = sum(n for _, n in counts)
        outcomes = []
        for each in limits:
            whole = dataset.n_rows if each.name == REJECTED else total
            if each.name == REJECTED:
                count = dataset.n_problems
            elif each.name == FAULTS:
                count = len(_faults(run))
            elif each.name.startswith(CAUSE):
                count = sum(n for (_, cause), n in counts if cause == each.name.removeprefix(CAUSE))
                if why := _not_judged(conn, run, each.name.removeprefix(CAUSE), counts):
                    outcomes.append(Outcome(each, "unknown", 0, whole, why))
                    continue
            else:
                meant = (Status.PARTLY, Status.UNLEARNED) if each.name == NOT_LEARNED else (each.name,)
                count = sum(n for (status, _), n in counts if status in meant)
            outcomes.append(Outcome(each, "fail" if each.passed_by(count, whole) else "pass", count, whole))
    return outcomes


def _judged(run_id: int) -> Run:
    run = get_run(run_id)
    if run.state != "judged":
        raise UserError(f"Run {run.id} has no verdicts yet.", "Limits are on verdicts.", "Wait for the run.")
    return run


def _faults(run: Run) -> list[str]:
    """Faults of the whole run, by their labels."""
    return [f["label"] for f in run.summary.get("faults", ()) if (f["scope"], f["state"]) == ("run", "fail")]


def _not_judged(conn: Connection, run: Run, cause: str, counts: Sequence[tuple[tuple[str, str | None], int]]) -> str:
    """Why a cause says nothing in this run although there are samples it could explain; empty where it does."""
    column = STRENGTH.of(cause)
    open_rows = any(
        n and status in (Status.PARTLY, Status.UNLEARNED) and PIPELINE.member(name) is None
        for (status, name), n in counts
    )
    if not open_rows or column not in {c.name for c in run.columns}:
        return ""
    measured = Filter((Term(column, "range", (None, None)),))
    if verdict_table.count(conn, run, measured):
        return ""
    return f"not judged in this run, which lacks {causes.needs(cause)}"


def passes(outcomes: Sequence[Outcome]) -> bool:
    """Whether every limit is kept; one that could not be judged is not."""
    return all(o.state == "pass" for o in outcomes)


def junit(run_id: int, outcomes: Sequence[Outcome]) -> bytes:
    """See ``core.report.ci.junit``."""
    return ci.junit(_judged(run_id).name, outcomes)


def summary(run_id: int, outcomes: Sequence[Outcome], chosen: Filter | None = None) -> str:
    """See ``core.report.ci.summary``."""
    run, chosen = _judged(run_id), chosen or Filter()
    with database().reading() as conn:
        rows = verdict_table.group_counts(conn, run, ["status", "cause"], chosen)
        dataset = sample_table.get_dataset(conn, run.spec.dataset_id)
    by_status = [(s.capitalize(), sum(n for (status, _), n in rows if status == s)) for s in ORDER]
    named = {cause for (_, cause), _ in rows if cause is not None}
    by_cause = sorted(
        ((words.value("cause", c), sum(n for (_, cause), n in rows if cause == c)) for c in named), key=lambda p: -p[1]
    )
    facts = {
        "Run": f"{run.id}, specification {run.spec.hash[:12]}",
        "Dataset": f"{dataset.name}, {dataset.n_samples:,} samples, {dataset.n_problems:,} rejected rows",
        "Checkpoint": run.spec.final.label,
        "Base": run.spec.base.label if run.spec.base else "none",
    }
    facts |= {"Fault of the whole run": "; ".join(found)} if (found := _faults(run)) else {}
    return ci.summary(run.name, facts, [*by_status, *by_cause], outcomes)
