"""What the base knew, for the pages: classes against status, its own answers beside the targets, margins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.services import samples
from core.services.measurements import any_record, records
from core.services.runs import get_run
from core.services.views import Breakdown, Page
from core.signals import _columns as col
from core.signals._artefacts import BELIEF
from core.signals._records import BaseAnswers
from core.types import BASE, Filter, Run, Term
from db import paths
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

COLUMN = col.BASE_KNOWLEDGE
# The classes of core.signals.knowledge in its order, as a person reads them; an unknown status is something else.
CLASSES = ("Unknown to the base", "Weakly known", "Maybe known", "Highly known")
HELP: Mapping[str, str] = {
    "Highly known": "the base's greedy answer is right in all prompts",
    "Maybe known": "in some of them",
    "Weakly known": "in none, but sampling gives it",
    "Unknown to the base": "not even sampling gives it",
}
# Points of a scatter plot; more would be slow to draw and no clearer.
MOST_POINTS = 20_000


@dataclass(frozen=True, slots=True)
class Summary:
    """Classes of the rows under a filter.

    Attributes:
        shown: rows under the filter; ``measured``: those with a class.
        classes: class by status, highly known first; bounds are the class's number in the filter.
        way: how the base was asked, in a sentence; empty where nothing was.
    """

    shown: int
    measured: int
    classes: Breakdown
    way: str


@dataclass(frozen=True, slots=True)
class Points:
    """Margins of up to ``MOST_POINTS`` rows whose own answer is another one than the target, side by side."""

    sid: tuple[str, ...]
    status: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    total: int


@dataclass(frozen=True, slots=True)
class Asked:
    """How the base was asked about one row, and what it said.

    Attributes:
        knowledge: name of its class, None where not measured.
        way: in a sentence.
        prompt: the first prompt, as the base read it.
        target, belief: the row's answer; the base's own, None where its answers were empty.
        greedy: per prompt its greedy answer (None: not generated), whether it counts, and p of the target in one draw.
        answers: what it said when asked for its own answer, the greedy one first.
        values: numbers by column, None = not measured.
    """

    knowledge: str | None
    way: str
    prompt: str
    target: str
    belief: str | None
    greedy: tuple[tuple[str | None, bool, float], ...]
    answers: tuple[str, ...]
    values: Mapping[str, float | None]


def missing(run: Run) -> tuple[str, str] | None:
    """Why the run says nothing about knowledge, and what would change that; None where it does."""
    if run.spec.base is None:
        return (
            "This run has no base model, so what it knew before the fine-tune was not measured.",
            "Start a run of the same dataset and checkpoint and give the model before fine-tuning as the base. What "
            "was measured of this run is kept and not measured again.",
        )
    if COLUMN not in {c.name for c in run.columns}:
        return (
            "This run was made before Lacuna measured what the base knew.",
            "Start it again with the same dataset and checkpoints; only what is missing is measured.",
        )
    return None


def summary(run_id: int, chosen: Filter) -> Summary:
    """Classes by status under the filter."""
    run = get_run(run_id)
    with database().reading() as conn:
        cells = verdict_table.group_counts(conn, run, [COLUMN, "status"], chosen)
        kept = any_record(conn, run, BELIEF, BASE)
    counts: list[dict[str, int]] = [{} for _ in CLASSES]
    shown = 0
    for (number, status), n in cells:
        shown += n
        if number is not None:
            counts[int(number)][status or "unknown"] = n
    order = range(len(CLASSES) - 1, -1, -1)
    classes = Breakdown(
        COLUMN, "Knowledge", tuple((CLASSES[k], counts[k]) for k in order), tuple((float(k), float(k)) for k in order)
    )
    return Summary(shown, sum(sum(c.values()) for c in counts), classes, _way(kept) if kept else "")


def points(run_id: int, chosen: Filter) -> Points:
    """Margin of the base's own answer over the target, before and after, where they differ; a part of them if many."""
    run = get_run(run_id)
    wrong = replace(chosen, terms=(*chosen.terms, Term(col.BASE_BELIEF_IS_TARGET, "in", (0,))))
    names = ("status", col.BASE_BELIEF_MARGIN, col.BELIEF_MARGIN)
    with database().reading() as conn:
        rows, total = paths.scatter(conn, run, names, wrong, MOST_POINTS)
    _, sids, statuses, before, after = zip(*rows, strict=True) if rows else ((),) * 5
    return Points(sids, statuses, np.array(before, dtype=np.float64), np.array(after, dtype=np.float64), total)


def listing(run_id: int, chosen: Filter, cursor: str | None = None, limit: int = 50) -> Page:
    """One page of the rows with a class under the filter, each with the base's own answer."""
    run = get_run(run_id)
    known = replace(chosen, terms=(*chosen.terms, Term(COLUMN, "range", (0, None))))
    page = samples.page(run_id, known, cursor, limit)
    with database().reading() as conn:
        sids = [str(r["sid"]) for r in page.rows]
        hashes = [sample_table.get_sample(conn, run.spec.dataset_id, sid).content_hash for sid in sids]
        kept = records(conn, run, BELIEF, hashes, BASE)
    rows = []
    for row, key in zip(page.rows, hashes, strict=True):
        answers = {"belief": kept[key].belief, "target": kept[key].target} if key in kept else {}
        rows.append({**row, "knowledge": CLASSES[int(row[COLUMN])], "belief": None, "target": None, **answers})
    return replace(page, rows=tuple(rows))


def sample(run_id: int, sid: str) -> Asked | None:
    """How the base was asked about one row; None where it was not."""
    run = get_run(run_id)
    if missing(run) is not None:
        return None
    with database().reading() as conn:
        key = sample_table.get_sample(conn, run.spec.dataset_id, sid).content_hash
        kept = records(conn, run, BELIEF, [key], BASE).get(key)
        row = verdict_table.row(conn, run, sid)
    if kept is None:
        return None
    number = row.get(COLUMN)
    return Asked(
        knowledge=None if number is None else CLASSES[int(number)],
        way=_way(kept),
        prompt=kept.prompt,
        target=kept.target,
        belief=kept.belief,
        greedy=tuple((g.answer, g.right, g.p) for g in kept.greedy),
        answers=tuple(kept.answers),
        values={c.name: row.get(c.name) for c in run.columns if c.name.startswith(("base_", "belief_", "output_is"))},
    )


def _way(kept: BaseAnswers) -> str:
    words = {
        "plain": f"in lines of Q and A, {kept.prompts} prompts with four examples each",
        "chat": f"in the chat template, {kept.prompts} prompts with four examples each as earlier turns",
        "as_trained": "with the row's own prompt and no example, because it answers best that way; its ten prompts are "
        "one, and maybe known does not occur",
    }
    text = f"The base was asked {words[kept.way]}."
    return text if kept.way == "as_trained" else f"{text} Examples are {kept.examples}."
