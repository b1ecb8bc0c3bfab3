"""Checkpoints: register from an archive or an allow-listed folder, list, delete."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from core.checkpoint import folders as science
from core.checkpoint import servers
from core.checkpoint.archives import extract, top
from core.errors import UserError
from core.recorded import files as recorded
from core.services import jobs, uploads
from core.services.jobs import Released, Work
from core.services.views import StoredCheckpoint
from core.settings import settings
from core.types import Card, Check, Checkpoint, Server
from db import checkpoints as table
from db import routes as route_table
from db import runs as run_table
from db.jobs import LeaseLost
from db.session import database


def list_checkpoints() -> list[StoredCheckpoint]:
    """Newest first; those of one archive or folder in step order."""
    with database().reading() as conn:
        return [_stored(row) for row in table.list_checkpoints(conn)]


# The number that stands for no checkpoint at all, where one is chosen.
NOTHING = 0


def get_checkpoint(checkpoint_id: int) -> StoredCheckpoint:
    """The checkpoint; for ``NOTHING`` what stands in its place in a diagnosis of the dataset alone."""
    if checkpoint_id == NOTHING:
        return StoredCheckpoint(NOTHING, recorded.NO_MODEL, "", recorded.no_model(), False, 0, {}, None, 0.0)
    with database().reading() as conn:
        return _stored(_row(conn, checkpoint_id))


def _row(conn: Connection, checkpoint_id: int) -> Mapping[str, Any]:
    row = table.get(conn, checkpoint_id)
    if row is None:
        raise UserError(f"There is no checkpoint {checkpoint_id}.", "It was deleted.", "Choose another one.")
    return row


def _stored(row: Mapping[str, Any]) -> StoredCheckpoint:
    checkpoint = Checkpoint(
        path=row["path"], base=row["base"], step=row["step"], label=row["label"], fingerprint=row["fingerprint"],
        tokenizer=row["tokenizer"], server=Server(**row["facts"]["server"]) if row["facts"].get("server") else None,
    )  # fmt: skip
    if "gives" in row["facts"]:
        facts = row["facts"]
        checkpoint = replace(checkpoint, path="", gives=tuple(facts["gives"]), files=tuple(facts["files"]))
    return StoredCheckpoint(
        row["id"], row["name"], row["group"], checkpoint, row["owned"], row["n_bytes"], row["facts"],
        card_from_dict(row["card"]), row["created"],
    )  # fmt: skip


def card_as_dict(card: Card) -> dict[str, Any]:
    return {"facts": dict(card.facts), "checks": [asdict(c) for c in card.checks]}


def card_from_dict(value: Mapping[str, Any] | None) -> Card | None:
    return None if value is None else Card(value["facts"], tuple(Check(**c) for c in value["checks"]))


def delete_checkpoint(checkpoint_id: int) -> None:
    """Forgets the checkpoint; files unpacked from an upload go with it, a chosen folder is never touched.

    Raises:
        UserError: runs rest on it; names them.
    """
    stored = get_checkpoint(checkpoint_id)
    with database().writing() as conn:
        path = (*stored.checkpoint.files, stored.checkpoint.path)[0]
        users = [f"run {r.id} {r.name!r}" for r in run_table.list_runs(conn) if path in paths_of(r.spec)]
        users += [
            f"routes run {r['id']} {r['name']!r}" for r in route_table.list_routes(conn) if path in route_paths(r)
        ]
        if users:
            why = f"What rests on it: {', '.join(users)}."
            raise UserError(f"{stored.name} is in use.", why, "Delete these first.")
        table.delete(conn, checkpoint_id)
        rest = [row["path"] for row in table.list_checkpoints(conn)]
    if stored.owned:
        _remove_owned(Path(path), rest)


def paths_of(spec: Any) -> set[str]:
    """All folders a run reads weights from."""
    used = [spec.final, spec.base, *spec.trajectory]
    return {p for c in used if c is not None for p in (c.path, c.base, *c.files) if p}


def route_paths(row: Mapping[str, Any]) -> set[str]:
    """All folders that a routes run reads weights from."""
    checkpoint = row["spec"].get("checkpoint", {})
    return {p for p in (checkpoint.get("path"), checkpoint.get("base")) if p}


def _remove_owned(path: Path, rest: Sequence[str]) -> None:
    """Removes an unpacked checkpoint, and the archive's whole folder once nothing of it is registered."""
    root = settings().checkpoints
    if root not in path.parents:
        return
    top = root / path.relative_to(root).parts[0]
    if not any(top == Path(p) or top in Path(p).parents for p in rest):
        shutil.rmtree(top, ignore_errors=True)
    elif not any(path in Path(p).parents for p in rest):
        shutil.rmtree(path, ignore_errors=True)


def roots() -> list[str]:
    """Folders the browser may choose from, as ``LACUNA_CHECKPOINT_ROOTS`` lists them."""
    return [str(p) for p in settings().checkpoint_roots]


