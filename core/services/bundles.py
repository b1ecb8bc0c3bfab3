"""Runs as bundles: one file with everything that pages show and no weights, made here, opened anywhere."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from core import __version__
from core.bundles import files
from core.egrm.settings import RouteSettings
from core.errors import UserError
from core.plugins import kind, kinds
from core.services import artefacts, dynamics, jobs, uploads
from core.services.jobs import Work
from core.services.measurements import index_outputs
from core.services.runs import get_run, list_runs
from core.settings import settings
from core.signals._base import Measure
from core.signals._plan import plan
from core.types import Run, RunSpec, Status, digest
from db import bundles as table
from db import runs as run_table
from db.session import database
from db.shapes import fits, whole

Progress = Callable[[str, int, int, str], object]


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that is complete. ``n_bytes``: its size; ``tables``: table to rows; ``artefacts``: how many."""

    path: Path
    n_bytes: int
    tables: Mapping[str, int]
    artefacts: int


def _quiet(*_: object) -> None:
    """Progress that nobody watches."""


# -------------------------------------------------------------------------------------------------------- writing


def write(run_id: int, out: Path, progress: Progress = _quiet, folders: bool = True) -> Written:
    """Writes the run with its dataset, verdicts, signals, artefacts, groups, routes, proofs and people's judgement.

    Args:
        folders: whether the folders of the checkpoints travel along; else only their last names do.

    Raises:
        UserError: the run has no verdicts yet.
    """
    run = get_run(run_id)
    if run.state != "judged":
        raise UserError(f"Run {run.id} has no verdicts yet.", "A bundle is for looking at them.", "Wait for the run.")
    counts: dict[str, int] = {}
    with files.writing(out) as writer, database().reading() as conn:
        slots: dict[str, set[int]] = {}
        for name in ("measured", "route_items"):  # which parts of which artefacts are the run's own
            for row in dict(table.dump(conn, run))[name]:
                if row["artefact"] is not None:
                    slots.setdefault(row["artefact"], set()).add(row["slot"])
        names = {}
        for i, (name, own) in enumerate(sorted(slots.items())):
            progress("artefacts", i, len(slots), "files")
            names[name], data = artefacts.only(name, own)
            writer.artefact(names[name], data)
        for name, rows in table.dump(conn, run):
            progress(name.replace("_", " "), 0, 0, "")
            counts[name] = 0
            writer.table(name, _counted(counts, name, _own(run, name, rows, names, folders)))
        about = {"run": run.name, "samples": run.n_samples, "checkpoint": run.spec.final.label}
        writer.close(__version__, time.time(), about)
    return Written(out, out.stat().st_size, counts, len(names))


def _counted(counts: dict[str, int], name: str, rows: Iterable[table.Row]) -> Iterator[table.Row]:
    for row in rows:
        counts[name] += 1
        yield row


def _own(
    run: Run, name: str, rows: Iterable[table.Row], names: Mapping[str, str], folders: bool
) -> Iterator[table.Row]:
    """The rows as they leave: artefacts by the names they have there, a run that came as a bundle as it was made."""
    for row in rows:
        if row.get("artefact") is not None:
            row["artefact"] = names[row["artefact"]]
        if name == "measures":
            # Not the key it has here: that of a run that came as a bundle is this store's own.
            row["key"] = f"{row['signal']}:{digest(row['spec'])[:32]}"
        if name == "runs":
            row["spec"] = {k: v for k, v in row["spec"].items() if k != "origin"}
            row["summary"] = {k: v for k, v in row["summary"].items() if k != "bundle"}
            row["summary"]["losses"] = dynamics.losses(run)  # the trainer's log lies in a folder that stays here
        if name == "datasets":
            row["fingerprint"] = row["fingerprint"].partition("@")[0]
        if name in ("runs", "routes") and not folders:
            row["spec"] = _without_folders(row["spec"])
        yield row


def _without_folders(value: Any) -> Any:
    """A specification whose checkpoints are named by the last part of their folders."""
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    if not isinstance(value, dict):
        return value
    short = {k: _without_folders(v) for k, v in value.items()}
    for part in ("path", "base") if "fingerprint" in value else ():
        if isinstance(value[part], str):
            short[part] = Path(value[part]).name
    return short


# -------------------------------------------------------------------------------------------------------- opening


