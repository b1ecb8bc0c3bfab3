"""E-GRM routes: choose items, generate both routes once, replay them, train and apply scorers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.egrm import replay as science
from core.egrm.answers import NORMALISERS, extract, suggest_normaliser
from core.egrm.consensus import early_stop
from core.egrm.features import Path as PathText
from core.egrm.preferences import SHAPES, read_labelled, read_pairs
from core.egrm.route import Question, compact, measure, question_of, texts
from core.egrm.scorer import Labelled, Scorer, ScorerSettings, train
from core.egrm.settings import CHOOSERS, PROBES, RouteSettings, judging
from core.errors import UserError
from core.filters import describe, to_text
from core.plugins import kind, kinds
from core.services import artefacts, jobs, runs, uploads
from core.services.checkpoints import get_checkpoint
from core.services.jobs import Cancelled, JobContext
from core.services.reachable import choice_at_hand
from core.settings import settings as process
from core.types import Checkpoint, Filter, Message, Run
from db import routes as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

WAYS = {"probes": PROBES, "choose": CHOOSERS, "normaliser": NORMALISERS}
# Items read from the database at a time.
BLOCK = 256
# Characters of a question kept beside the columns, for lists.
PREVIEW = 200


@dataclass(frozen=True, slots=True)
class RoutesRun:
    """A stored routes run. ``source``: where its items come from, in words; ``done``: items generated so far."""

    id: int
    name: str
    mode: str
    run_id: int | None
    settings: RouteSettings
    checkpoint: Checkpoint
    source: Mapping[str, Any]
    n_items: int
    done: int
    scorer_id: int | None
    version: int
    created: float


def _routes_run(conn: Any, row: Mapping[str, Any]) -> RoutesRun:
    spec = row["spec"]
    return RoutesRun(
        row["id"], row["name"], row["mode"], row["run_id"], RouteSettings.from_dict(spec["settings"]),
        Checkpoint(**spec["checkpoint"]), spec["source"], row["n_items"], table.done(conn, row["id"]),
        row["scorer_id"], row["version"], row["created"],
    )  # fmt: skip


def get(route_id: int) -> RoutesRun:
    with database().reading() as conn:
        return _routes_run(conn, table.get(conn, route_id))


def list_routes(run_id: int | None = None) -> list[RoutesRun]:
    """Newest first."""
    with database().reading() as conn:
        return [_routes_run(conn, r) for r in table.list_routes(conn, run_id)]


def job_of(route_id: int) -> Any:
    """The newest job at work on a routes run, else its newest one if that failed or was cancelled; else None."""
    mine = [j for j in jobs.list_jobs(limit=300) if j.payload.get("routes") == route_id]
    for job in mine:
        if job.state in ("queued", "running"):
            return job
    return mine[0] if mine and mine[0].state in ("failed", "cancelled") else None


def delete(route_id: int) -> None:
    """Deletes a routes run and its texts.

    Raises:
        UserError: a job is at work on it.
    """
    job = job_of(route_id)
    if job is not None and job.state in ("queued", "running"):
        raise UserError(f"Routes run {route_id} is being worked on.", "", "Cancel its job first.")
    with database().writing() as conn:
        row = table.get(conn, route_id)
        names = table.remove(conn, route_id)
    source = row["spec"]["source"].get("artefact")
    artefacts.remove([*names, *([source] if source else [])])
    _rejudge(row["run_id"])


# ------------------------------------------------------------------------------------------------------- start


def suggested(run_id: int, chosen: Filter) -> RouteSettings:
    """Settings that fit the chosen samples: how their answers are compared."""
    run = runs.get_run(run_id)
    with database().reading() as conn:
        ordinals = [o for o, _ in zip(verdict_table.ordinals(conn, run, chosen), range(300), strict=False)]
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id, ordinals))
    golds = [extract(s.response, True).raw or "" for s in samples]
    longest = max((len(s.response.split()) for s in samples), default=0)
    short = {"direct_tokens": 64} if longest <= 12 else {}
    return RouteSettings(normaliser=suggest_normaliser(golds), dtype=run.spec.dtype, seed=run.spec.seed, **short)


def matching(run_id: int, chosen: Filter) -> int:
    """How many samples the filter keeps."""
    with database().reading() as conn:
        return verdict_table.count(conn, runs.get_run(run_id), chosen)


def start_for_run(
    run_id: int,
    chosen: Filter,
    settings: RouteSettings,
    limit: int | None = None,
    scorer_id: int | None = None,
    name: str = "",
) -> tuple[int, int]:
    """Stores a routes run on the samples that the filter keeps and queues it; returns (routes run id, job id).

    Exact duplicates are asked once. With a ``limit``, that many are taken at even distances.
    """
    run = runs.get_run(run_id)
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        first: dict[str, int] = {}
        kept = 0
        for ordinal in verdict_table.ordinals(conn, run, chosen):
            kept += 1
            first.setdefault(hashes[ordinal], ordinal)
        ordinals = sorted(first.values())
        if limit is not None and len(ordinals) > limit:
            ordinals = [ordinals[int(i)] for i in np.linspace(0, len(ordinals) - 1, limit).round()]
        items = [
            (s.ordinal, s.id, s.content_hash, question_of(s).text[:PREVIEW])
            for s in sample_table.iter_samples(conn, run.spec.dataset_id, ordinals)
        ]
    if not items:
        raise UserError("No sample passes this filter.", "", "Choose others on the samples page.")
    source = {"kind": "run", "filter": to_text(chosen), "words": describe(chosen, run.columns), "matching": kept}
    spec = _spec(run.spec.final, settings, source, scorer_id)
    with database().writing() as conn:
        route_id = table.create(
            conn, name.strip() or f"{run.name}: {source['words']}", "answering", spec, items, run.id
        )
    return route_id, _enqueue(route_id, name or run.name)


def start_pairs(
    checkpoint: Checkpoint,
    settings: RouteSettings,
    *,
    upload: str | None = None,
    path: Path | None = None,
    limit: int | None = None,
    name: str = "",
) -> tuple[int, int]:
    """Stores a judging run on a file of preference pairs and queues it; returns (routes run id, job id)."""
    judging(**{k: v for k, v in settings.as_dict().items() if k != "normaliser"})
    shown = uploads.finish(upload).name if upload is not None else path.name if path is not None else ""
    source = {"kind": "pairs", "file": shown, "upload": upload, "path": None if path is None else str(path),
              "limit": limit}  # fmt: skip
    with database().writing() as conn:
        route_id = table.create(
            conn, name.strip() or f"Judging {shown}", "judging", _spec(checkpoint, settings, source, None), []
        )
    return route_id, _enqueue(route_id, shown)


def judging_settings(**changes: Any) -> RouteSettings:
    """Defaults of judging mode."""
    return judging(**changes)


def checkpoint_of(checkpoint_id: int) -> Checkpoint:
    return get_checkpoint(checkpoint_id).checkpoint


def _spec(
    checkpoint: Checkpoint, settings: RouteSettings, source: Mapping[str, Any], scorer_id: int | None
) -> dict[str, Any]:
    if scorer_id is not None:
        get_scorer(scorer_id)
    return {
        "checkpoint": asdict(checkpoint),
        "settings": settings.as_dict(),
        "source": dict(source),
        "scorer": scorer_id,
        "versions": {name: importlib.metadata.version(name) for name in runs.VERSIONS},
    }


def _enqueue(route_id: int, name: str) -> int:
    # Not the run's job: the diagnosis stays as it is, and its page is not covered by this progress.
    return jobs.enqueue("routes", {"routes": route_id}, lane="long", title=f"Routes: {name}")


# ------------------------------------------------------------------------------------------- run by the worker


def handle_routes(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Generates what is missing. Stopped anywhere, what is stored stays and a second call goes on from there."""
    route_id = payload["routes"]
    with database().reading() as conn:
        row = table.get(conn, route_id)
    if row["mode"] == "judging" and row["n_items"] == 0:
        row = _import_pairs(context, row)
    found = get(route_id)
    try:
        _generate(context, found)
        scorer_id = row["spec"].get("scorer")
        if scorer_id is not None:
            _score(context, route_id, scorer_id)
    except Cancelled:
        _rejudge(found.run_id)
        raise
    if found.run_id is not None:
        context.progress("judging")
        _rejudge(found.run_id)
    return {"routes": route_id}


