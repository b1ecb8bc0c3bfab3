"""Scorers of reasoning paths: trained from routes runs or labelled paths, kept as files, applied."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.egrm.features import Path as PathText
from core.egrm.items import answer_key, gold_key
from core.egrm.preferences import read_labelled
from core.egrm.route import unpacked
from core.egrm.scorer import Scorer
from core.egrm.scorer_inputs import Labelled, ScorerSettings, reads
from core.egrm.scorer_training import train
from core.egrm.settings import RouteSettings
from core.encoders import named
from core.encoders._base import Encoder, EncoderKind
from core.errors import UserError
from core.plugins import kind, kinds
from core.services import artefacts, jobs, uploads
from core.services.jobs import Work
from core.services.routes.runs import get, rejudge
from core.services.runs import get_run, need_checkpoint
from core.settings import settings as process
from db import routes as table
from db.session import database

# ----------------------------------------------------------------------------------------------------- scorers


@dataclass(frozen=True, slots=True)
class StoredScorer:
    """A trained scorer: its settings, the data it saw and what it was worth on questions it did not see."""

    id: int
    name: str
    file: str
    encoder: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    created: float


def list_scorers() -> list[StoredScorer]:
    """Newest first."""
    with database().reading() as conn:
        return [StoredScorer(**r) for r in table.list_scorers(conn)]


def get_scorer(scorer_id: int) -> StoredScorer:
    with database().reading() as conn:
        return StoredScorer(**table.get_scorer(conn, scorer_id))


def delete_scorer(scorer_id: int) -> None:
    """Forgets a scorer; scores that it gave stay with their paths."""
    with database().writing() as conn:
        file = table.remove_scorer(conn, scorer_id)
    if file is not None:
        artefacts.remove([file])


def encoder_names() -> list[str]:
    """Sentence encoders of this installation whose weights are there; empty where it has none."""
    return [name for name, encoder in kinds("encoders").items() if _is_there(encoder)]


def _is_there(encoder: EncoderKind) -> bool:
    try:
        encoder.locate(_location(encoder))
    except UserError:
        return False
    return True


def _location(encoder: EncoderKind) -> str:
    """Where the settings say that an encoder of this kind lies; empty for its own place."""
    chosen, location = named(process().encoder)
    return location if chosen is encoder else ""


def _open(name: str) -> Encoder:
    if name not in encoder_names():
        raise UserError(f"The sentence encoder {name!r} is not installed.", "", "Train a scorer without embeddings.")
    encoder = kind("encoders", name)
    return encoder.open(_location(encoder), process().device)


def scorer_settings(given: Mapping[str, Any]) -> ScorerSettings:
    """The settings of a training with some of them given."""
    return ScorerSettings(**given)


def start_training(
    settings: ScorerSettings,
    routes_ids: Sequence[int] = (),
    *,
    upload: str | None = None,
    path: Path | None = None,
    normaliser: str = "numeric",
    name: str = "",
) -> int:
    """Queues the training of a scorer on paths of routes runs and on a file of labelled paths; returns the job."""
    if not routes_ids and upload is None and path is None:
        raise UserError("There is nothing to train on.", "", "Choose routes runs or a file of labelled paths.")
    shown = uploads.finish(upload).name if upload is not None else path.name if path is not None else ""
    payload = {
        "settings": asdict(settings), "from": list(routes_ids), "upload": upload,
        "path": None if path is None else str(path), "normaliser": normaliser,
        "name": name.strip() or (f"Trained on {shown}" if shown else f"Trained on routes {routes_ids[0]}"),
    }  # fmt: skip
    return jobs.enqueue("scorer", payload, lane="long", title=f"Train scorer: {payload['name']}")


def handle_scorer(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Trains a scorer and stores it with its data's hash and metrics."""
    work.progress("collecting labelled paths")
    data: list[Labelled] = []
    problems: list[str] = []
    settings = ScorerSettings(**payload["settings"])
    writers = {get(r).checkpoint.fingerprint: get(r).checkpoint.label for r in payload["from"]}
    if settings.states and len(writers) > 1:
        raise UserError(
            "Hidden states are an input, and the routes runs are of different checkpoints: "
            f"{', '.join(sorted(writers.values()))}.",
            "Hidden states of one model mean nothing in those of another.",
            "Choose routes runs of one checkpoint, or train without hidden states.",
        )
    for route_id in payload["from"]:
        _need_states(settings, route_id)
        data += _labelled(route_id)
    if payload["upload"] or payload["path"]:
        path = Path(payload["path"]) if payload["path"] else uploads.finish(payload["upload"]).path
        read, problems = read_labelled(path, payload["normaliser"])
        data += read
    names = encoder_names()
    if settings.embeddings and not names:
        raise UserError(
            "Embeddings are switched on, and this installation has no sentence encoder.",
            "",
            "Switch embeddings off, or install an encoder.",
        )
    encoder = names[0] if settings.embeddings else ""
    if encoder:
        work.progress("embedding questions, paths and answers")
    scorer = train(
        data, settings, _open(encoder).encode if encoder else None, encoder,
        lambda epoch, epochs: work.progress("training the scorer", epoch, epochs, "epochs"),
    )  # fmt: skip
    if settings.states:
        (scorer.facts["states_of"],) = writers
    scorer.facts["problems"], scorer.facts["n_problems"] = problems[:20], len(problems)
    file = artefacts.write_bytes(scorer.to_bytes(), ".safetensors")
    with database().writing() as conn:
        scorer_id = table.add_scorer(conn, payload["name"], file, encoder, asdict(settings), scorer.facts)
    if payload["upload"]:
        uploads.discard(payload["upload"])
    return {"scorer": scorer_id}


