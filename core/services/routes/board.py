"""A routes run replayed, ready to draw: the whole at one choice of sliders, and single items. No model runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.egrm import policies as rivals
from core.egrm import replay as science
from core.egrm.consensus import early_stop, need
from core.egrm.items import answer_key, load
from core.egrm.routers import Routers, routers
from core.egrm.settings import RouteSettings
from core.errors import UserError
from core.services import artefacts
from core.services.routes.reachable import choice_at_hand
from core.services.routes.runs import RoutesRun
from db import routes as table
from db.session import database

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
        ledger: tokens per item, each part apart; NaN = not measured.
        scorer_asked: whether the chooser reads scores, so that scoring is part of the cost.
        order: judging mode: (same verdict in both orders, items with both); else None.
        normaliser_moves: items that the author's exact comparison would judge or route otherwise.
    """

    n: int
    judged: int
    refused: Mapping[str, int]
    policies: tuple[Any, ...]
    comparisons: tuple[Any, ...]
    curve: tuple[Any, ...]
    routers: Routers
    levels: tuple[Any, ...]
    calibration: Mapping[str, float]
    lists: Mapping[str, tuple[Line, ...]]
    titles: Mapping[str, str]
    outcomes: Mapping[tuple[bool, bool, bool], int]
    groups: tuple[Mapping[str, Any], ...]
    hygiene: Mapping[str, Any]
    ledger: Mapping[str, float]
    scorer_asked: bool
    order: tuple[int, int] | None
    normaliser_moves: int
    options: int | None
    scored: bool
    notes: Mapping[str, int]


def choice(routes: RoutesRun, moved: Mapping[str, Any]) -> Choice:
    """The standing choice with ``tau``, ``m``, ``k``, ``normaliser``, ``strict``, ``choose`` moved.

    Raises:
        UserError: more answers or paths than were generated, an unknown name, or scores that are not there.
    """
    settings = RouteSettings.from_dict(routes.settings.as_dict() | dict(moved))
    for name, most in (("m", routes.settings.m), ("k", routes.settings.k)):
        if getattr(settings, name) > most:
            raise UserError(f"{name}={getattr(settings, name)} is more than was generated.", f"There are {most}.")
    scored = is_scored(routes.id)
    if moved.get("choose") in ("scorer", "weighted") and not scored:
        raise UserError("The paths have no scores.", "", f"Run: lacuna routes score {routes.id} --scorer ID")
    normaliser = "choice" if routes.mode == "judging" else settings.normaliser
    wanted = need(settings.tau, settings.m)
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
    items = load(kept, choice.normaliser, choice.strict)
    usable = [r for r in rows if not r["kept"]["refused"]]
    setting = science.Setting(choice.wanted, choice.m, choice.k, choice.choose)
    seen = science.replay(items, setting)
    j = items.judged
    notes: dict[str, int] = {}
    for row in kept:
        for note in row["notes"]:
            notes[note] = notes.get(note, 0) + 1

    def line(i: int) -> Line:
        row, chosen = usable[i], int(seen.chosen[i])
        path = row["kept"]["paths"][chosen] if row["kept"]["paths"] else {"raw": None}
        return Line(
            row["ordinal"], row["sid"], row["question"], float(seen.share[i]), bool(seen.short[i]),
            _consensus_words(row["kept"], seen.direct[i], items.probes[i]), path["raw"] or "(none read)",
            _gold(row["kept"]),
            float(seen.probe_cost[i] + (0 if seen.short[i] else seen.path_cost[i])),
        )  # fmt: skip

    def mean(values: np.ndarray) -> float:
        return float(values[j].mean()) if j.any() else math.nan

    long = ~seen.short
    return Board(
        n=items.n,
        judged=int(j.sum()),
        refused=items.refused,
        policies=tuple(rivals.policies(items, seen)) if items.n else (),
        comparisons=tuple(rivals.comparisons(items, seen)) if items.n else (),
        curve=tuple(rivals.curve(items, choice.m, choice.k, choice.choose)) if items.n else (),
        routers=routers(items, seen),
        levels=tuple(science.levels(items, seen)),
        calibration=science.calibration(items, seen) if items.n else {},
        lists={name: tuple(line(int(i)) for i in places) for name, places in science.lists(items, seen).items()},
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
            "scorer, word pieces read by its encoder": mean(np.where(long, seen.encoder_cost, 0.0)),
            "scorer, tokens the checkpoint reads again": mean(np.where(long, seen.states_cost, 0.0)),
        },
        scorer_asked=choice.choose in science.SCORED,
        order=science.order_agreement(items, seen),
        normaliser_moves=science.normaliser_difference(kept, seen, choice.strict),
        options=items.options,
        scored=items.scored,
        notes=notes,
    )


def _consensus_words(kept: Mapping[str, Any], answer: str | None, keys: np.ndarray) -> str:
    """The consensus answer in the words of the first one that gave it."""
    if answer is None:
        return "(none read)"
    if kept["pair"]:
        return f"reply {int(answer) + 1}"
    at = next(i for i, k in enumerate(keys) if k == answer)
    return str(kept["probes"][at]["raw"])


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
    tokens: int | None
    temperature: float | None
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
    items = load([kept], choice.normaliser, choice.strict)
    seen = science.replay(items, science.Setting(choice.wanted, choice.m, choice.k, choice.choose))
    judged, gold = bool(items.judged[0]), items.gold[0]
    clusters = {k: i for i, k in enumerate(dict.fromkeys(k for k in (*items.probes[0], *items.paths[0]) if k))}
    scores = items.score[0, : choice.k]
    ranks = (-scores).argsort(kind="stable").argsort() + 1 if np.isfinite(scores).all() else None

    def view(part: str, i: int, text: Mapping[str, Any]) -> SaidView:
        answer, failure = answer_key(text, kept, choice.normaliser, choice.strict)
        words = shown[part][i]
        path = part == "paths"
        return SaidView(
            words["text"], text["raw"], failure, None if answer is None else clusters[answer],
            (answer is not None and answer == gold) if judged else None, text["cut"], text["tokens"],
            words["temperature"], words["top_p"], text["swapped"], text["logp"], text["score"],
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
        direct=_consensus_words(kept, seen.direct[0], items.probes[0]),
        direct_right=bool(seen.direct_right[0]) if judged else None,
        reasoned=best.answer or "(none read)", reasoned_right=bool(seen.path_right[0]) if judged else None,
        margin=margin, probes=probes, paths=paths,
        tokens={"direct answers": probe_cost, "reasoning": path_cost,
                "spent": probe_cost + (0 if seen.short[0] else path_cost),
                "scoring": float(seen.encoder_cost[0] + seen.states_cost[0])},
        seconds={"direct answers": float(items.probe_seconds[0]), "reasoning": float(items.path_seconds[0]),
                 "scoring": float(items.score_seconds[0])},
        early=drawn,
    )  # fmt: skip