def open_bundle(path: Path, name: str = "", progress: Progress = _quiet) -> Run:
    """Reads a bundle into this store and returns its run; one that was opened before is not read again.

    All or nothing, in one transaction. No model is loaded.

    Raises:
        UserError: it is no bundle, damaged, changed, too large, of another version, or the disk is full.
    """
    shown = name or path.name
    with path.open("rb") as file:
        origin = hashlib.file_digest(file, "sha256").hexdigest()
    for run in list_runs():
        if run.spec.origin == origin:
            return run
    new: list[str] = []
    with ExitStack() as undo, files.reading(path, settings().max_unpacked_bytes, shown) as reader:
        undo.callback(lambda: artefacts.remove(new))
        here = reader.artefacts()
        for i, artefact in enumerate(here):
            progress("artefacts", i, len(here), "files")
            data = reader.artefact(artefact)
            if not artefacts.path(artefact).exists():
                artefacts.write_bytes(data, ".json.gz")
                new.append(artefact)
        progress("reading rows", 0, 0, "")
        bundle = {"sha256": origin, "made": reader.contents.made, "lacuna": reader.contents.lacuna, "file": shown}
        older: dict[str, list[Any]] = {}
        try:
            held = list(_rows(reader, "measures", set(here)))
            with database().writing() as conn:
                run_id = table.restore(
                    conn, lambda t: _rows(reader, t, set(here)), lambda spec: _adapted(spec, origin),
                    lambda spec: _placing(spec, origin, older, held), {"bundle": bundle}, origin[:12],
                )  # fmt: skip
                _index(conn, run_table.get_run(conn, run_id))
                if older:
                    summary = run_table.get_run(conn, run_id).summary
                    run_table.set_run(conn, run_id, summary=dict(summary) | {"bundle": bundle | {"older": older}})
        except table.Unfit as error:
            raise UserError(
                f"{shown} cannot be opened by this version of Lacuna.",
                f"It was made by Lacuna {reader.contents.lacuna[:40]}, this is {__version__}. {str(error)[:300]}",
                "Open it with that version, or make it again with this one.",
            ) from error
        undo.pop_all()
    return get_run(run_id)


def _index(conn: Any, run: Run) -> None:
    """Makes the outputs searchable; raises Unfit where an artefact holds something else."""
    try:
        index_outputs(conn, run)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise table.Unfit(f"measured: an artefact holds no outputs: {error}") from error


def _placing(
    spec: RunSpec, origin: str, older: dict[str, list[Any]], held: Sequence[table.Row]
) -> Callable[[table.Row], str]:
    """Gives a measurement of the bundle its key here, one of its own kind that no other run will ever look for.

    One that this version would make otherwise takes the key of the same signal under the same checkpoint, so that it
    can still be read, and is named in ``older``: signal to the version that measured it and this one's, None = unknown.
    Of several in the bundle (``held``) the newest takes it.
    """
    there = plan(replace(spec, origin=origin))
    same = {a.key: b.key for a, b in zip(plan(spec), there, strict=True)}
    alike: dict[tuple[str, str], list[Measure]] = {}
    for measure in there:
        alike.setdefault((measure.signal, measure.checkpoint.fingerprint), []).append(measure)

    newest: dict[tuple[str, str], tuple[bool, int, str]] = {}
    for row in held:
        version = row["spec"].get("version") if isinstance(row.get("spec"), dict) else None  # nothing is checked yet
        age = (row.get("key") in same, version if isinstance(version, int) else -1, str(row.get("key")))
        place = str(row.get("signal")), str(row.get("fingerprint"))
        newest[place] = max(newest.get(place, age), age)

    def key(row: table.Row) -> str:
        if row["key"] in same:
            return same[row["key"]]
        name, version = row["signal"][:40], row["spec"].get("version")
        place = row["signal"], row["fingerprint"]
        if newest[place][2] != row["key"]:
            return f"{name}:{digest([origin, row['key']])[:32]}"
        same_kind = [m.key for m in alike.get(place, ())]
        now = kinds("signals")[name].version if name in kinds("signals") else None
        older[name] = [version if whole(version) else None, now]
        return same_kind[0] if len(same_kind) == 1 else f"{name}:{digest([origin, row['key']])[:32]}"

    return key


