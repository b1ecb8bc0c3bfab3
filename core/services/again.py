"""Training again from the base: the dataset with a recipe's rows in it, for the arms of a proof and for an export."""

from __future__ import annotations

import json
import weakref
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from core.checkpoint.facts import AdapterFacts
from core.checkpoint.folders import read_folder
from core.errors import UserError
from core.plugins import with_defaults
from core.proof import retraining
from core.proof.copies import usual_rate
from core.proof.retraining import Course
from core.recipes._base import Made, Plan, Pool, Recipe, Training, as_it_came
from core.recipes._order import blocks
from core.services.measurements import facts_of
from core.types import Checkpoint, Run, Setting

SETTINGS: tuple[Setting, ...] = retraining.COURSE


class Kind:
    """The course as a kind, so that its values are checked like those of any other."""

    name, label, settings = "training again", "Training again", SETTINGS


def has_base(run: Run) -> bool:
    """Whether the base is known that the training began with."""
    return run.spec.base is not None or run.spec.final.base is not None


def start_of(run: Run) -> Checkpoint:
    """The base that the training began with.

    Raises:
        UserError: it is not known.
    """
    final = run.spec.final
    if run.spec.base is not None:
        return run.spec.base
    if final.base is not None:
        return Checkpoint(final.base, None, None, "base", f"base of {final.fingerprint}", final.tokenizer)
    raise UserError(
        "The base that this training began with is not known.",
        "The run was made without a base model, and training again begins there.",
        "Diagnose the checkpoint with its base, or go on from the checkpoint.",
    )


def stages(pool: Pool) -> list[np.ndarray]:
    """Ordinals of each stage of the dataset, in the order in which the training met them."""
    return retraining.stages_of(pool.labels("stage")[0])


def taught(plan: Plan, recipe: Recipe, treated: Iterable[str]) -> Iterator[Made]:
    """The rows of the plan that teach, in its order.

    Args:
        treated: ids of the samples that it means to teach.
    """
    if recipe.taught:
        return (row for row in plan.rows() if row.part in recipe.taught)
    ids = set(treated)
    return (row for row in plan.rows() if row.source in ids)


def left_out(plan: Plan) -> np.ndarray:
    """Ordinals of the dataset that are not trained on when the recipe's rows stand beside it."""
    return np.union1d(plan.given_up, plan.replaced)


def method_of(run: Run, wanted: str) -> str:
    """``lora`` or ``full``: as wanted, else as the diagnosed model was trained."""
    return wanted if wanted != "auto" else "full" if run.spec.final.base is None else "lora"


# --------------------------------------------------------------------------------------------------- as an export


@dataclass(frozen=True, slots=True)
class Again:
    """What a trainer needs besides the rows.

    Attributes:
        plan: the dataset with the recipe's rows in it.
        start: where it begins.
        course: its ``learning_rate`` is always given.
        in_words: the course, and how often rows of the recipe come.
        adapter: shape of the new adapter, None where all weights are trained.
        n_left_out: rows of the dataset that are left out.
    """

    plan: Plan
    start: Checkpoint
    course: Course
    in_words: list[str]
    adapter: AdapterFacts | None
    n_left_out: int


