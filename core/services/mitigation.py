"""From selected samples to rows to train on: preview, export to a folder, and the files of an export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError, unknown_name
from core.exports import _mitigation as science
from core.exports._base import Bundle
from core.filters import describe, from_query, to_text
from core.plugins import kind, kinds
from core.presets._base import with_defaults
from core.recipes._base import Plan, Recipe, Ruling, Training
from core.services import jobs, uploads
from core.services.jobs import JobContext
from core.services.runs import get_run
from core.services.views import FileForm, RecipeForm
from core.settings import settings as process
from core.signals._instruments import tokenizer_folder
from core.types import PIPELINE, Decision, Filter, Run, Sample, Setting
from db import decisions as decision_table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

BLOCK = 1000
PREVIEW_ROWS = 8
# Characters of a raw row or a changed field that a preview carries.
PREVIEW_CHARS = 2000


# ------------------------------------------------------------------------------------------------- what there is


def recipes() -> list[RecipeForm]:
    """Every recipe as a form; those for one cause each before the repair of pipeline faults."""
    found = [
        RecipeForm(
            r.name, r.label, r.help, tuple(r.causes), tuple(r.settings),
            tuple(FileForm(f.name, f.label, f.help) for f in r.files), r.expects, tuple(r.risks),
        )
        for r in kinds("recipes").values()
    ]  # fmt: skip
    return sorted(found, key=lambda f: ("pipeline" in f.causes, f.name))


def recipe_for(cause: str | None) -> str | None:
    """The recipe made for a cause; None where there is none for it."""
    wanted = cause if PIPELINE.member(cause) is None else "pipeline"
    return next((r.name for r in kinds("recipes").values() if wanted in r.causes), None)


def parsed_settings(recipe: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Settings as they are typed on a command line, each as its kind; names of file slots are not among them."""
    declared = {s.name: s for s in recipe.settings}
    out: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in declared:
            raise unknown_name(
                f"setting of {recipe.name}", name, [*declared, *(f.name for f in getattr(recipe, "files", ()))]
            )
        out[name] = _parsed(recipe, declared[name], text)
    return out


def _parsed(recipe: Any, setting: Setting, text: str) -> Any:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        if setting.kind == "bool":
            return words[text.strip().lower()]
        if setting.kind in ("int", "float"):
            return (int if setting.kind == "int" else float)(text)
    except (KeyError, ValueError) as error:
        kind_of = {"bool": "true or false", "int": "a whole number", "float": "a number"}[setting.kind]
        raise UserError(
            f"{setting.name}={text!r} is not a value for {recipe.name!r}.",
            f"{setting.label} takes {kind_of}.",
            f"The default is {setting.default!r}.",
        ) from error
    return text


# ----------------------------------------------------------------------------------------------------- the pool


def rulings_of(decided: Iterable[Decision]) -> dict[str, Ruling]:
    """What was decided on the contradictions page, by content hash of each row; of two decisions the later one."""
    out: dict[str, Ruling] = {}
    for decision in decided:
        for member in decision.members:
            if decision.choice == "both_valid":
                out[member] = Ruling("rewrite")
            else:
                out[member] = Ruling("keep" if member in decision.kept else "drop")
    return out


class RunPool:
    """A run as recipes see it; see ``core.recipes._base.Pool``. Numbers are kept, rows are read by the block."""

    def __init__(self, run: Run, treated: Iterable[int], files: Mapping[str, Path]) -> None:
        self._run = run
        self.n = run.n_samples
        self.treated = np.fromiter(treated, dtype=np.int64)
        with database().reading() as conn:
            self.reading = sample_table.get_dataset(conn, run.spec.dataset_id).reading
            decided = decision_table.decisions(conn, run.spec.dataset_id)
        self.rulings: Mapping[str, Ruling] = rulings_of(decided)
        self.files = dict(files)
        self._kinds = {c.name: c.kind for c in run.columns}

    def numbers(self, column: str) -> np.ndarray:
        if self._kinds.get(column) not in ("number", "flag"):
            return np.full(self.n, np.nan, dtype=np.float32)
        with database().reading() as conn:
            return verdict_table.verdict_columns(conn, self._run, [column])[column].astype(np.float32)

    def labels(self, column: str) -> tuple[np.ndarray, tuple[str | None, ...]]:
        if self._kinds.get(column) != "category":
            return np.zeros(self.n, dtype=np.int32), (None,)
        with database().reading() as conn:
            codes, values = verdict_table.category_codes(conn, self._run, column)
        return codes, tuple(values)

    def select(self, query: str) -> np.ndarray:
        chosen = from_query(query, self._run.columns)
        with database().reading() as conn:
            return np.fromiter(verdict_table.ordinals(conn, self._run, chosen), dtype=np.int64)

    def rows(self, ordinals: Iterable[int]) -> Iterator[Sample]:
        wanted = iter(ordinals)
        # A transaction a block: one that is open for the whole walk would keep the write-ahead log from shrinking.
        while block := [int(o) for o in islice(wanted, BLOCK)]:
            with database().reading() as conn:
                samples = list(sample_table.iter_samples(conn, self._run.spec.dataset_id, block))
            yield from samples