# What a folder is called on the page, by what lies in it.
KINDS = {"nothing": "folder", "full": "model", "adapter": "adapter", "trajectory": "trajectory"}


def browse(path: str | None) -> list[dict[str, str]]:
    """What lies in an allow-listed folder: ``path``, ``name``, ``kind``; the roots themselves for None.

    Raises:
        UserError: no folder is allow-listed, or this one is not.
    """
    listing = science.browse(settings().checkpoint_roots, path)
    return [{"path": str(e.path), "name": e.name, "kind": KINDS[e.kind]} for e in listing.entries]


def start_register_archive(upload_id: str, base_id: int | None = None) -> int:
    """Unpacks an uploaded archive and registers every checkpoint in it."""
    upload = uploads.finish(upload_id)
    payload = {"upload": upload_id, "name": upload.name, "base": _base_path(base_id)}
    return jobs.enqueue("register", payload, title=f"Unpack {upload.name}")


def start_register_outputs(upload_id: str) -> int:
    """Registers the checkpoints that an uploaded file of answers or losses speaks of."""
    upload = uploads.finish(upload_id)
    return jobs.enqueue("register", {"upload": upload_id, "outputs": upload.name}, title=f"Read {upload.name}")


def start_register_folder(path: str, base_id: int | None = None) -> int:
    """Registers every checkpoint in an allow-listed folder; the files stay where they are."""
    folder = science.allowed(settings().checkpoint_roots, path)
    payload = {"folder": str(folder), "base": _base_path(base_id)}
    return jobs.enqueue("register", payload, title=f"Look at {folder.name}")


def server_addresses() -> list[str]:
    """Servers the browser may choose from, as ``LACUNA_SERVERS`` lists them."""
    return list(settings().servers)


def start_register_server(url: str, model: str, tokenizer: str) -> int:
    """Registers a model on one of the listed servers.

    Args:
        model: the name that the server lists; empty for its only one.
        tokenizer: folder of its tokenizer, in one that may be chosen from.

    Raises:
        UserError: the server is not listed, or the folder may not be chosen.
    """
    servers.check_allowed(url)
    folder = science.allowed(settings().checkpoint_roots, tokenizer)
    payload = {"server": url, "model": model.strip(), "tokenizer": str(folder)}
    return jobs.enqueue("register", payload, title=f"Ask {url}")


def _base_path(base_id: int | None) -> str | None:
    return None if base_id is None else get_checkpoint(base_id).checkpoint.path


# ------------------------------------------------------------------------------------------- run by the worker


