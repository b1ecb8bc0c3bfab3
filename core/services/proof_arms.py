"""The arms of a proof, decided by the request and its seed alone, so that a resumed proof goes on alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.filters import from_query
from core.plugins import kind, with_defaults
from core.proof import retraining
from core.proof import training as science
from core.proof.copies import as_sample
from core.recipes._base import Made, Plan, as_it_came
from core.recipes._order import Order, drawn
from core.services import again, measurements, mitigation
from core.services.jobs import Work
from core.services.recipes import RunPool, make_plan, selected
from core.settings import settings as process
from core.types import Filter, Proof, Run, Sample, Setting, Term


class Arms:
    """The short continuation: the checkpoint goes on for some steps.

    Attributes:
        names: of the arms, in order. settings: what the budget may say.
        watched: the samples that every arm is measured on.
        selected: how many samples the request selects.
    """

    names: tuple[str, ...] = science.ARMS
    settings: tuple[Setting, ...] = science.BUDGET

    def __init__(self, run: Run, proof: Proof, work: Work, folder: Path) -> None:
        self._run, self._work, self._folder = run, work, folder
        request = proof.request
        # A proof that was queued by an earlier version knows fewer settings.
        self._budget: dict[str, Any] = {s.name: s.default for s in self.settings} | dict(request["budget"])
        self._seed = int(self._budget["proof_seed"])
        self._recipe = kind("recipes", proof.recipe)
        self._settings = with_defaults(self._recipe, {**request["settings"], **self._recipe.proof})
        chosen = from_query(request["filter"], run.columns)
        files = mitigation.paths(request)
        planned = make_plan(run, chosen, proof.recipe, self._settings, files)
        plan, pool = planned.plan, planned.pool
        self.selected = len(pool.treated)
        if not len(plan.counted):
            raise UserError(
                f"“{self._recipe.label}” with these settings teaches none of the selected samples.",
                "; ".join(plan.notes) or "It leaves rows out, or no side of a contradiction is decided.",
                "Choose settings under which samples are kept or taught.",
            )
        treated = np.sort(drawn(plan.counted, min(len(plan.counted), int(self._budget["samples"])), self._seed))
        self._pool = pool
        self._treated = treated
        self._given_up = plan.given_up
        # Sides that are not counted belong to the contradiction: the recipe must see the whole of it.
        self._plan = self._recipe.plan(RunPool(run, treated, files, pool.judged), self._settings)
        learned, guard = self._learned()
        aside = np.setdiff1d(plan.counted, treated)
        aside = np.sort(drawn(aside, min(len(aside), len(treated)), self._seed + 4))
        learned_rows, mixed, guarded = (tuple(pool.rows(ordinals)) for ordinals in (learned, self._mixed(), guard))
        self.mended: set[str] = set()
        self.watched = science.Watched(
            self._mended(plan, treated), learned_rows, mixed, guarded, self._mended(plan, aside)
        )

    def _learned(self) -> tuple[np.ndarray, np.ndarray]:
        """Learned samples to watch, and others that limit the training: at most half of what there is."""
        learned = selected(self._run, Filter((Term("status", "in", ("learned",)),)))
        learned = np.setdiff1d(learned, np.union1d(self._pool.treated, self._given_up))
        order = drawn(learned, len(learned), self._seed + 1)
        guarding = min(len(order) // 2, int(self._budget.get("guard", 0)))
        watched = min(len(order) - guarding, int(self._budget["learned"]))
        return np.sort(order[:watched]), np.sort(order[watched : watched + guarding])

    def _mended(self, plan: Plan, ordinals: np.ndarray) -> tuple[Sample, ...]:
        """The samples with the answers that the recipe means to teach."""
        both = [(sample, plan.mended(sample)) for sample in self._pool.rows(ordinals)]
        self.mended |= {sample.id for sample, made in both if made is not None}
        return tuple(sample if made is None else as_sample(made, self._pool.reading) for sample, made in both)

    def _mixed(self) -> np.ndarray:
        n = self._pool.n
        return np.sort(drawn(np.arange(n), min(n, int(self._budget["samples"])), self._seed + 2))

    @cached_property
    def _other_plan(self) -> Plan:
        """What the recipe set against it makes of the same samples."""
        other = kind("recipes", self._recipe.against)
        pool = RunPool(self._run, self._treated, {}, self._pool.judged)
        return other.plan(pool, with_defaults(other, other.proof))

    def before(self) -> dict[str, Any]:
        """The diagnosed checkpoint itself, measured."""
        return self._bench(self.watched).measure("before", self._run.spec.final)

    def measure(self, name: str, watched: science.Watched) -> dict[str, Any]:
        """The arm, trained and measured on these samples."""
        return self._bench(watched).arm(name.replace("_", " "), self._rows(name))

    def _cost(self) -> dict[str, Any]:
        return science.settled(self._budget, self._plan)

    def _bench(self, watched: science.Watched) -> science.Bench:
        return science.Bench(
            self._run.spec, self._run.thresholds, self._pool.reading, watched, self._cost(), self._folder,
            process().device, self._work.progress,
        )  # fmt: skip

    def _rows(self, arm: str) -> Callable[[], Iterator[Made]]:
        """What the arm trains on."""
        if arm == "control":
            return self._uniform
        return self._plan.rows if arm == "treatment" else self._other_plan.rows

    def _uniform(self) -> Iterator[Made]:
        n = self._pool.n
        order = Order(n, self._seed + 3)(np.arange(n))
        return (as_it_came(s, "uniform") for s in self._pool.rows(order))


class Again(Arms):
    """Training again from the base."""

    names = retraining.ARMS
    settings = retraining.BUDGET

    def __init__(self, run: Run, proof: Proof, work: Work, folder: Path) -> None:
        super().__init__(run, proof, work, folder)
        self._start = again.start_of(run)
        self._stages = again.stages(self._pool)
        self.course = retraining.course(self._budget, measurements.facts_of(run), len(self._stages))
        self._taught = self._taught_by(self._plan, self._recipe)
        # Rows of an arm in all its passes: of the dataset, and beside it.
        n, wanted, left_out = len(self._taught), self._plan.training.epochs, again.left_out(self._plan)
        self.of_dataset, self.n_added = retraining.lengths(self._stages, self.course, n, wanted, left_out)
        self.in_words = retraining.in_words(self._stages, self.course, wanted, bool(n and self.of_dataset))

    def _cost(self) -> dict[str, Any]:
        method = again.method_of(self._run, str(self._budget["method"]))
        return {**self._budget, "batch": self.course.batch, "learning_rate": self.course.learning_rate,
                "method": method, "keep": 0.0, "anchored": False}  # fmt: skip

    def measure(self, name: str, watched: science.Watched) -> dict[str, Any]:
        """See ``Arms.measure``."""
        return self.trained(name, watched, self.n_added)

    def trained(self, name: str, watched: science.Watched, n_added: int) -> dict[str, Any]:
        """The arm with ``n_added`` rows beside those of the dataset, in all its passes, trained and measured."""
        like = self._run.spec.final if self._run.spec.final.base is not None else None
        return self._bench(watched).retrained(name.replace("_", " "), self.stages(name, n_added), self._start, like)

    def stages(self, name: str, n_added: int) -> list[list[Made]]:
        """The rows of the arm, stage by stage."""
        added, left_out, shuffled = self._changes(name)
        parts = retraining.arm(
            self._stages, self.course, self.of_dataset + n_added, len(added), n_added,
            retraining.seed_of(name, self._seed), left_out, shuffled,
        )  # fmt: skip
        return [[self._dataset[at] if at >= 0 else added[-1 - at] for at in part.tolist()] for part in parts]

    def _changes(self, arm: str) -> tuple[list[Made], np.ndarray, bool]:
        """What the arm adds to the dataset, what it leaves out, and whether it mixes the stages."""
        nothing = np.empty(0, dtype=np.int64)
        if arm == "again":
            return [], nothing, False
        if arm == "control":
            n = self._pool.n
            ordinals = drawn(np.arange(n), max(len(self._taught), 1), self._seed + 3)
            return [self._dataset[int(ordinal)] for ordinal in ordinals], nothing, False
        own = arm == "treatment"
        recipe = self._recipe if own else kind("recipes", self._recipe.against)
        plan = self._plan if own else self._other_plan
        left_out = again.left_out(plan)
        return (self._taught if own else self._taught_by(plan, recipe)), left_out, recipe.shuffles

    def _taught_by(self, plan: Plan, recipe: Any) -> list[Made]:
        """The rows of the plan that teach, in its order."""
        return list(again.taught(plan, recipe, (sample.id for sample in self.watched.treated)))

    @cached_property
    def _dataset(self) -> Mapping[int, Made]:
        """Every row of the dataset by its ordinal."""
        n = range(self._pool.n)
        return {i: as_it_came(s, "dataset") for i, s in zip(n, self._pool.rows(n), strict=True)}


def arms_of(run: Run, proof: Proof, work: Work, folder: Path) -> Arms:
    """The arms that the proof's request asks for."""
    return (Again if proof.request.get("retrain") else Arms)(run, proof, work, folder)
