"""From selected samples to rows to train on: preview, export to a folder, and the files of an export."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection

from core.checkpoint.facts import AdapterFacts
from core.errors import UserError
from core.exports._base import Bundle, Lora
from core.exports._folder import Written, write
from core.filters import by_people, describe, from_query, to_text
from core.plugins import kind, with_defaults
from core.presets._base import Configuring
from core.recipes._base import Pool, Training
from core.recipes._preview import preview
from core.rendering.tokenizers import template_in
from core.services import again, jobs, labels, uploads
from core.services.again import Again
from core.services.jobs import Work
from core.services.recipes import Planned, make_plan
from core.services.runs import get_run
from core.settings import settings as process
from core.signals import _columns as col
from core.signals._instruments import tokenizer_folder
from core.types import Filter, Run
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

PREVIEW_ROWS = 8
# Characters of a raw row or a changed field that a preview carries.
PREVIEW_CHARS = 2000
# What configurations name in place of a folder that is not on this machine.
MODEL, BASE = "path/to/your/model", "path/to/your/base"
# What PEFT takes lora_alpha to be where an adapter does not say.
PEFT_ALPHA = 8


# -------------------------------------------------------------------------------------------------- the request


def request(
    run_id: int,
    chosen: Filter,
    recipe: str,
    settings: Mapping[str, Any],
    uploaded: Mapping[str, str],
    files: Mapping[str, Path] | None = None,
    course: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a job needs to know, checked: the run, filter as text, recipe, settings and files.

    Args:
        uploaded: file slot to the id of an upload; all that a browser may name.
        files: file slot to a path, for the command line.
        course: how to train again from the base, with the dataset in the export; None: go on with these rows.
    """
    return {
        "run": run_id,
        "filter": to_text(replace(chosen, sort="ordinal", descending=False)),
        "recipe": recipe,
        "settings": with_defaults(kind("recipes", recipe), settings),
        "uploads": dict(uploaded),
        "files": {slot: str(path) for slot, path in (files or {}).items()},
        **({} if course is None else {"again": with_defaults(again.Kind, course)}),
    }


def paths(requested: Mapping[str, Any]) -> dict[str, Path]:
    """File slot to path of what ``request`` described."""
    uploaded = {slot: uploads.finish(upload).path for slot, upload in requested["uploads"].items()}
    return uploaded | {slot: Path(path) for slot, path in requested["files"].items()}


def start_preview(requested: Mapping[str, Any]) -> int:
    """Queues a preview of what ``request`` described; returns the job's id."""
    return jobs.enqueue("preview_mitigation", requested, title=f"Preview {_label(requested)}")


def start_export(requested: Mapping[str, Any]) -> int:
    """Queues the export of what ``request`` described; returns the job's id."""
    _drop_orphans()
    return jobs.enqueue("mitigate", requested, title=f"Export {_label(requested)}")


def _label(requested: Mapping[str, Any]) -> str:
    way = ", trained again" if "again" in requested else ""
    return f"{kind('recipes', requested['recipe']).label.lower()} for run {requested['run']}{way}"


def _planned(
    run: Run, chosen: Filter, recipe: str, settings: Mapping[str, Any], files: Mapping[str, Path],
    course: Mapping[str, Any] | None,
) -> tuple[Planned, Again | None]:  # fmt: skip
    """What is written; to train again from the base, the dataset with what the recipe teaches in it."""
    if course is None:
        return _with_gaps(run, make_plan(run, chosen, recipe, settings, files), None), None
    again.start_of(run)
    own = kind("recipes", recipe)
    planned = make_plan(run, chosen, recipe, again.settings_of(own, settings), files)
    seed = int(planned.settings.get("seed", 0))
    whole = again.plan_again(run, own, planned.plan, planned.pool, with_defaults(again.Kind, course), seed)
    return _with_gaps(run, replace(planned, plan=whole.plan), whole), whole


def _with_gaps(run: Run, planned: Planned, whole: Again | None) -> Planned:
    """The plan with a note on every folder that a person must fill in."""
    gaps = [folder for folder in _folders(run, whole) if folder in (MODEL, BASE)]
    training = planned.plan.training
    notes = [f"{gap} stands for a folder that is not on this machine: put yours there." for gap in gaps]
    training = replace(training, notes=(*training.notes, *notes))
    return replace(planned, plan=replace(planned.plan, training=training))