def make_plan(
    run: Run, chosen: Filter, recipe: str, settings: Mapping[str, Any], files: Mapping[str, Path]
) -> tuple[Recipe, Plan, RunPool, dict[str, Any]]:
    """The recipe, what it would make of the run's samples under the filter, its pool, and all settings by name.

    Raises:
        UserError: no such recipe, setting or file slot, no sample under the filter, or samples it can do nothing with.
    """
    found: Recipe = kind("recipes", recipe)
    if run.state != "judged":
        raise UserError(f"Run {run.id} has no verdicts yet.", "A recipe works on judged samples.", "Wait for the run.")
    for name, path in files.items():
        if name not in {f.name for f in found.files}:
            raise unknown_name(f"file of {found.name}", name, [f.name for f in found.files])
        if not path.is_file():
            raise UserError(f"{path} is not a file.", "", "Check the path.")
    complete = with_defaults(found, settings)
    with database().reading() as conn:
        treated = list(verdict_table.ordinals(conn, run, replace(chosen, sort="ordinal", descending=False)))
    if not treated:
        raise UserError(
            "No sample passes this filter.", f"The filter is: {describe(chosen, run.columns)}.", "Choose another one."
        )
    pool = RunPool(run, treated, files)
    return found, found.plan(pool, complete), pool, complete


# ------------------------------------------------------------------------------------------------------- export


def _bundle(run: Run, recipe: Recipe, plan: Plan, pool: RunPool, settings: Mapping[str, Any]) -> Bundle:
    preset = run.spec.preset_settings
    all_tokens = preset.get("train_on_prompt", False) if run.spec.preset == "custom" else not (
        preset.get("assistant_only_loss", False)
    )  # fmt: skip
    return Bundle(
        model=run.spec.final.path,
        base=run.spec.final.base,
        reading=pool.reading,
        training=plan.training,
        assistant_only=not all_tokens,
        marked=_has_markers(run),
        max_length=plan.training.max_length or int(preset.get("max_length") or 0) or _longest(pool),
        seed=int(settings.get("seed", 0)),
        title=f"{recipe.label}, for run {run.id} ({run.name})",
    )


def _has_markers(run: Run) -> bool:
    """Whether TRL finds the answers under the model's chat template: by its markers, or by a variant it has."""
    from core.presets._trl_templates import has_generation_markers, training_template
    from core.rendering.tokenizers import template_in

    template = template_in(tokenizer_folder(run.spec.final))
    return has_generation_markers(template) or training_template(template) is not None


