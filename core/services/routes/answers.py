"""Answers that a model gave elsewhere, as routes runs that replay without it; and routes runs as such a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.egrm.answers import extract, suggest_normaliser
from core.egrm.brought import Brought, read_answers, written
from core.egrm.route import Record, RouteItem, compact, item_of, texts
from core.egrm.settings import RouteSettings
from core.errors import UserError
from core.recorded.files import fingerprint
from core.services import artefacts, uploads
from core.services.jobs import Work
from core.services.routes.runs import PREVIEW, enqueue, get
from core.services.runs import get_run
from core.types import Checkpoint
from db import routes as table
from db import samples as sample_table
from db.session import database
from db.text import storable

KIND = "answers"
# Items of one artefact, and reasons that are kept of rows that could not be read.
_BLOCK, _REASONS = 256, 20


def start_answers(
    *, upload: str | None = None, path: Path | None = None, model: str = "", run_id: int | None = None, name: str = ""
) -> tuple[int, int]:
    """Stores a routes run on a file of answers and queues its reading; returns (routes run id, job id).

    Args:
        model: what gave the answers, in words.
        run_id: a diagnosis whose samples the file's ``id`` names; its verdicts then say what reasoning reaches.
    """
    shown = uploads.finish(upload).name if upload is not None else path.name if path is not None else ""
    run = None if run_id is None else get_run(run_id)
    checkpoint = Checkpoint("", None, None, model.strip() or f"answers of {shown}", "file:", gives=())
    source = {"kind": KIND, "words": f"answers of {shown}", "file": shown, "upload": upload,
              "path": None if path is None else str(path)}  # fmt: skip
    spec = {"checkpoint": checkpoint.as_dict(), "settings": RouteSettings().as_dict(), "source": source,
            "scorer": None, "versions": {}}  # fmt: skip
    with database().writing() as conn:
        route_id = table.create(
            conn, name.strip() or f"Answers of {shown}", "answering", spec, [], None if run is None else run.id
        )
    return route_id, enqueue(route_id, shown)


def import_answers(work: Work, row: Mapping[str, Any]) -> None:
    """Reads the file of a routes run that has no items yet and stores all of it."""
    source = dict(row["spec"]["source"])
    work.progress("reading answers")
    path = Path(source["path"]) if source["path"] else uploads.finish(source["upload"]).path
    brought = read_answers(path, source["file"])
    n = len(brought.records)
    places = list(range(n)) if row["run_id"] is None else _matched(brought, row["run_id"])
    golds = [extract(r.question.gold, True).raw or "" for r in brought.records if r.question.gold is not None]
    settings = RouteSettings(m=brought.m, k=brought.k, normaliser=suggest_normaliser(golds))
    source |= {
        "matching": len(places),
        "n_problems": len(brought.problems),
        "problems": [storable(p) for p in brought.problems[:_REASONS]],
    }
    checkpoint = Checkpoint(**row["spec"]["checkpoint"])
    spec = {
        **row["spec"],
        "source": source,
        "settings": settings.as_dict(),
        "checkpoint": replace(checkpoint, fingerprint=f"file:{fingerprint([path])}").as_dict(),
    }
    items = [
        (place, identity or r.question.key[:12], r.question.key, r.question.text[:PREVIEW])
        for place, identity, r in zip(places, brought.ids, brought.records, strict=True)
    ]
    pairs = list(zip(places, brought.records, strict=True))
    blocks = [pairs[i : i + _BLOCK] for i in range(0, len(pairs), _BLOCK)]
    held = [(part, artefacts.write([texts(r) for _, r in part])) for part in blocks]

    def store(conn: Any) -> None:
        table.set_items(conn, row["id"], spec, items)
        for part, name in held:
            table.store(conn, row["id"], [p for p, _ in part], [compact(r) for _, r in part], name)

    work.progress("reading answers", n, n, "items", store)
    if source["upload"]:
        uploads.discard(source["upload"])


def _matched(brought: Brought, run_id: int) -> list[int]:
    """Ordinal of each record's sample. Records take the sample's identity and target; others become problems.

    Raises:
        UserError: no row names a sample of the run.
    """
    run, wanted = get_run(run_id), set(brought.ids)
    with database().reading() as conn:
        samples = {s.id: s for s in sample_table.iter_samples(conn, run.spec.dataset_id) if s.id in wanted}
    kept: dict[str, tuple[int, Record, str]] = {}
    for record, identity in zip(brought.records, brought.ids, strict=True):
        sample = None if identity is None else samples.get(identity)
        if sample is None or identity is None:
            brought.problems.append(f"id: run {run_id} has no sample {identity!r}"[:200])
            continue
        own = item_of(sample)
        record.question = RouteItem(own.key, record.question.text, own.gold, group=own.group)
        kept.setdefault(own.key, (sample.ordinal, record, identity))
    if not kept:
        raise UserError(
            f"No row of the file names a sample of run {run_id}.",
            f"The first reason: {brought.problems[0]}",
            "Give each row the sample's id in its field id, as exports write it.",
        )
    brought.records, brought.ids = [r for _, r, _ in kept.values()], [i for _, _, i in kept.values()]
    return [place for place, _, _ in kept.values()]


def lines(route_id: int) -> Iterator[bytes]:
    """A routes run as a file of answers, a line an item, each with its line feed.

    Raises:
        UserError: it judges preference pairs.
    """
    routes = get(route_id)
    if routes.mode != "answering":
        raise UserError(
            f"Routes run {route_id} judges preference pairs.", "Files of answers hold questions.", "Choose another one."
        )
    with database().reading() as conn:
        rows = [r for r in table.items(conn, route_id) if not r["kept"]["refused"]]
    for row in rows:
        shown = artefacts.read(row["artefact"], row["slot"]) or {}
        identity = None if routes.run_id is None else row["sid"]
        yield json.dumps(written(shown, row["kept"], identity)).encode() + b"\n"
