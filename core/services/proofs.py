"""Proofs: trying a recipe out on a copy of the checkpoint, and what was found."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.filters import from_query
from core.plugins import kind, parsed_settings, with_defaults
from core.proof import retraining
from core.proof import training as science
from core.proof.numbers import sentences, summary
from core.services import jobs, proven
from core.services.again import start_of
from core.services.jobs import Work
from core.services.proof_arms import Again, arms_of
from core.services.runs import get_run, need_checkpoint
from core.settings import settings as process
from core.types import Filter, Proof, Run, Setting
from db import proofs as table
from db.session import database


class _Budget:
    """The budget as a kind, so that its values are checked like those of any other."""

    name, label, settings = "proof", "Proof", science.BUDGET


class _AgainBudget:
    """The same for training again from the base."""

    name, label, settings = "proof", "Training again", retraining.BUDGET


def budget(retrain: bool = False) -> tuple[Setting, ...]:
    """What a proof may cost, as the fields of a form."""
    return _budget(retrain).settings


def _budget(retrain: bool) -> type[_Budget] | type[_AgainBudget]:
    return _AgainBudget if retrain else _Budget


def steps(epochs: float, rows: int, batch: int) -> int:
    """The optimiser steps of an arm where the budget leaves them to the recipe."""
    return science.automatic_steps(epochs, rows, batch)


def parsed_budget(texts: Mapping[str, str], retrain: bool = False) -> dict[str, Any]:
    """The budget as it is typed on a command line."""
    return parsed_settings(_budget(retrain), texts)


def need_models(run: Run, retrain: bool = False) -> None:
    """Raises UserError where what a proof trains and compares is not on this machine, or not known."""
    need_checkpoint(run)
    final = run.spec.final
    if final.server is not None:
        raise UserError(
            f"Checkpoint {final.label!r} is held by {final.server.url}.",
            "A proof trains a copy of the weights, and these are not on this machine.",
            "Diagnose the checkpoint from its folder, and prove it there.",
        )
    places = {"the checkpoint": final.path, "the adapter's base": final.base}
    places |= {"the base that the training began with": start_of(run).path} if retrain else {}
    for what, folder in places.items():
        if folder is not None and not Path(folder).is_dir():
            raise UserError(
                f"There is no folder {folder} on this machine.",
                f"A proof trains a copy of the model, and {what} lay there when it was diagnosed.",
                "Put it back, or diagnose the checkpoint again where all of it lies now.",
            )


def start(described: Mapping[str, Any], cost: Mapping[str, Any], retrain: bool = False) -> tuple[int, int]:
    """Stores a proof of what ``mitigation.request`` described and queues it; returns (proof id, job id).

    Args:
        retrain: train again from the base in place of going on from the checkpoint.

    Raises:
        UserError: a model is missing; nothing is stored then.
    """
    request = {**described, "budget": with_defaults(_budget(retrain), cost), **({"retrain": True} if retrain else {})}
    run = get_run(request["run"])
    need_models(run, retrain)
    chosen = from_query(request["filter"], run.columns)
    recipe = kind("recipes", request["recipe"])
    with database().writing() as conn:
        proof_id = table.add(conn, run.id, recipe.name, _only_cause(chosen), request)
    title = f"{'Train again with' if retrain else 'Prove'} {recipe.label.lower()}, run {run.id}"
    job = jobs.enqueue("prove", {"proof": proof_id, "run": run.id}, lane="long", title=title)
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
    arms = arms_of(run, proof, work, folder)
    if "before" not in proof.arms:
        _store(work, proof.id, "before", arms.before())
        proof = get_proof(proof.id)
    watched, before = science.without_right(arms.watched, proof.arms["before"])
    if not watched.treated:
        raise UserError(
            "There is nothing to recover among these samples.",
            f"The checkpoint answers all {len(arms.watched.treated):,} of them rightly.",
            "Choose samples that were not learned.",
        )
    for name in arms.names:
        if name not in proof.arms:
            _store(work, proof.id, name, arms.measure(name, watched))
    work.progress("checking the checkpoint")
    _unchanged(run)
    stored = get_proof(proof.id).arms
    result = summary(before, {name: stored[name] for name in arms.names})
    result |= {
        "off_target_recipe": kind("recipes", proof.recipe).against,
        "selected": arms.selected,
        "samples": [s.id for s in watched.treated],
        "right_before": len(arms.watched.treated) - len(watched.treated),
        "mended": sum(s.id in arms.mended for s in watched.treated),
    }
    if isinstance(arms, Again):
        result["course"] = arms.in_words
    with database().writing() as conn:
        table.finish(conn, proof.id, result)
        proven.write(conn, run)
    return {"proof": proof.id, "outcome": result["outcome"]}


def _stages(proof: Proof) -> dict[str, str]:
    """The stages of the arms that are missing; training, and asking after it, take about as long for every arm."""
    names = retraining.ARMS if proof.request.get("retrain") else science.ARMS
    arms = [name.replace("_", " ") for name in names if name not in proof.arms]
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