def _labelled(route_id: int) -> Iterator[Labelled]:
    """Items of a routes run with a gold answer, as training data."""
    routes = get(route_id)
    for row, shown in _with_texts(route_id):
        kept = row["kept"]
        gold = gold_key(kept, routes.settings.normaliser)
        if gold is None or kept["refused"]:
            continue
        paths = _paths(kept, shown, routes.settings)
        yield Labelled(shown["question"], tuple(paths), tuple(float(p.key == gold) for p in paths))


def _paths(kept: Mapping[str, Any], shown: Mapping[str, Any], settings: RouteSettings) -> list[PathText]:
    return [
        PathText(
            t["text"], s["raw"], answer_key(s, kept, settings.normaliser, settings.strict)[0], not s["cut"],
            unpacked(t["state"]) if "state" in t else None,
        )
        for s, t in zip(kept["paths"], shown["paths"], strict=True)
    ]  # fmt: skip


def _with_texts(route_id: int) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    with database().reading() as conn:
        rows = table.items(conn, route_id)
    name, held = None, []
    for row in rows:  # items of one artefact stand together
        if row["artefact"] != name:
            name, held = row["artefact"], artefacts.read_all(row["artefact"])
        yield row, held[row["slot"]]


def _reads(
    questions: Sequence[tuple[str, Sequence[PathText]]], encoder: Encoder | None
) -> list[tuple[int, np.ndarray]]:
    if encoder is None:
        return [(0, np.zeros(len(paths), dtype=np.int64)) for _, paths in questions]
    return reads(questions, encoder.lengths, encoder.window)


def _need_states(settings: ScorerSettings, route_id: int) -> None:
    """Raises UserError where hidden states are read of a checkpoint that a bundle did not bring along."""
    run_id = get(route_id).run_id
    if settings.states and run_id is not None:
        need_checkpoint(get_run(run_id))


def start_scoring(route_id: int, scorer_id: int) -> int:
    """Queues the scoring of a routes run's paths; returns the job."""
    routes, scorer = get(route_id), get_scorer(scorer_id)
    payload = {"routes": route_id, "scorer": scorer_id}
    return jobs.enqueue("route_scores", payload, lane="long", title=f"Score {routes.name} with {scorer.name}")


def handle_scores(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    score(work, payload["routes"], payload["scorer"])
    rejudge(get(payload["routes"]).run_id)
    return {"routes": payload["routes"]}


def score(work: Work, route_id: int, scorer_id: int) -> None:
    routes, stored = get(route_id), get_scorer(scorer_id)
    scorer = Scorer.load(artefacts.path(stored.file))
    _need_states(scorer.settings, route_id)
    if scorer.settings.states and scorer.facts.get("states_of") != routes.checkpoint.fingerprint:
        raise UserError(
            f"The scorer {stored.name!r} reads hidden states of another checkpoint.",
            f"{routes.name!r} was written by {routes.checkpoint.label}.",
            "Train a scorer on routes runs of this checkpoint, or one without hidden states.",
        )
    encoder = _open(stored.encoder) if scorer.settings.embeddings else None
    block: list[tuple[int, dict[str, Any], str, list[PathText]]] = []
    done, total = 0, routes.done
    work.progress("scoring paths", 0, total, "items")

    def flush() -> None:
        nonlocal done
        questions = [(question, paths) for _, _, question, paths in block]
        begun = time.perf_counter()
        scores = scorer.score(questions, None if encoder is None else encoder.encode)
        seconds = time.perf_counter() - begun
        read = _reads(questions, encoder)
        # Time is shared out by word pieces; one a path stands for its features, so that it goes by paths without them.
        total_read = sum(len(paths) + n + own.sum() for (_, paths), (n, own) in zip(questions, read, strict=True))
        changed = {}
        for (ordinal, kept, _, _), own, (n, words) in zip(block, scores, read, strict=True):
            for path, score, pieces in zip(kept["paths"], own.tolist(), words.tolist(), strict=True):
                states = path["state_tokens"] if scorer.settings.states else 0
                path |= {"score": round(score, 6), "read": pieces, "states": states}
            share = (len(words) + n + int(words.sum())) / total_read
            pooling = kept["state_seconds"] if scorer.settings.states else 0.0
            kept["scoring"] = {"question": n, "seconds": round(seconds * share + pooling, 6)}
            changed[ordinal] = kept
        done += len(block)
        work.progress(
            "scoring paths", done, total, "items",
            lambda conn: table.store_scores(conn, route_id, scorer_id, changed),
        )  # fmt: skip
        block.clear()

    for row, shown in _with_texts(route_id):
        if not row["kept"]["refused"] and row["kept"]["paths"]:
            paths = _paths(row["kept"], shown, routes.settings)
            block.append((row["ordinal"], row["kept"], shown["question"], paths))
        if len(block) >= 64:
            flush()
    if block:
        flush()
