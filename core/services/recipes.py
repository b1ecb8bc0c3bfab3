"""Recipes as forms, the run as their pool, and the plan that comes of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError, unknown_name
from core.filters import BY_PEOPLE, by_people, describe, from_query
from core.plugins import kind, kinds, with_defaults
from core.recipes._base import FileSlot as FileSlot
from core.recipes._base import Plan, Pool, Ruling
from core.recipes._base import Recipe as Recipe
from core.services import words
from core.types import PIPELINE, Decision, Filter, Run, Sample
from db import decisions as decision_table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

# Rows in memory at a time.
BLOCK = 1000


def recipes() -> list[Recipe]:
    """Every recipe; those for one cause each before the repair of pipeline faults."""
    return sorted(kinds("recipes").values(), key=lambda recipe: ("pipeline" in recipe.causes, recipe.name))


def recipe_for(cause: str | None) -> str | None:
    """The recipe made for a cause; None where there is none for it."""
    treated = cause if PIPELINE.member(cause) is None else "pipeline"
    return next((recipe.name for recipe in kinds("recipes").values() if treated in recipe.causes), None)


# ----------------------------------------------------------------------------------------------------- the pool


class RunPool(Pool):
    """A run as recipes see it; see ``core.recipes._base.Pool``. Numbers are kept, rows are read by the block.

    ``judged`` is a filter that says whether reviews count in place of verdicts; its other conditions do not matter.
    """

    def __init__(
        self, run: Run, treated: Iterable[int], files: Mapping[str, Path], judged: Filter | None = None
    ) -> None:
        self._run = run
        self.judged = Filter((BY_PEOPLE,)) if judged is not None and by_people(judged) else Filter()
        self._kinds = {column.name: column.kind for column in run.columns}
        self.n = run.n_samples
        self.treated = np.fromiter(treated, dtype=np.int64)
        self.files = dict(files)
        with database().reading() as conn:
            self.reading = sample_table.get_dataset(conn, run.spec.dataset_id).reading
            decisions = decision_table.decisions(conn, run.spec.dataset_id)
        self.rulings = rulings_of(decisions)

    def numbers(self, column: str) -> np.ndarray:
        """See ``Pool.numbers``."""
        if self._kinds.get(column) not in ("number", "flag"):
            return np.full(self.n, np.nan, dtype=np.float32)
        with database().reading() as conn:
            return verdict_table.verdict_columns(conn, self._run, [column])[column].astype(np.float32)

    def labels(self, column: str) -> tuple[np.ndarray, tuple[str | None, ...]]:
        """See ``Pool.labels``."""
        if self._kinds.get(column) != "category":
            return np.zeros(self.n, dtype=np.int32), (None,)
        with database().reading() as conn:
            codes, values = verdict_table.category_codes(conn, self._run, column, self.judged)
        return codes, tuple(values)

    def select(self, query: str) -> np.ndarray:
        """See ``Pool.select``."""
        chosen = from_query(query, self._run.columns)
        return selected(self._run, replace(chosen, terms=(*chosen.terms, *self.judged.terms)))

    def rows(self, ordinals: Iterable[int]) -> Iterator[Sample]:
        """See ``Pool.rows``."""
        rest = iter(ordinals)
        # A transaction a block: one that is open for the whole walk would keep the write-ahead log from shrinking.
        while block := [int(ordinal) for ordinal in islice(rest, BLOCK)]:
            with database().reading() as conn:
                samples = list(sample_table.iter_samples(conn, self._run.spec.dataset_id, block))
            yield from samples


def selected(run: Run, chosen: Filter) -> np.ndarray:
    """(m,) int64 ordinals of the run's samples that pass the filter, in its order."""
    with database().reading() as conn:
        return np.fromiter(verdict_table.ordinals(conn, run, chosen), dtype=np.int64)


def rulings_of(decisions: Iterable[Decision]) -> dict[str, Ruling]:
    """What was decided on the contradictions page, by content hash of each row; of two decisions the later one."""
    rulings: dict[str, Ruling] = {}
    for decision in decisions:
        for member in decision.members:
            if decision.choice == "both_valid":
                rulings[member] = Ruling("rewrite")
            else:
                rulings[member] = Ruling("keep" if member in decision.kept else "drop")
    return rulings


# ----------------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True)
class Planned:
    """A recipe, what it would make of the pool, and all its settings by name."""

    recipe: Recipe
    plan: Plan
    pool: RunPool
    settings: Mapping[str, Any]


def make_plan(
    run: Run, chosen: Filter, recipe_name: str, settings: Mapping[str, Any], files: Mapping[str, Path]
) -> Planned:
    """What a recipe would make of the run's samples under the filter.

    Raises:
        UserError: no such recipe, setting or file slot, no sample under the filter, or samples it can do nothing with.
    """
    recipe = kind("recipes", recipe_name)
    if run.state != "judged":
        raise UserError(f"Run {run.id} has no verdicts yet.", "A recipe works on judged samples.", "Wait for the run.")
    slots = [slot.name for slot in recipe.files]
    for name, path in files.items():
        if name not in slots:
            raise unknown_name(f"file of {recipe.name}", name, slots)
        if not path.is_file():
            raise UserError(f"{path} is not a file.", "", "Check the path.")
    complete = with_defaults(recipe, settings)
    treated = selected(run, replace(chosen, sort="ordinal", descending=False))
    if not len(treated):
        raise UserError(
            "No sample passes this filter.",
            f"The filter is: {describe(chosen, run.columns, words.value)}.",
            "Choose another one.",
        )
    pool = RunPool(run, treated, files, chosen)
    return Planned(recipe, recipe.plan(pool, complete), pool, complete)