def _longest(pool: RunPool) -> int:
    """Tokens that hold every row of the run and the little that recipes add: the next multiple of 256."""
    tokens = pool.numbers("n_tokens")
    longest = float(np.nanmax(tokens)) if np.isfinite(tokens).any() else 1984.0
    return int(-(-(longest + 64) // 256) * 256)


def export(
    run_id: int,
    chosen: Filter,
    recipe: str,
    settings: Mapping[str, Any],
    out: Path,
    files: Mapping[str, Path],
    progress: Callable[[int, int], None],
) -> science.Written:
    """Writes rows, manifest and training configurations into ``out``; rows stream, memory stays flat."""
    run = get_run(run_id)
    found, plan, pool, complete = make_plan(run, chosen, recipe, settings, files)
    with database().reading() as conn:
        dataset = sample_table.get_dataset(conn, run.spec.dataset_id)
        causes = _causes(conn, run, chosen)
    about = {
        "run": {"id": run.id, "name": run.name, "spec_hash": run.spec.hash, "checkpoint": run.spec.final.fingerprint},
        "dataset": {"name": dataset.name, "files": list(dataset.files), "fingerprint": dataset.fingerprint},
        "filter": {"query": to_text(chosen), "words": describe(chosen, run.columns)},
        "treated": {"samples": len(pool.treated), "by_cause": causes},
        "settings": complete,
        "files": {name: {"name": path.name, "sha256": _sha256(path)} for name, path in files.items()},
    }
    return science.write(out, found, plan, about, _bundle(run, found, plan, pool, complete), progress)


def _causes(conn: Any, run: Run, chosen: Filter) -> dict[str, int]:
    if not any(c.name == "cause" for c in run.columns):
        return {}
    counted = verdict_table.group_counts(conn, run, ["cause"], chosen)
    return {"not judged" if value is None else str(value): n for (value,), n in counted}


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------------- for the page


def request(
    run_id: int,
    chosen: Filter,
    recipe: str,
    settings: Mapping[str, Any],
    uploaded: Mapping[str, str],
    files: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """What a job needs to know, checked: the run, filter as text, recipe, settings and files.

    Args:
        uploaded: file slot to the id of an upload; all that a browser may name.
        files: file slot to a path, for the command line.
    """
    found = kind("recipes", recipe)
    return {
        "run": run_id,
        "filter": to_text(replace(chosen, sort="ordinal", descending=False)),
        "recipe": recipe,
        "settings": with_defaults(found, settings),
        "uploads": dict(uploaded),
        "files": {slot: str(path) for slot, path in (files or {}).items()},
    }


def start_preview(asked: Mapping[str, Any]) -> int:
    """Queues a preview of what ``request`` described; returns the job's id."""
    return jobs.enqueue("preview_mitigation", asked, title=f"Preview {_label(asked)}")


def start_export(asked: Mapping[str, Any]) -> int:
    """Queues the export of what ``request`` described; returns the job's id."""
    _drop_orphans()
    return jobs.enqueue("mitigate", asked, title=f"Export {_label(asked)}")


def _label(asked: Mapping[str, Any]) -> str:
    return f"{kind('recipes', asked['recipe']).label.lower()} for run {asked['run']}"


def planned(asked: Mapping[str, Any]) -> tuple[Run, Filter, Recipe, Plan, RunPool, dict[str, Any]]:
    """``make_plan`` for what a job was given."""
    run = get_run(asked["run"])
    chosen = from_query(asked["filter"], run.columns)
    return run, chosen, *make_plan(run, chosen, asked["recipe"], asked["settings"], paths(asked))


def paths(asked: Mapping[str, Any]) -> dict[str, Path]:
    """File slot to path of what ``request`` was given."""
    uploaded = {slot: uploads.finish(upload).path for slot, upload in asked["uploads"].items()}
    return uploaded | {slot: Path(path) for slot, path in asked["files"].items()}


def handle_preview(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    context.progress("looking at the rows")
    _, _, recipe, plan, pool, _ = planned(payload)
    shown = science.first(plan, PREVIEW_ROWS)
    return {
        "treated": len(pool.treated),
        "counted": len(plan.counted),
        "parts": dict(plan.counts),
        "total": plan.total,
        "notes": [*plan.notes, *plan.training.notes],
        "training": _training(plan.training),
        "expects": recipe.expects,
        "risks": list(recipe.risks),
        "rows": [
            {
                "sample": row.source,
                "part": row.part,
                "change": row.change,
                "raw": row.raw[:PREVIEW_CHARS].decode("utf-8", "replace"),
                "diff": [{k: _short(v) for k, v in d.items()} for d in diff],
            }
            for row, diff in shown
        ],
    }


def _training(training: Training) -> dict[str, Any]:
    return {"epochs": training.epochs, "sequential": training.sequential, "batch": training.batch,
            "max_length": training.max_length}  # fmt: skip


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= PREVIEW_CHARS else text[:PREVIEW_CHARS] + "…"


def handle_mitigate(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    run = get_run(payload["run"])
    chosen = from_query(payload["filter"], run.columns)
    out = _folder(context.job.id)
    try:
        written = export(
            run.id, chosen, payload["recipe"], payload["settings"], out, paths(payload),
            lambda done, total: context.progress("writing rows", done, total, "rows"),
        )  # fmt: skip
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    sizes = {name: (out / name).stat().st_size for name in written.files}
    return {"files": sizes, "rows": written.manifest["file"]["rows"], "changed": written.manifest["file"]["changed"],
            "sha256": written.manifest["file"]["sha256"], "parts": written.manifest["file"]["parts"]}  # fmt: skip


def _folder(job_id: int) -> Path:
    return process().data_dir / "mitigations" / str(job_id)


def exported_file(job_id: int, name: str) -> Path:
    """A file of an export that a job wrote; raises UserError where there is none of that name."""
    job = jobs.get_job(job_id)
    files = (job.result or {}).get("files", {}) if job.kind == "mitigate" and job.state == "done" else {}
    path = _folder(job_id) / name
    if name not in files or not path.is_file():
        raise UserError(f"Export {job_id} has no file {name!r}.", f"There are: {', '.join(files) or 'none'}.")
    return path


def _drop_orphans() -> None:
    """Removes exports whose job is gone."""
    folder = process().data_dir / "mitigations"
    if not folder.is_dir():
        return
    known = {str(j.id) for j in jobs.list_jobs(limit=100_000)}
    for old in folder.iterdir():
        if old.name not in known:
            shutil.rmtree(old, ignore_errors=True)