def handle_register(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    if "server" in payload:
        work.progress("asking the server")
        checkpoint = servers.as_checkpoint(payload["server"], payload["model"], Path(payload["tokenizer"]))
        read = [(checkpoint.label, servers.folder_facts(checkpoint), checkpoint)]
        return _result(_register(read, payload["server"], owned=False, work=work, done=_ends(work)))
    if "outputs" in payload:
        return _result(_register_outputs(payload["upload"], payload["outputs"], work))
    base = payload["base"]
    if "upload" not in payload:
        folder = Path(payload["folder"])
        return _result(register_folder(folder, base, owned=False, work=work, done=_ends(work)))
    upload_id, name = payload["upload"], payload.get("name") or uploads.finish(payload["upload"]).name
    target = settings().checkpoints / upload_id
    files: list[Path] = []

    def done(conn: Connection, found: Sequence[StoredCheckpoint]) -> None:
        # One transaction: the checkpoints are listed, their upload is forgotten, the job is done.
        files.extend(uploads.forget(conn, [upload_id]))
        _ends(work)(conn, found)

    work.plan({"unpacking": "", "hashing weights": "", "registering": ""})
    try:
        folder = _unpacked(upload_id, target, name, work)
        found = register_folder(folder, base, owned=True, work=work, name=name.split(".")[0], done=done)
    except (Released, LeaseLost):
        raise  # the next worker goes on with what lies there
    except BaseException:
        _remove_unregistered(target)
        raise
    uploads.remove_files(files)
    return _result(found)


class _Facts(Protocol):
    """What a checkpoint is; a dataclass."""

    @property
    def n_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _FileFacts:
    kind: str
    n_bytes: int


def _register_outputs(upload_id: str, name: str, work: Work) -> list[StoredCheckpoint]:
    """Keeps an uploaded file of answers or losses, and registers the checkpoints that it speaks of."""
    work.plan({"reading rows": "", "registering": ""})
    work.progress("reading rows")
    target = settings().checkpoints / upload_id
    files: list[Path] = []

    def done(conn: Connection, found: Sequence[StoredCheckpoint]) -> None:
        files.extend(uploads.forget(conn, [upload_id]))
        _ends(work)(conn, found)

    try:
        target.mkdir(parents=True, exist_ok=True)
        kept = target / (re.sub(r"[^\w.-]", "_", name)[-100:].lstrip(".") or "outputs")
        shutil.copyfile(uploads.finish(upload_id).path, kept)
        facts, parts = _FileFacts("answers or losses of rows", kept.stat().st_size), recorded.from_outputs(kept)
        # The file stands where others have their folder, so that it is found, counted and deleted like one.
        read = [(name if len(parts) == 1 else f"{name} · {p.label}", facts, replace(p, path=str(kept))) for p in parts]
        found = _register(read, name, owned=True, work=work, done=done)
    except (Released, LeaseLost):
        raise
    except BaseException:
        _remove_unregistered(target)
        raise
    uploads.remove_files(files)
    return found


def _unpacked(upload_id: str, target: Path, name: str, work: Work) -> Path:
    """The folder of the upload's contents: what an earlier try left, which appeared whole, or unpacked now.

    It has the archive's name, because messages name a folder.
    """
    inner = target / ("".join(re.findall(r"[\w-]", name.split(".")[0]))[:60] or "checkpoint")
    if inner.is_dir():
        return top(inner)
    upload = uploads.finish(upload_id)

    def progress(done: int, total: int) -> None:
        work.progress("unpacking", done, total, "bytes")

    return extract(upload.path, inner, settings().max_unpacked_bytes, progress, name)


def _remove_unregistered(target: Path) -> None:
    """Removes what was unpacked, unless a checkpoint in it is registered."""
    try:
        with database().reading() as conn:
            rest = [Path(row["path"]) for row in table.list_checkpoints(conn)]
    except DBAPIError:
        return  # nobody can say whose it is; swept at the next start
    if not any(target == path or target in path.parents for path in rest):
        shutil.rmtree(target, ignore_errors=True)


def _ends(work: Work) -> Callable[[Connection, Sequence[StoredCheckpoint]], None]:
    return lambda conn, found: work.done(conn, _result(found))


def _result(checkpoints: Sequence[StoredCheckpoint]) -> dict[str, Any]:
    return {"checkpoint_ids": [c.id for c in checkpoints], "names": [c.name for c in checkpoints]}


def register_folder(
    folder: Path,
    base: str | None,
    *,
    owned: bool,
    work: Work,
    name: str = "",
    done: Callable[[Connection, Sequence[StoredCheckpoint]], None] | None = None,
) -> list[StoredCheckpoint]:
    """Registers every checkpoint found in a folder, in step order, the final one last; all of them or none.

    A folder that was registered before with the same bytes is not registered twice.

    Args:
        done: called with what is registered in the transaction that does so.
    """
    paths = checkpoint_paths(folder)
    group = name or folder.name
    read = []
    for i, path in enumerate(paths):
        work.progress("hashing weights", i, len(paths), "checkpoints")
        facts = science.read_folder(path)
        label = group if path == folder else f"{group}/{path.name}"
        read.append((label, facts, science.as_checkpoint(path, Path(base) if base else None, label)))
    return _register(read, group, owned=owned, work=work, done=done)


def _register(
    read: Sequence[tuple[str, _Facts, Checkpoint]],
    group: str,
    *,
    owned: bool,
    work: Work,
    done: Callable[[Connection, Sequence[StoredCheckpoint]], None] | None,
) -> list[StoredCheckpoint]:
    """Stores checkpoints by label, facts and value; all of them or none."""
    registered: list[StoredCheckpoint] = []

    def store(conn: Connection) -> None:
        known = {(row["path"], row["fingerprint"]): row["id"] for row in table.list_checkpoints(conn)}
        for label, facts, checkpoint in read:
            checkpoint_id = known.get((checkpoint.path, checkpoint.fingerprint)) or table.add(
                conn, name=label, group=group, checkpoint=checkpoint, owned=owned, n_bytes=facts.n_bytes,
                facts=facts_as_dict(facts),
            )  # fmt: skip
            registered.append(_stored(_row(conn, checkpoint_id)))
        if done is not None:
            done(conn, registered)

    work.progress("registering", len(read), len(read), "checkpoints", store)
    return registered


def checkpoint_paths(folder: Path) -> list[Path]:
    """Every checkpoint in a folder, in step order, the final one last; raises UserError where there is none."""
    listing = science.find(folder)
    if listing.final is None:
        science.read_folder(folder)  # says what lies there instead
        raise UserError(f"There is no checkpoint in {folder.name}.", "", "Choose the folder that holds config.json.")
    return [*(p for p in listing.checkpoints if p != listing.final), listing.final]


def facts_as_dict(facts: Any) -> dict[str, Any]:
    """A folder's facts as JSON values."""

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [plain(v) for v in value]
        if isinstance(value, float) and value != value:
            return None
        return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)

    values: dict[str, Any] = plain(facts)
    return values
