"""Groups of unlearned samples: the job that finds them, and what the page draws of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from core.errors import UserError
from core.plugins import kinds
from core.services import jobs
from core.services.jobs import Work
from core.services.runs import get_run
from core.types import Filter, Sample, Term
from db import groups as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

T = TypeVar("T")

# Samples read for a grouping; of more an even draw of the learned ones stands for all of them.
MOST_ROWS = 40_000
# Characters of a sample that its vector is made from.
READ = 2_000
# Points of the map.
MOST_POINTS = 20_000
WORDS = "tfidf"


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group or part as the page lists it; ``name`` as the filter names it. ``causes``: cause to rows."""

    name: str
    title: str
    terms: tuple[str, ...]
    size: int
    matching: int
    region: int
    lift: float
    cause: str | None
    causes: Mapping[str | None, int]
    parts: tuple[GroupView, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of a run under the filter.

    Attributes:
        outside: rows in no group that pass the filter.
        stale: the run was judged with other limits since, so that other samples are unlearned now.
    """

    embedding: str
    groups: tuple[GroupView, ...]
    rows: int
    outside: int
    stale: bool


@dataclass(frozen=True, slots=True)
class MapPoints:
    """Grouped rows on the map. ``groups`` and ``parts``: their numbers, 0 for none; ``total`` rows would be there."""

    sids: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    groups: tuple[int, ...]
    parts: tuple[int, ...]
    causes: tuple[str | None, ...]
    total: int


def embeddings() -> list[tuple[str, str]]:
    """(name, label) of what samples can be grouped by; the first one needs nothing."""
    choices = [(WORDS, "Words (TF-IDF), no model")]
    with suppress(ModuleNotFoundError):
        choices += [(k.name, k.label) for k in kinds("encoders").values()]
    return choices


def request(run_id: int, embedding: str = WORDS) -> int:
    """Asks the worker to group the run's unlearned samples; the job's id."""
    if embedding not in dict(embeddings()):
        raise UserError(f"There is no embedding {embedding!r}.", f"There are: {', '.join(dict(embeddings()))}.")
    run = get_run(run_id)
    payload = {"run": run_id, "embedding": embedding}
    return jobs.enqueue("cluster", payload, title=f"Group the unlearned samples of {run.name}", run_id=run_id)


def handle_cluster(work: Work, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Groups the unlearned samples of a judged run and stores the groups; the worker's part."""
    from core.judge.clusters import find_groups

    run, embedding = get_run(payload["run"]), payload.get("embedding", WORDS)
    work.progress("reading samples")
    with database().reading() as conn:
        unlearned = list(verdict_table.ordinals(conn, run, Filter((Term("status", "in", ("unlearned",)),))))
        ordinals = _drawn(run.n_samples, unlearned)
        texts, pairs = [], []
        for s in sample_table.iter_samples(conn, run.spec.dataset_id, ordinals):
            texts.append(f"{s.prompt[-READ:]}\n{s.response[:READ]}")
            pairs.append((_asked(s)[:READ], s.response[:READ]))
    work.progress("embedding", 0, len(texts), "samples")
    vectors = _vectors(embedding, texts)
    work.progress("finding groups")
    place = {ordinal: i for i, ordinal in enumerate(ordinals)}
    mine = [o for o in unlearned if o in place]
    clusters = find_groups(vectors, texts, np.array([place[o] for o in mine], dtype=np.int64), pairs)
    rows = [
        (ordinal, int(g), int(p), float(x), float(y))
        for ordinal, g, p, x, y in zip(mine, clusters.group, clusters.part, clusters.x, clusters.y, strict=True)
    ]
    with database().writing() as conn:
        table.write_grouping(
            conn, run.id, embedding, asdict(run.thresholds), [asdict(g) for g in clusters.groups], rows
        )
    return {"run": run.id, "groups": sum(not g.parent for g in clusters.groups)}


def _asked(sample: Sample) -> str:
    """What the last answer answers: the last message of a person or a tool."""
    return next((m.content for m in reversed(sample.messages) if m.role in ("user", "tool")), sample.prompt)


def _drawn(n: int, unlearned: Sequence[int]) -> list[int]:
    """The unlearned samples, and as many others as there is room for; ascending."""
    if n <= MOST_ROWS:
        return list(range(n))
    keep = set(_even(unlearned, MOST_ROWS // 2))
    others = np.setdiff1d(np.arange(n), np.array(sorted(unlearned), dtype=np.int64))
    return sorted(keep | set(_even(others.tolist(), MOST_ROWS - len(keep))))


def _even(values: Sequence[T], most: int) -> list[T]:
    """Up to ``most`` of the values, evenly drawn."""
    if len(values) <= most:
        return list(values)
    return [values[int(i)] for i in np.unique(np.linspace(0, len(values) - 1, most).round())]


def _vectors(embedding: str, texts: Sequence[str]) -> np.ndarray:
    if embedding == WORDS:
        from core.judge.clusters import tfidf

        return tfidf(texts)
    encoder = kinds("encoders")[embedding].open("")
    try:
        return encoder.encode(texts)
    finally:
        encoder.close()


# -------------------------------------------------------------------------------------------------------- reading


def grouping(run_id: int, chosen: Filter) -> Grouping | None:
    """The run's groups with counts under the filter; None where it was not grouped yet."""
    run = get_run(run_id)
    with database().reading() as conn:
        stored = table.grouping(conn, run_id)
        if stored is None:
            return None
        counted = table.counts(conn, run, "cause", chosen)
        n_unlearned = verdict_table.count(conn, run, Filter((Term("status", "in", ("unlearned",)),)))
    causes: dict[tuple[int, int], dict[str | None, int]] = {}
    for group, part, cause, n in counted:
        for key in {(group, 0), (group, part)}:
            mine = causes.setdefault(key, {})
            mine[cause] = mine.get(cause, 0) + n
    views: dict[int, list[GroupView]] = {}
    for g in stored["groups"]:
        key = (g["parent"], g["number"]) if g["parent"] else (g["number"], 0)
        views.setdefault(g["parent"], []).append(_view(g, causes.get(key, {})))
    tops = tuple(_with_parts(v, views.get(int(v.name), [])) for v in views.get(0, []))
    return Grouping(
        stored["embedding"],
        tops,
        stored["n_rows"],
        sum(causes.get((0, 0), {}).values()),
        stored["thresholds"] != asdict(run.thresholds) or min(n_unlearned, MOST_ROWS // 2) > stored["n_rows"],
    )


def _view(group: Mapping[str, Any], causes: Mapping[str | None, int]) -> GroupView:
    named = {c: n for c, n in causes.items() if c is not None}
    most = max(named, key=lambda c: (named[c], c)) if named else None
    name = f"{group['parent']}.{group['number']}" if group["parent"] else str(group["number"])
    return GroupView(
        name, _title(group), tuple(group["terms"]), group["size"], sum(causes.values()), group["region"],
        group["lift"], most, causes,
    )  # fmt: skip


def _title(group: Mapping[str, Any]) -> str:
    """The title as a phrase, where the texts share no form and the words that set them apart stand for one."""
    terms = group["terms"]
    if not terms or group["title"] != " · ".join(terms):
        return str(group["title"])
    *first, last = (f"“{term}”" for term in terms)
    return f"About {', '.join(first)} and {last}" if first else f"About {last}"


def _with_parts(view: GroupView, parts: Sequence[GroupView]) -> GroupView:
    return replace(view, parts=tuple(parts))


def points(run_id: int, chosen: Filter) -> MapPoints:
    """The map's points under the filter, at most ``MOST_POINTS``, evenly drawn in training order."""
    run = get_run(run_id)
    with database().reading() as conn:
        rows = table.points(conn, run, chosen)
    drawn = _even(rows, MOST_POINTS)
    _, sids, groups, parts, x, y, causes = zip(*drawn, strict=True) if drawn else ((),) * 7
    return MapPoints(sids, x, y, groups, parts, causes, len(rows))


def pick_inside(run_id: int, chosen: Filter, corners: Sequence[tuple[float, float]]) -> tuple[Term, int]:
    """The rows of the map inside an outline as a condition, whether they were drawn or not, and how many they are.

    Raises:
        UserError: no row lies inside.
    """
    run = get_run(run_id)
    with database().reading() as conn:
        rows = table.points(conn, run, chosen)
    xy = np.array([[r[4], r[5]] for r in rows]).reshape(-1, 2)
    inside = within(xy, np.asarray(corners, dtype=np.float64))
    ordinals = [r[0] for r, yes in zip(rows, inside, strict=True) if yes]
    return pick(run_id, ordinals), len(ordinals)


def pick(run_id: int, ordinals: Sequence[int]) -> Term:
    """These rows as a condition that the shared filter can hold."""
    if not ordinals:
        raise UserError("No row lies inside the outline.", "", "Draw around points.")
    with database().writing() as conn:
        return Term("picked", "in", (str(table.pick(conn, run_id, ordinals)),))


def pick_samples(run_id: int, sids: Sequence[str]) -> Term:
    """These samples as a condition that the shared filter can hold; ids that the run does not have are passed over."""
    with database().reading() as conn:
        rows = verdict_table.of_sids(conn, get_run(run_id), sids, ())
    return pick(run_id, sorted(row["ordinal"] for row in rows.values()))


def within(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the (n, 2) points lie inside the polygon, by the even-odd rule."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
        inside ^= crosses & (x < at)
    return inside