def settings_of(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the recipe; what stands at its default is as in a proof."""
    complete = with_defaults(recipe, settings)
    usual = {setting.name: setting.default for setting in recipe.settings}
    return {n: recipe.proof[n] if n in recipe.proof and v == usual[n] else v for n, v in complete.items()}


def plan_again(run: Run, recipe: Recipe, plan: Plan, pool: Pool, wanted: Mapping[str, Any], seed: int) -> Again:
    """The dataset with what the plan teaches spread in it, as the treatment's arm of a proof has it.

    The rows that teach are kept in a file meanwhile, and those of the dataset are read as they are written: what stays
    in memory is a number a row.

    Raises:
        UserError: the base is not known, the plan teaches nothing and leaves nothing out, or no row is left to train
            on.
    """
    start = start_of(run)
    of_stages = stages(pool)
    treated = (sample.id for sample in pool.rows(plan.counted.tolist()))
    # Where none of the selected samples is kept, a rewritten row still stands in the place of its own.
    teaching = (row for row in taught(plan, recipe, treated) if row.change or len(plan.counted))
    beside, without = _Kept(teaching), left_out(plan)
    if not len(beside) and not len(without):
        raise UserError(
            f"“{recipe.label}” with these settings changes nothing in the dataset.",
            "It teaches none of the selected samples and leaves none out.",
            "Choose settings under which samples are kept or taught.",
        )
    course, adapter, notes = _course(run, start, wanted, len(of_stages))
    seed = retraining.seed_of("treatment", seed)
    file = retraining.as_file(of_stages, course, len(beside), plan.training.epochs, seed, without, recipe.shuffles)
    if not len(file.places):
        raise UserError(
            f"“{recipe.label}” with these settings leaves out every row of the dataset.",
            "It puts none in their place, so nothing is left to train on.",
            "Choose a filter that selects fewer samples.",
        )
    counts = Counter({"dataset": int((file.places >= 0).sum())})
    for part, code in beside.parts.items():
        counts[part] += int((beside.codes[-1 - file.places[file.places < 0]] == code).sum())
    how = retraining.in_words(of_stages, course, plan.training.epochs, bool(len(beside) and counts["dataset"]))
    said = [f"Trains again from the base, the dataset with these rows in it: {'; '.join(how)}."]
    if file.in_order:
        said.append("Every pass is written out, in the order in which to train: one epoch goes over the file.")
    if 0 < 2 * counts["dataset"] < len(file.places):
        why = ": a log counts one where passes were written out" if course.origin["epochs"] == retraining.LOGGED else ""
        said.append(
            f"Only {counts['dataset']:,} of {len(file.places):,} rows are of the dataset. Give more epochs if the "
            f"training had more{why}."
        )
    if len(without):
        said.append(f"{len(without):,} rows of the dataset are left out.")
    training = Training(file.epochs, file.in_order, course.batch, plan.training.max_length, (*said, *notes))
    about = tuple(note for note in plan.notes if note not in plan.of_mix)
    made = Plan(lambda: _walk(pool, beside, file.places), dict(counts), training, plan.counted, about, without)
    return Again(made, start, course, how, adapter, len(without))


class _Kept:
    """Rows in a file without a name: they are many, and are read in another order than they were made in.

    Attributes:
        parts: name to code. codes: (n,) part of each row.
    """

    def __init__(self, rows: Iterable[Made]) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - open as long as this lives
        weakref.finalize(self, self._file.close)
        self.parts: dict[str, int] = {}
        places, codes = array("q", [0]), array("i")
        for row in rows:
            raw, before = (text.decode("utf-8", "surrogateescape") for text in (row.raw, row.before))
            line = json.dumps([raw, row.source, row.part, row.change, before]).encode() + b"\n"
            places.append(places[-1] + self._file.write(line))
            codes.append(self.parts.setdefault(row.part, len(self.parts)))
        self._places = np.array(places, dtype=np.int64)
        self.codes = np.array(codes, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, at: int) -> Made:
        self._file.seek(int(self._places[at]))
        raw, source, part, change, before = json.loads(self._file.readline())
        return Made(_bytes(raw), source, part, change, _bytes(before))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _walk(pool: Pool, beside: _Kept, places: np.ndarray) -> Iterator[Made]:
    for block in blocks(len(places)):
        here = places[block]
        dataset = pool.rows(here[here >= 0].tolist())
        for at in here:
            yield as_it_came(next(dataset), "dataset") if at >= 0 else beside[-1 - int(at)]


def _course(
    run: Run, start: Checkpoint, wanted: Mapping[str, Any], n_stages: int
) -> tuple[Course, AdapterFacts | None, list[str]]:
    """How to train, the shape of the adapter, and what a person should know of both."""
    course = retraining.course(wanted, facts_of(run), n_stages)
    method, notes = method_of(run, str(wanted["method"])), []
    adapter = None
    if method == "lora":
        adapter = _adapter(run)
        if run.spec.final.base is not None and adapter is None:
            notes.append("The shape of the adapter could not be read: a usual one stands in the configurations.")
        elif adapter is not None and adapter.special:
            special = ", ".join(adapter.special)
            notes.append(f"The adapter was trained with {special}; the configurations say plain LoRA. Add it there.")
        adapter = adapter or USUAL
    if not course.learning_rate:
        size = _parameters(run, start)
        by = "by method and size of the model" if size else "by method"
        rate = usual_rate(size or 1_000_000_000, method)
        course = replace(course, learning_rate=rate, origin={**course.origin, "learning_rate": by})
    return course, adapter, notes


# As proofs train an adapter where none shows its shape.
USUAL = AdapterFacts("LORA", 16, (), "", 0, alpha=32)


def _adapter(run: Run) -> AdapterFacts | None:
    """The diagnosed adapter; None where its folder is not here."""
    facts = _facts(run.spec.final) if run.spec.final.base is not None and not run.spec.origin else None
    return None if facts is None or facts.adapter is None or facts.adapter.r is None else facts.adapter


def is_here(run: Run, model: Checkpoint) -> bool:
    """Whether its weights are in a folder here; those of an adapter's base may be elsewhere."""
    return model.has_weights and model.server is None and folder_is_here(run, model.path)


def folder_is_here(run: Run, path: str) -> bool:
    """The paths of a run that was opened from a bundle are those of another machine, whatever lies there here."""
    return not run.spec.origin and Path(path).is_dir()


def _parameters(run: Run, start: Checkpoint) -> int | None:
    """Of the base; where it is not here, as the run's card has it: the diagnosed model, or its base, is as large."""
    facts = _facts(start) if is_here(run, start) else None
    if facts is not None:
        return int(facts.n_parameters)
    recorded = ((run.summary.get("card") or {}).get("facts") or {}).get("parameters")
    return recorded if type(recorded) is int and recorded > 0 else None


def _facts(checkpoint: Checkpoint) -> Any:
    try:
        return read_folder(Path(checkpoint.path)) if checkpoint.has_weights else None
    except (UserError, OSError):
        return None
