"""What the worker does for a routes run: read pairs, generate both routes, score the paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.backends._base import generating
from core.egrm.preferences import SHAPES, read_pairs
from core.egrm.route import RouteItem, compact, item_of, measure, texts
from core.plugins import kind
from core.services import artefacts, runs, uploads
from core.services.jobs import Cancelled, Work
from core.services.routes import answers
from core.services.routes import scorers as route_scorers
from core.services.routes.runs import PREVIEW, RoutesRun, get, rejudge
from core.settings import settings as process
from core.types import Message, Run
from db import routes as table
from db import samples as sample_table
from db.session import database

# Items read from the database at a time.
BLOCK = 256


# ------------------------------------------------------------------------------------------- run by the worker


def handle_routes(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Generates what is missing. Stopped anywhere, what is stored stays and a second call goes on from there."""
    route_id = payload["routes"]
    with database().reading() as conn:
        row: Mapping[str, Any] = table.get(conn, route_id)
    if row["mode"] == "judging" and row["n_items"] == 0:
        row = _import_pairs(work, row)
    if row["spec"]["source"]["kind"] == answers.KIND and row["n_items"] == 0:
        answers.import_answers(work, row)
    routes = get(route_id)
    try:
        _generate(work, routes)
        scorer_id = row["spec"].get("scorer")
        if scorer_id is not None:
            route_scorers.score(work, route_id, scorer_id)
    except Cancelled:
        rejudge(routes.run_id)
        raise
    if routes.run_id is not None:
        work.progress("judging")
        rejudge(routes.run_id)
    return {"routes": route_id}


def _import_pairs(work: Work, row: Mapping[str, Any]) -> Mapping[str, Any]:
    source = dict(row["spec"]["source"])
    work.progress("reading pairs")
    path = Path(source["path"]) if source["path"] else uploads.finish(source["upload"]).path
    pairs = read_pairs(path)
    questions = list({q.key: q for q in pairs.questions}.values())
    if source["limit"] and len(questions) > source["limit"]:
        questions = [questions[int(i)] for i in np.linspace(0, len(questions) - 1, source["limit"]).round()]
    source |= {
        "artefact": artefacts.write([_as_dict(q) for q in questions]),
        "shapes": {SHAPES[s]: n for s, n in pairs.shapes.items()},
        "n_problems": len(pairs.problems),
        "problems": pairs.problems[:20],
    }
    items = [(i, q.key[:12], q.key, q.text[:PREVIEW]) for i, q in enumerate(questions)]
    spec = {**row["spec"], "source": source}
    work.progress(
        "reading pairs", len(items), len(items), "pairs", lambda conn: table.set_items(conn, row["id"], spec, items)
    )
    if source["upload"]:
        uploads.discard(source["upload"])
    with database().reading() as conn:
        return table.get(conn, row["id"])


def _as_dict(q: RouteItem) -> dict[str, Any]:
    return {"key": q.key, "text": q.text, "pair": list(q.pair or ()), "better": q.better, "group": q.group,
            "history": [[m.role, m.content] for m in q.history]}  # fmt: skip


def _questions(routes: RoutesRun, run: Run | None, ordinals: Sequence[int]) -> list[RouteItem]:
    if run is not None:
        with database().reading() as conn:
            return [item_of(s) for s in sample_table.iter_samples(conn, run.spec.dataset_id, ordinals)]
    stored = artefacts.read_all(routes.source["artefact"])
    return [
        RouteItem(
            d["key"], d["text"], history=tuple(Message(*m) for m in d["history"]), pair=tuple(d["pair"]),
            better=d["better"], group=d["group"],
        )
        for d in (stored[o] for o in ordinals)
    ]  # fmt: skip


def _generate(work: Work, routes: RoutesRun) -> None:
    from core.rendering.tokenizers import open_tokenizer
    from core.signals._instruments import tokenizer_folder

    with database().reading() as conn:
        ordinals = table.missing(conn, routes.id)
    stage, total = f"direct answers and chains of thought: {routes.checkpoint.label}", routes.n_items
    done = total - len(ordinals)
    work.progress(stage, done, total, "items")
    if not ordinals:
        return
    run = None if routes.run_id is None else runs.get_run(routes.run_id)
    tokenizer = open_tokenizer(tokenizer_folder(routes.checkpoint), routes.checkpoint.tokenizer)
    backend_kind = kind("backends", routes.settings.backend)
    backend = backend_kind.open(routes.checkpoint, routes.settings.dtype, process().device, tokenizer)
    try:
        generator = generating(backend_kind, backend)
        for at in range(0, len(ordinals), BLOCK):
            block = ordinals[at : at + BLOCK]
            questions = _questions(routes, run, block)
            place = 0
            for chunk in measure(questions, routes.settings, generator, tokenizer, work.asked_to_stop):
                part = block[place : place + len(chunk)]
                place, done = place + len(chunk), done + len(chunk)
                name = artefacts.write([texts(r) for r in chunk])
                kept = [compact(r) for r in chunk]
                store = partial(table.store, route_id=routes.id, ordinals=part, kept=kept, artefact=name)
                work.progress(stage, done, total, "items", store)
            if work.asked_to_stop():
                work.progress(stage, done, total, "items")
    finally:
        backend.close()
