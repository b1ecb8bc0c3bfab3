"""Proofs: trying a recipe out on a copy of the checkpoint, and what was found."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.filters import from_query
from core.plugins import kind, parsed_settings, with_defaults
from core.proof import training as science
from core.proof.numbers import sentences, summary
from core.recipes._base import Made, as_it_came
from core.recipes._order import Order, drawn
from core.services import jobs, mitigation, proven
from core.services.jobs import Work
from core.services.recipes import RunPool, make_plan, selected
from core.services.runs import get_run, need_checkpoint
from core.settings import settings as process
from core.types import Filter, Proof, Run, Setting, Term
from db import proofs as table
from db.session import database


class _Budget:
    """The budget as a kind, so that its values are checked like those of any other."""

    name, label, settings = "proof", "Proof", science.BUDGET


def budget() -> tuple[Setting, ...]:
    """What a proof may cost, as the fields of a form."""
    return science.BUDGET


def steps(epochs: float, rows: int, batch: int) -> int:
    """The optimiser steps of an arm where the budget leaves them to the recipe."""
    return science.automatic_steps(epochs, rows, batch)


def parsed_budget(texts: Mapping[str, str]) -> dict[str, Any]:
    """The budget as it is typed on a command line."""
    return parsed_settings(_Budget, texts)


def start(described: Mapping[str, Any], cost: Mapping[str, Any]) -> tuple[int, int]:
    """Stores a proof of what ``mitigation.request`` described and queues it; returns (proof id, job id)."""
    request = {**described, "budget": with_defaults(_Budget, cost)}
    run = get_run(request["run"])
    need_checkpoint(run)
    chosen = from_query(request["filter"], run.columns)
    recipe = kind("recipes", request["recipe"])
    with database().writing() as conn:
        proof_id = table.add(conn, run.id, recipe.name, _only_cause(chosen), request)
    job = jobs.enqueue(
        "prove", {"proof": proof_id, "run": run.id}, lane="long", title=f"Prove {recipe.label.lower()}, run {run.id}"
    )
    with database().writing() as conn:
        table.set_job(conn, proof_id, job)
    return proof_id, job


def _only_cause(chosen: Filter) -> str | None:
    causes = [t.values for t in chosen.terms if t.column == "cause" and t.op == "in"]
    return str(causes[0][0]) if len(causes) == 1 and len(causes[0]) == 1 and causes[0][0] is not None else None


def get_proof(proof_id: int) -> Proof:
    with database().reading() as conn:
        return table.get(conn, proof_id)


def of_run(run_id: int) -> list[Proof]:
    """The run's proofs, newest first."""
    with database().reading() as conn:
        return table.list_proofs(conn, run_id)


def delete(proof_id: int) -> None:
    """Deletes a proof and stops the job that works on it."""
    proof = get_proof(proof_id)
    if proof.job_id is not None and proof.result is None:
        jobs.cancel_job(proof.job_id)
    with database().writing() as conn:
        table.remove(conn, proof_id)
        if proof.result is not None:
            proven.write(conn, get_run(proof.run_id))


def in_words(proof: Proof) -> tuple[str, ...]:
    """What a finished proof found: the shares, what they mean, the damage; empty for one that is not finished."""
    if proof.result is None:
        return ()
    recipe = kind("recipes", proof.recipe)
    return sentences(proof.result, f"“{recipe.label}”", f"“{kind('recipes', recipe.against).label}”")


# ------------------------------------------------------------------------------------------- run by the worker