def _rows(reader: files.Reader, name: str, here: set[str]) -> Iterator[table.Row]:
    """A table's rows; what refers to an artefact that the bundle does not hold, or to no status, is refused.

    A table that the bundle does not have is empty: the Lacuna that made it may be older than the table.
    """
    if name not in reader.contents.tables:
        return
    statuses = {s.value for s in Status}
    for row in reader.rows(name):
        if row.get("artefact") is not None and row["artefact"] not in here:
            raise table.Unfit(f"{name}: an artefact is missing")
        if name == "routes":
            row = row | {"spec": _routes_spec(row)}
        if name == "verdicts" and row.get("status") not in statuses:
            raise table.Unfit(f"verdicts: {str(row.get('status'))[:40]!r} is no status")
        yield row


def _routes_spec(row: table.Row) -> dict[str, Any]:
    """The specification of a routes run as it is kept: strictly parsed, and without files of another machine."""
    spec: Any = row.get("spec")
    if row.get("mode") != "answering" or not fits("routes", "spec", spec):
        raise table.Unfit("routes: spec has another form")
    source = {k: v for k, v in spec["source"].items() if k in ("kind", "filter", "words", "matching")}
    try:
        typed = {f.name: type(f.default) for f in fields(RouteSettings)}
        for name, value in spec["settings"].items():
            wanted = typed.get(name)
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise TypeError(f"{name[:40]} cannot be {type(value).__name__}")
        settings_of = RouteSettings.from_dict(spec["settings"])
    except (TypeError, ValueError, UserError) as error:
        raise table.Unfit(f"routes: {error}") from error
    return {"checkpoint": spec["checkpoint"], "settings": settings_of.as_dict(), "source": source, "scorer": None,
            "versions": {}}  # fmt: skip


def _adapted(spec: RunSpec, origin: str) -> RunSpec:
    """The specification with its origin; raises Unfit for kinds and values that this version cannot show."""
    for register, name in (("presets", spec.preset), ("scorers", spec.scorer), ("backends", spec.backend)):
        try:
            kind(register, name)
        except UserError as error:
            raise table.Unfit(str(error)) from error
    texts = [spec.dataset_fingerprint, spec.encoder, spec.dtype, spec.device]
    for checkpoint in spec.checkpoints.values():
        texts += [
            checkpoint.path,
            checkpoint.label,
            checkpoint.fingerprint,
            checkpoint.base or "",
            checkpoint.tokenizer,
        ]
    numbers = (spec.max_draws, spec.max_new_tokens, spec.seed, spec.decoding_temperature)
    plain = all(isinstance(t, str) for t in texts) and all(isinstance(n, (int, float)) for n in numbers)
    if not plain or len(spec.trajectory) > 10_000:
        raise table.Unfit("runs: the specification holds what it cannot")
    return replace(spec, origin=origin)


# ------------------------------------------------------------------------------------------------ asked by the pages


def start_open(upload_id: str) -> int:
    """Queues the opening of an uploaded bundle; returns the job's id."""
    return jobs.enqueue("open_bundle", {"upload": upload_id}, title=f"Open {uploads.finish(upload_id).name}")


def handle_open(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    upload = uploads.finish(payload["upload"])
    run = open_bundle(upload.path, upload.name, work.progress)
    uploads.discard(upload.id)
    return {"run": run.id}


def start_write(run_id: int) -> int:
    """Queues the writing of a run's bundle; returns the job's id."""
    return jobs.enqueue("write_bundle", {"run": run_id}, title=f"Bundle {get_run(run_id).name}")


def handle_write(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    out = _folder() / f"{work.job_id}.lacuna"
    _drop_orphans()
    written = write(payload["run"], out, work.progress)
    return {"run": payload["run"], "bytes": written.n_bytes}


def written_file(job_id: int) -> Path:
    """The bundle that a job wrote; raises UserError where there is none."""
    job = jobs.get_job(job_id)
    path = _folder() / f"{job_id}.lacuna"
    if job.kind != "write_bundle" or job.state != "done" or not path.is_file():
        raise UserError(f"Job {job_id} left no bundle.", "", "Make it again.")
    return path


def _folder() -> Path:
    return settings().data_dir / "bundles"


def _drop_orphans() -> None:
    """Removes bundles whose job is gone."""
    ids = {str(job.id) for job in jobs.list_jobs(limit=100_000)}
    for path in _folder().glob("*.lacuna") if _folder().is_dir() else ():
        if path.stem not in ids:
            path.unlink(missing_ok=True)