def _rejudge(run_id: int | None) -> None:
    """Writes the run's verdicts again, with what its routes runs say now."""
    if run_id is not None:
        run = runs.get_run(run_id)
        if run.state == "judged":
            runs.write_judgement(run, run.thresholds)


def _import_pairs(context: JobContext, row: Mapping[str, Any]) -> Mapping[str, Any]:
    source = dict(row["spec"]["source"])
    context.progress("reading pairs")
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
    context.progress(
        "reading pairs", len(items), len(items), "pairs", lambda conn: table.set_items(conn, row["id"], spec, items)
    )
    if source["upload"]:
        uploads.discard(source["upload"])
    with database().reading() as conn:
        return table.get(conn, row["id"])


def _as_dict(q: Question) -> dict[str, Any]:
    return {"key": q.key, "text": q.text, "pair": list(q.pair or ()), "better": q.better, "group": q.group,
            "history": [[m.role, m.content] for m in q.history]}  # fmt: skip


def _questions(found: RoutesRun, run: Run | None, ordinals: Sequence[int]) -> list[Question]:
    if run is not None:
        with database().reading() as conn:
            return [question_of(s) for s in sample_table.iter_samples(conn, run.spec.dataset_id, ordinals)]
    stored = artefacts.read_all(found.source["artefact"])
    return [
        Question(
            d["key"], d["text"], history=tuple(Message(*m) for m in d["history"]), pair=tuple(d["pair"]),
            better=d["better"], group=d["group"],
        )
        for d in (stored[o] for o in ordinals)
    ]  # fmt: skip