def handle_prove(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Trains and measures the arms that are missing. Stopped anywhere, a later call begins with the arm at hand."""
    proof = get_proof(payload["proof"])
    folder = process().data_dir / "proofs" / str(proof.id)
    shutil.rmtree(folder, ignore_errors=True)  # what a killed worker left of an arm
    try:
        return _prove(work, proof, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prove(work: Work, proof: Proof, folder: Path) -> Mapping[str, Any]:
    run = get_run(proof.run_id)
    work.plan(_stages(proof))
    work.progress("checking the checkpoint")
    _unchanged(run)
    ready = _Ready(run, proof, work, folder)
    if "before" not in proof.arms:
        _store(work, proof.id, "before", ready.bench(ready.watched).measure("before", run.spec.final))
        proof = get_proof(proof.id)
    watched, before = science.without_right(ready.watched, proof.arms["before"])
    if not watched.treated:
        raise UserError(
            "There is nothing to recover among these samples.",
            f"The checkpoint answers all {len(ready.watched.treated):,} of them rightly.",
            "Choose samples that were not learned.",
        )
    bench = ready.bench(watched)
    for name in science.ARMS:
        if name not in proof.arms:
            _store(work, proof.id, name, bench.arm(name.replace("_", " "), ready.rows(name)))
    work.progress("checking the checkpoint")
    _unchanged(run)
    arms = get_proof(proof.id).arms
    result = summary(before, {name: arms[name] for name in science.ARMS})
    result |= {
        "off_target_recipe": kind("recipes", proof.recipe).against,
        "selected": ready.selected,
        "samples": [s.id for s in watched.treated],
        "right_before": len(ready.watched.treated) - len(watched.treated),
    }
    with database().writing() as conn:
        table.finish(conn, proof.id, result)
        proven.write(conn, run)
    return {"proof": proof.id, "outcome": result["outcome"]}


def _stages(proof: Proof) -> dict[str, str]:
    """The stages of the arms that are missing; training, and asking after it, take about as long for every arm."""
    arms = [name.replace("_", " ") for name in science.ARMS if name not in proof.arms]
    stages = {"checking the checkpoint": ""}
    if "before" not in proof.arms:
        stages["before: asking"] = "asking"
    for arm in arms:
        stages |= {f"{arm}: making rows": "", f"{arm}: training": "training", f"{arm}: asking": "asking"}
    return stages


def _store(work: Work, proof_id: int, name: str, measured: Mapping[str, Any]) -> None:
    work.progress(
        f"{name.replace('_', ' ')}: stored", 1, 1, "", lambda conn: table.add_arm(conn, proof_id, name, measured)
    )


def _unchanged(run: Run) -> None:
    """Raises UserError where the checkpoint is not, or no longer, the one that was diagnosed."""
    final = run.spec.final
    present = as_checkpoint(Path(final.path), None if final.base is None else Path(final.base), final.label)
    if present.fingerprint != final.fingerprint:
        raise UserError(
            f"The files of checkpoint {final.label!r} have changed since it was diagnosed.",
            f"Its folder is {final.path}; a proof trains a copy and never writes there.",
            "Put the diagnosed files back, or diagnose the checkpoint as it is now.",
        )


class _Ready:
    """Everything an arm needs, decided by the request and its seed alone, so that a resumed proof goes on alike."""

    def __init__(self, run: Run, proof: Proof, work: Work, folder: Path) -> None:
        self._run, self._work, self._folder = run, work, folder
        request = proof.request
        self._budget = request["budget"]
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
        self._files = files
        self._treated = treated
        self._given_up = plan.given_up
        # Sides that are not counted belong to the contradiction: the recipe must see the whole of it.
        self._plan = self._recipe.plan(RunPool(run, treated, files, pool.judged), self._settings)
        self._budget = science.settled(self._budget, self._plan)
        self.watched = science.Watched(*(tuple(pool.rows(o)) for o in (treated, self._learned(), self._mixed())))

    def _learned(self) -> np.ndarray:
        learned = selected(self._run, Filter((Term("status", "in", ("learned",)),)))
        learned = np.setdiff1d(learned, np.union1d(self._pool.treated, self._given_up))
        return np.sort(drawn(learned, min(len(learned), int(self._budget["learned"])), self._seed + 1))

    def _mixed(self) -> np.ndarray:
        n = self._pool.n
        return np.sort(drawn(np.arange(n), min(n, int(self._budget["samples"])), self._seed + 2))

    def bench(self, watched: science.Watched) -> science.Bench:
        return science.Bench(
            self._run.spec, self._run.thresholds, self._pool.reading, watched, self._budget, self._folder,
            process().device, self._work.progress,
        )  # fmt: skip

    def rows(self, arm: str) -> Callable[[], Iterator[Made]]:
        """What the arm trains on."""
        if arm == "control":
            return self._uniform
        if arm == "treatment":
            return self._plan.rows
        other = kind("recipes", self._recipe.against)
        return other.plan(
            RunPool(self._run, self._treated, {}, self._pool.judged), with_defaults(other, other.proof)
        ).rows

    def _uniform(self) -> Iterator[Made]:
        n = self._pool.n
        order = Order(n, self._seed + 3)(np.arange(n))
        return (as_it_came(s, "uniform") for s in self._pool.rows(order))