def _folders(run: Run, whole: Again | None) -> tuple[str, str | None]:
    """Where the model to start from lies, and the base of an adapter that goes on."""
    if whole is not None:
        return whole.start.path if again.is_here(run, whole.start) else BASE, None
    final = run.spec.final
    base = BASE if final.base is not None and not again.folder_is_here(run, final.base) else final.base
    return final.path if again.is_here(run, final) else MODEL, base


# -------------------------------------------------------------------------------------------------- the preview


def handle_preview(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first rows of what ``request`` described, with their changes, and all counts."""
    work.progress("reading the rows")
    run = get_run(payload["run"])
    chosen = from_query(payload["filter"], run.columns)
    planned, _ = _planned(run, chosen, payload["recipe"], payload["settings"], paths(payload), payload.get("again"))
    plan = planned.plan
    return {
        "treated": len(planned.pool.treated),
        "counted": len(plan.counted),
        "parts": dict(plan.counts),
        "total": plan.total,
        "notes": [*plan.notes, *plan.training.notes],
        "training": _training(plan.training),
        "expects": planned.recipe.expects,
        "risks": list(planned.recipe.risks),
        "rows": [
            {
                "sample": row.source,
                "part": row.part,
                "change": row.change,
                "raw": row.raw[:PREVIEW_CHARS].decode("utf-8", "replace"),
                "diff": [{key: _short(value) for key, value in change.items()} for change in changes],
            }
            for row, changes in preview(plan, PREVIEW_ROWS)
        ],
    }


def _training(training: Training) -> dict[str, Any]:
    return {"epochs": training.epochs, "sequential": training.sequential, "batch": training.batch,
            "max_length": training.max_length}  # fmt: skip


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= PREVIEW_CHARS else text[:PREVIEW_CHARS] + "…"


# --------------------------------------------------------------------------------------------------- the export


def export(
    run_id: int,
    chosen: Filter,
    recipe: str,
    settings: Mapping[str, Any],
    out: Path,
    files: Mapping[str, Path],
    progress: Callable[[int, int], None],
    course: Mapping[str, Any] | None = None,
) -> Written:
    """Writes rows, manifest and training configurations into ``out``; rows stream, memory stays flat.

    Args:
        course: how to train again from the base (``again.SETTINGS``), with the dataset in the export; None: go on from
            the checkpoint with the recipe's rows.
    """
    run = get_run(run_id)
    planned, whole = _planned(run, chosen, recipe, settings, files, course)
    with database().reading() as conn:
        dataset = sample_table.get_dataset(conn, run.spec.dataset_id)
        causes = _causes(conn, run, chosen)
        judgement = labels.facts(conn, run)
    about = {
        "run": {"id": run.id, "name": run.name, "spec_hash": run.spec.hash, "checkpoint": run.spec.final.fingerprint},
        "dataset": {"name": dataset.name, "files": list(dataset.files), "fingerprint": dataset.fingerprint},
        "filter": {"query": to_text(chosen), "words": describe(chosen, run.columns)},
        "treated": {"samples": len(planned.pool.treated), "by_cause": causes},
        "people": judgement | {"counted_in_place_of_verdicts": by_people(chosen)},
        "settings": planned.settings,
        "starts_from": _start(run, whole),
        "files": {name: {"name": path.name, "sha256": _sha256(path)} for name, path in files.items()},
    }
    return write(out, planned.recipe, planned.plan, about, _bundle(run, planned, whole), progress)


def _start(run: Run, whole: Again | None) -> dict[str, Any]:
    """Which of the two an export is, for its manifest."""
    if whole is None:
        return {"checkpoint": run.spec.final.label, "rows": "these rows"}
    return {
        "base": whole.start.label,
        "rows": "the dataset with these rows in it",
        "method": "full" if whole.adapter is None else "lora",
        "learning_rate": whole.course.learning_rate,
        "course": whole.in_words,
        "left_out": whole.n_left_out,
    }


def _bundle(run: Run, planned: Planned, whole: Again | None = None) -> Bundle:
    """What trainers must know; how the rows look is read off the first of the selected samples."""
    pool, training = planned.pool, planned.plan.training
    preset, preset_settings = kind("presets", run.spec.preset), run.spec.preset_settings
    format, mapping = kind("formats", pool.reading.format), pool.reading.mapping
    sample = next(pool.rows(pool.treated[:1].tolist()))
    model, base = _folders(run, whole)
    bundle = Bundle(
        model=model,
        base=base,
        template="" if run.spec.origin or not run.spec.final.path else template_in(tokenizer_folder(run.spec.final)),
        format=format.label,
        layout=format.describe(json.loads(sample.raw), mapping) if format.describe else None,
        columns=format.trained_columns(mapping),
        training=training,
        loss_on_prompt=preset.loss_on_prompt(sample, preset_settings),
        max_length=training.max_length or int(preset_settings.get(preset.length_setting) or 0) or _longest(pool),
        seed=int(planned.settings.get("seed", 0)),
        title=f"{planned.recipe.label}, for run {run.id} ({run.name})",
        trainer=preset.name,
        own=preset.configuration(preset_settings) if isinstance(preset, Configuring) else {},
    )
    return bundle if whole is None else _from_base(run, bundle, whole)


def _from_base(run: Run, bundle: Bundle, whole: Again) -> Bundle:
    start, lora = whole.start, None
    if whole.adapter is not None:
        shape = whole.adapter
        alpha = PEFT_ALPHA if shape.alpha is None else shape.alpha
        # TRL takes whole numbers only.
        alpha = int(alpha) if alpha == int(alpha) else alpha
        lora = Lora(shape.r or 16, alpha, _targets(shape), shape.dropout)
    # A base need not have the template that the training used.
    own = bool(bundle.template) and again.is_here(run, start) and template_in(start.path) == bundle.template
    return replace(
        bundle,
        lora=lora,
        rate=whole.course.learning_rate,
        templated="" if own or not bundle.template else tokenizer_folder(run.spec.final),
        title=f"{bundle.title}: train again from the base",
    )


def _targets(shape: AdapterFacts) -> tuple[str, ...] | str:
    return () if shape.target_modules == "all-linear" else shape.target_modules


def _longest(pool: Pool) -> int:
    """Tokens that hold every row of the run and the little that recipes add: the next multiple of 256."""
    tokens = pool.numbers(col.N_TOKENS)
    longest = float(np.nanmax(tokens)) if np.isfinite(tokens).any() else 1984.0
    return int(-(-(longest + 64) // 256) * 256)


def _causes(conn: Connection, run: Run, chosen: Filter) -> dict[str, int]:
    if not any(column.name == "cause" for column in run.columns):
        return {}
    counts = verdict_table.group_counts(conn, run, ["cause"], chosen)
    return {"not judged" if cause is None else str(cause): n for (cause,), n in counts}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def handle_mitigate(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Exports what ``request`` described into a folder of the job's own."""
    run = get_run(payload["run"])
    chosen = from_query(payload["filter"], run.columns)
    out = _folder(work.job_id)
    shutil.rmtree(out, ignore_errors=True)  # what a killed worker left of it
    try:
        written = export(
            run.id, chosen, payload["recipe"], payload["settings"], out, paths(payload),
            lambda done, total: work.progress("writing rows", done, total, "rows"), payload.get("again"),
        )  # fmt: skip
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    facts = written.manifest["file"]
    return {
        "files": {name: (out / name).stat().st_size for name in written.files},
        "notes": list(written.manifest["notes"]),
        **{name: facts[name] for name in ("rows", "changed", "sha256", "parts")},
    }


def exported_file(job_id: int, name: str) -> Path:
    """A file of an export that a job wrote; raises UserError where there is none of that name."""
    job = jobs.get_job(job_id)
    files = (job.result or {}).get("files", {}) if job.kind == "mitigate" and job.state == "done" else {}
    path = _folder(job_id) / name
    if name not in files or not path.is_file():
        raise UserError(f"Export {job_id} has no file {name!r}.", f"There are: {', '.join(files) or 'none'}.")
    return path


def _folder(job_id: int) -> Path:
    return process().data_dir / "mitigations" / str(job_id)


def _drop_orphans() -> None:
    """Removes exports whose job is gone."""
    folder = process().data_dir / "mitigations"
    if not folder.is_dir():
        return
    ids = {str(job.id) for job in jobs.list_jobs(limit=100_000)}
    for export_folder in folder.iterdir():
        if export_folder.name not in ids:
            shutil.rmtree(export_folder, ignore_errors=True)