def _generate(context: JobContext, found: RoutesRun) -> None:
    from core.diagnose import tokenizer_folder
    from core.tokenizers import open_tokenizer

    with database().reading() as conn:
        ordinals = table.missing(conn, found.id)
    stage, total = f"direct answers and chains of thought: {found.checkpoint.label}", found.n_items
    done = total - len(ordinals)
    context.progress(stage, done, total, "items")
    if not ordinals:
        return
    run = None if found.run_id is None else runs.get_run(found.run_id)
    tokenizer = open_tokenizer(tokenizer_folder(found.checkpoint), found.checkpoint.tokenizer)
    backend = kind("backends", "hf").open(
        found.checkpoint, dtype=found.settings.dtype, device=process().device, tokenizer=tokenizer
    )
    try:
        for at in range(0, len(ordinals), BLOCK):
            block = ordinals[at : at + BLOCK]
            questions = _questions(found, run, block)
            place = 0
            for chunk in measure(questions, found.settings, backend, tokenizer, context.asked_to_stop):
                mine = block[place : place + len(chunk)]
                place, done = place + len(chunk), done + len(chunk)
                name = artefacts.write([texts(r) for r in chunk])
                kept = [compact(r) for r in chunk]
                context.progress(
                    stage, done, total, "items",
                    lambda conn, mine=mine, kept=kept, name=name: table.store(conn, found.id, mine, kept, name),
                )  # fmt: skip
            if context.asked_to_stop():
                context.progress(stage, done, total, "items")
    finally:
        backend.close()


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
    if importlib.util.find_spec("core.encoders") is None:
        return []
    return [name for name, found in kinds("encoders").items() if _is_there(found)]


def _is_there(encoder: Any) -> bool:
    try:
        encoder.locate(_location())
    except UserError:
        return False
    return True


def _location() -> str:
    return getattr(process(), "encoder", "") or ""


def _encode(name: str) -> Callable[[Sequence[str]], np.ndarray]:
    if name not in encoder_names():
        raise UserError(f"The sentence encoder {name!r} is not installed.", "", "Train a scorer without embeddings.")
    return kind("encoders", name).open(_location(), process().device).encode


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


def handle_scorer(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Trains a scorer and stores it with its data's hash and metrics."""
    context.progress("collecting labelled paths")
    data: list[Labelled] = []
    problems: list[str] = []
    for route_id in payload["from"]:
        data += _labelled(route_id)
    if payload["upload"] or payload["path"]:
        path = Path(payload["path"]) if payload["path"] else uploads.finish(payload["upload"]).path
        read = read_labelled(path, payload["normaliser"])
        data, problems = data + read.data, read.problems
    settings = ScorerSettings(**payload["settings"])
    names = encoder_names()
    if settings.embeddings and not names:
        raise UserError(
            "Embeddings are switched on, and this installation has no sentence encoder.",
            "",
            "Switch embeddings off, or install an encoder.",
        )
    encoder = names[0] if settings.embeddings else ""
    if encoder:
        context.progress("embedding questions, paths and answers")
    scorer = train(
        data, settings, _encode(encoder) if encoder else None, encoder,
        lambda epoch, epochs: context.progress("training the scorer", epoch, epochs, "epochs"),
    )  # fmt: skip
    scorer.facts["problems"], scorer.facts["n_problems"] = problems[:20], len(problems)
    file = artefacts.write_bytes(scorer.to_bytes(), ".safetensors")
    with database().writing() as conn:
        scorer_id = table.add_scorer(conn, payload["name"], file, encoder, asdict(settings), scorer.facts)
    if payload["upload"]:
        uploads.discard(payload["upload"])
    return {"scorer": scorer_id}


def _labelled(route_id: int) -> Iterator[Labelled]:
    """Items of a routes run with a gold answer, as training data."""
    found = get(route_id)
    for row, shown in _with_texts(route_id):
        kept = row["kept"]
        gold = science.gold_key(kept, found.settings.normaliser)
        if gold is None or kept["refused"]:
            continue
        paths = _paths(kept, shown, found.settings)
        yield Labelled(shown["question"], tuple(paths), tuple(float(p.key == gold) for p in paths))


def _paths(kept: Mapping[str, Any], shown: Mapping[str, Any], settings: RouteSettings) -> list[PathText]:
    return [
        PathText(
            t["text"], s["raw"], science.answer_key(s, kept, settings.normaliser, settings.strict)[0], not s["cut"]
        )
        for s, t in zip(kept["paths"], shown["paths"], strict=True)
    ]


def _with_texts(route_id: int) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    with database().reading() as conn:
        rows = table.items(conn, route_id)
    name, held = None, []
    for row in rows:  # items of one artefact stand together
        if row["artefact"] != name:
            name, held = row["artefact"], artefacts.read_all(row["artefact"])
        yield row, held[row["slot"]]


def start_scoring(route_id: int, scorer_id: int) -> int:
    """Queues the scoring of a routes run's paths; returns the job."""
    found, scorer = get(route_id), get_scorer(scorer_id)
    payload = {"routes": route_id, "scorer": scorer_id}
    return jobs.enqueue("route_scores", payload, lane="long", title=f"Score {found.name} with {scorer.name}")


def handle_scores(context: JobContext, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    _score(context, payload["routes"], payload["scorer"])
    _rejudge(get(payload["routes"]).run_id)
    return {"routes": payload["routes"]}


def _score(context: JobContext, route_id: int, scorer_id: int) -> None:
    found, stored = get(route_id), get_scorer(scorer_id)
    scorer = Scorer.load(artefacts.path(stored.file))
    encode = _encode(stored.encoder) if scorer.settings.embeddings else None
    block: list[tuple[int, dict[str, Any], str, list[PathText]]] = []
    done, total = 0, found.done
    context.progress("scoring paths", 0, total, "items")

    def flush() -> None:
        nonlocal done
        scores = scorer.score([(question, paths) for _, _, question, paths in block], encode)
        changed = {}
        for (ordinal, kept, _, _), own in zip(block, scores, strict=True):
            for said, score in zip(kept["paths"], own.tolist(), strict=True):
                said["score"] = round(score, 6)
            changed[ordinal] = kept
        done += len(block)
        context.progress(
            "scoring paths", done, total, "items",
            lambda conn: table.store_scores(conn, route_id, scorer_id, changed),
        )  # fmt: skip
        block.clear()

    for row, shown in _with_texts(route_id):
        if not row["kept"]["refused"] and row["kept"]["paths"]:
            paths = _paths(row["kept"], shown, found.settings)
            block.append((row["ordinal"], row["kept"], shown["question"], paths))
        if len(block) >= 64:
            flush()
    if block:
        flush()


# ------------------------------------------------------------------------------------------------------ replay


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the sliders stand."""

    wanted: int
    m: int
    k: int
    normaliser: str
    strict: bool
    choose: str


@dataclass(frozen=True, slots=True)
class Line:
    """One item in a list."""

    ordinal: int
    sid: str
    question: str
    share: float
    short: bool
    direct: str
    reasoned: str
    gold: str
    tokens: float


@dataclass(frozen=True, slots=True)
class Board:
    """A routes run replayed at one choice; everything is over the items with a gold answer unless it says otherwise.

    Attributes:
        n: items generated; ``judged``: with a gold answer; ``refused``: reasons to counts.
        lists: name to items, in the order of ``core.egrm.replay.LISTS``; ``titles`` says what they are.
        ledger: tokens per item, each part apart.
        order: judging mode: (same verdict in both orders, items with both); else None.
        normaliser_moves: items that the author's exact comparison would judge or route otherwise.
    """

    n: int
    judged: int
    refused: Mapping[str, int]
    policies: tuple[Any, ...]
    comparisons: tuple[Any, ...]
    curve: tuple[Any, ...]
    levels: tuple[Any, ...]
    calibration: Mapping[str, float]
    lists: Mapping[str, tuple[Line, ...]]
    titles: Mapping[str, str]
    outcomes: Mapping[tuple[bool, bool, bool], int]
    groups: tuple[Mapping[str, Any], ...]
    hygiene: Mapping[str, Any]
    ledger: Mapping[str, float]
    order: tuple[int, int] | None
    normaliser_moves: int
    options: int | None
    scored: bool
    notes: Mapping[str, int]


def choice(found: RoutesRun, moved: Mapping[str, Any]) -> Choice:
    """The standing choice with ``tau``, ``m``, ``k``, ``normaliser``, ``strict``, ``choose`` moved.

    Raises:
        UserError: more answers or paths than were generated, an unknown name, or scores that are not there.
    """
    settings = RouteSettings.from_dict(found.settings.as_dict() | dict(moved))
    for name, most in (("m", found.settings.m), ("k", found.settings.k)):
        if getattr(settings, name) > most:
            raise UserError(f"{name}={getattr(settings, name)} is more than was generated.", f"There are {most}.")
    scored = is_scored(found.id)
    if moved.get("choose") in ("scorer", "weighted") and not scored:
        raise UserError("The paths have no scores.", "", f"python -m core routes score {found.id} --scorer ID")
    normaliser = "choice" if found.mode == "judging" else settings.normaliser
    wanted = science.need(settings.tau, settings.m)
    return Choice(wanted, settings.m, settings.k, normaliser, settings.strict, choice_at_hand(settings, scored))


def is_scored(route_id: int) -> bool:
    """Whether every path that was generated has a score."""
    with database().reading() as conn:
        rows = [i["kept"] for i in table.items(conn, route_id)]
    return any(r["paths"] for r in rows) and all(p["score"] is not None for r in rows for p in r["paths"])


def board(route_id: int, choice: Choice) -> Board:
    """The routes run at this choice; no model runs."""
    with database().reading() as conn:
        rows = table.items(conn, route_id)
    kept = [r["kept"] for r in rows]
    items = science.load(kept, choice.normaliser, choice.strict)
    asked = [r for r in rows if not r["kept"]["refused"]]
    setting = science.Setting(choice.wanted, choice.m, choice.k, choice.choose)
    seen = science.replay(items, setting)
    j = items.judged
    notes: dict[str, int] = {}
    for row in kept:
        for note in row["notes"]:
            notes[note] = notes.get(note, 0) + 1

    def line(i: int) -> Line:
        row, chosen = asked[i], int(seen.chosen[i])
        said = row["kept"]["paths"][chosen] if row["kept"]["paths"] else {"raw": None}
        return Line(
            row["ordinal"], row["sid"], row["question"], float(seen.share[i]), bool(seen.short[i]),
            _said(row["kept"], seen.direct[i], items.probes[i]), said["raw"] or "(none read)", _gold(row["kept"]),
            float(seen.probe_cost[i] + (0 if seen.short[i] else seen.path_cost[i])),
        )  # fmt: skip

    mean = (lambda x: float(x[j].mean())) if j.any() else (lambda x: float("nan"))
    long = ~seen.short
    return Board(
        n=items.n,
        judged=int(j.sum()),
        refused=items.refused,
        policies=tuple(science.policies(items, seen)) if items.n else (),
        comparisons=tuple(science.comparisons(items, seen)) if items.n else (),
        curve=tuple(science.curve(items, choice.m, choice.k, choice.choose)) if items.n else (),
        levels=tuple(science.levels(items, seen)),
        calibration=science.calibration(items, seen) if items.n else {},
        lists={name: tuple(line(int(i)) for i in found) for name, found in science.lists(items, seen).items()},
        titles=science.LISTS,
        outcomes=science.outcomes(items, seen),
        groups=tuple(science.group_rows(items, seen)),
        hygiene=items.hygiene,
        ledger={
            "direct prompt": mean(items.probe_prompt),
            "direct answers": mean(seen.probe_cost),
            "direct answers, drawn one after another": mean(seen.stop_tokens),
            "reasoning prompt": mean(long * items.path_prompt),
            "reasoning": mean(long * seen.path_cost),
        },
        order=science.order_agreement(items, seen),
        normaliser_moves=science.normaliser_difference(kept, items, setting, choice.strict),
        options=items.options,
        scored=items.scored,
        notes=notes,
    )


def _said(kept: Mapping[str, Any], answer: str | None, keys: np.ndarray) -> str:
    """The consensus answer in the words of the first one that gave it."""
    if answer is None:
        return "(none read)"
    if kept["pair"]:
        return f"reply {int(answer) + 1}"
    at = next(i for i, k in enumerate(keys) if k == answer)
    return kept["probes"][at]["raw"]


def _gold(kept: Mapping[str, Any]) -> str:
    if kept["pair"]:
        return "not given" if kept["better"] is None else f"reply {kept['better'] + 1}"
    return kept["gold"] if kept["gold"] is not None else "not given"


@dataclass(frozen=True, slots=True)
class SaidView:
    """One direct answer or path, as the page shows it. ``cluster``: number of its answer, None where none was read."""

    text: str
    answer: str | None
    failure: str
    cluster: int | None
    right: bool | None
    cut: bool
    tokens: int
    temperature: float
    top_p: float
    swapped: bool
    logp: float | None
    score: float | None
    rank: int | None
    chosen: bool
    voted: bool


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item with both routes side by side. ``margin``: score of the best path over the next with another answer."""

    ordinal: int
    sid: str
    question: str
    history: tuple[tuple[str, str], ...]
    gold: str
    pair: tuple[str, str] | None
    better: int | None
    refused: str | None
    notes: tuple[str, ...]
    short: bool
    votes: int
    m: int
    direct: str
    direct_right: bool | None
    reasoned: str
    reasoned_right: bool | None
    margin: float | None
    probes: tuple[SaidView, ...]
    paths: tuple[SaidView, ...]
    tokens: Mapping[str, float]
    seconds: Mapping[str, float]
    early: int


def item(route_id: int, ordinal: int, choice: Choice) -> ItemView:
    """One item with everything that was generated of it."""
    with database().reading() as conn:
        row = table.item(conn, route_id, ordinal)
    kept, shown = row["kept"], artefacts.read(row["artefact"], row["slot"]) or {}
    common = {
        "ordinal": ordinal, "sid": row["sid"], "question": shown["question"],
        "history": tuple((a, b) for a, b in shown["history"]), "gold": shown["gold"] or _gold(kept),
        "pair": tuple(shown["pair"]) if shown["pair"] else None, "better": kept["better"],
        "notes": tuple(kept["notes"]),
    }  # fmt: skip
    if kept["refused"]:
        return ItemView(
            **common, refused=kept["refused"], short=False, votes=0, m=0, direct="", direct_right=None, reasoned="",
            reasoned_right=None, margin=None, probes=(), paths=(), tokens={}, seconds={}, early=0,
        )  # fmt: skip
    items = science.load([kept], choice.normaliser, choice.strict)
    seen = science.replay(items, science.Setting(choice.wanted, choice.m, choice.k, choice.choose))
    judged, gold = bool(items.judged[0]), items.gold[0]
    clusters = {k: i for i, k in enumerate(dict.fromkeys(k for k in (*items.probes[0], *items.paths[0]) if k))}
    scores = items.score[0, : choice.k]
    ranks = (-scores).argsort(kind="stable").argsort() + 1 if np.isfinite(scores).all() else None

    def view(part: str, i: int, said: Mapping[str, Any]) -> SaidView:
        found, failure = science.answer_key(said, kept, choice.normaliser, choice.strict)
        words = shown[part][i]
        path = part == "paths"
        return SaidView(
            words["text"], said["raw"], failure, None if found is None else clusters[found],
            (found is not None and found == gold) if judged else None, said["cut"], said["tokens"],
            words["temperature"], words["top_p"], said["swapped"], said["logp"], said["score"],
            int(ranks[i]) if path and ranks is not None else None,
            path and i == int(seen.chosen[0]), path and i == int(seen.voted[0]),
        )  # fmt: skip

    probes = tuple(view("probes", i, s) for i, s in enumerate(kept["probes"][: choice.m]))
    paths = tuple(view("paths", i, s) for i, s in enumerate(kept["paths"][: choice.k]))
    best = paths[int(seen.chosen[0])]
    rivals = [p.score for p in paths if p.cluster != best.cluster and p.score is not None]
    margin = best.score - max(rivals) if best.score is not None and rivals else None
    _, drawn = early_stop(list(items.probes[0, : choice.m]), choice.wanted)
    probe_cost, path_cost = float(seen.probe_cost[0]), float(seen.path_cost[0])
    return ItemView(
        **common, refused=None, short=bool(seen.short[0]), votes=round(float(seen.share[0]) * choice.m), m=choice.m,
        direct=_said(kept, seen.direct[0], items.probes[0]),
        direct_right=bool(seen.direct_right[0]) if judged else None,
        reasoned=best.answer or "(none read)", reasoned_right=bool(seen.path_right[0]) if judged else None,
        margin=margin, probes=probes, paths=paths,
        tokens={"direct answers": probe_cost, "reasoning": path_cost,
                "spent": probe_cost + (0 if seen.short[0] else path_cost)},
        seconds={"direct answers": kept["seconds"][0], "reasoning": kept["seconds"][1]},
        early=drawn,
    )  # fmt: skip


def of_sample(run_id: int, sid: str) -> list[tuple[int, int, str]]:
    """(routes run, ordinal, its name) for each routes run of a diagnosis that has generated this sample."""
    with database().reading() as conn:
        return [
            (r["id"], found, r["name"])
            for r in table.list_routes(conn, run_id)
            if (found := table.ordinal_of(conn, r["id"], sid)) is not None
        ]
