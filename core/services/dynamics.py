"""What happened along the training: events at checkpoints, the data map, status against training order, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.checkpoint.facts import trainer_facts
from core.derived.trajectory import earlier_roles, places
from core.errors import UserError
from core.services.runs import get_run
from core.signals import _columns as col
from core.statistics import Trend as Trend
from core.statistics import trend
from core.types import BASE, Filter, Run
from db import paths
from db import samples as sample_table
from db.session import database

# Points of a map; more are slow to draw and show nothing more.
MOST_POINTS = 20_000
# Parts of the training order in which the status is counted.
BINS = 20
# Points of the loss curve.
MOST_LOGGED = 1_000
MAP = ("dynamics_variability", "dynamics_confidence")


@dataclass(frozen=True, slots=True)
class Stop:
    """One checkpoint of the training; ``place`` is its share of the training."""

    label: str
    step: int | None
    place: float


@dataclass(frozen=True, slots=True)
class Track:
    """One group's rows along the checkpoints; tuples as in ``db.paths.PathCount``."""

    name: str | None
    rows: int
    known: tuple[int, ...]
    given: tuple[int, ...]
    gained: tuple[int, ...]
    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Points:
    """Rows of a scatter: ``x``, ``y`` and what colours them. ``total`` rows would belong in it."""

    sids: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    groups: tuple[str, ...]
    total: int


@dataclass(frozen=True, slots=True)
class OrderCount:
    """One part of the training order: rows of it by status."""

    low: int
    high: int
    status: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Dynamics:
    """Everything the page draws, under one filter.

    Attributes:
        base: whether the first stop is the base model.
        whole: all rows along the stops; ``stages`` the same by stage, in training order.
        order: status along the training order; ``overall`` its trend, ``within`` the trend inside the stages, None
            where none can show.
        losses: (step, training loss) as the trainer logged them; empty without a log.
    """

    stops: tuple[Stop, ...]
    base: bool
    whole: Track | None
    stages: tuple[Track, ...]
    order: tuple[OrderCount, ...]
    overall: Trend | None
    within: Trend | None
    losses: tuple[tuple[int, float], ...]


def has_trajectory(run: Run) -> bool:
    """Whether a checkpoint before the final one was measured."""
    return bool(earlier_roles(run.spec))


def dynamics(run_id: int, chosen: Filter) -> Dynamics:
    """Events, stages and order of one run under the filter."""
    run = get_run(run_id)
    stops, flags = _stops(run)
    with database().reading() as conn:
        counted = paths.path_counts(conn, run, flags, chosen, "stage")
        binned = paths.position_counts(conn, run, BINS, chosen)
        stages = sample_table.get_dataset(conn, run.spec.dataset_id).stages
    place = {name: i for i, name in enumerate(stages)}
    groups = [Track(c.value, c.rows, c.known, c.given, c.gained, c.lost) for c in counted]
    groups.sort(key=lambda g: (g.name is None, place.get(g.name or "", 0)))
    return Dynamics(
        stops=stops,
        base=run.spec.base is not None,
        whole=_summed(groups),
        stages=tuple(groups) if any(g.name is not None for g in groups) else (),
        order=_order(run, binned),
        overall=_trend(binned, stratified=False),
        within=_trend(binned, stratified=True) if len({s for _, s, _, _ in binned}) > 1 else None,
        losses=losses(run),
    )


def data_map(run_id: int, chosen: Filter) -> Points:
    """Confidence over variability of the rows that the filter keeps, at most ``MOST_POINTS`` of them."""
    run = get_run(run_id)
    with database().reading() as conn:
        rows, total = paths.scatter(conn, run, [*MAP, "status"], chosen, MOST_POINTS)
    _, sids, x, y, statuses = zip(*rows, strict=True) if rows else ((),) * 5
    return Points(sids, x, y, statuses, total)


def _stops(run: Run) -> tuple[tuple[Stop, ...], list[str]]:
    """Checkpoints in order, and the columns that say which rows each gives."""
    spec = run.spec
    stops = [Stop(spec.base.label, 0, 0.0)] if spec.base else []
    roles = [BASE] if spec.base else []
    for role, place in zip(earlier_roles(spec), places(spec), strict=False):
        stops.append(Stop(spec.checkpoints[role].label, spec.checkpoints[role].step, float(place)))
        roles.append(role)
    flags = [role.column(col.GREEDY_EXACT) for role in roles]
    known = {c.name for c in run.columns}
    if missing := [f for f in flags if f not in known]:
        raise UserError(
            "This run was judged by an earlier version, which kept less of the checkpoints.",
            f"Not there: {', '.join(missing)}.",
            "Judge it again: Overview, Thresholds, Apply. No model runs.",
        )
    return (*stops, Stop(spec.final.label, spec.final.step, 1.0)), [*flags, "status"]


def _summed(groups: Sequence[Track]) -> Track | None:
    if not groups:
        return None

    def total(name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in np.sum([getattr(g, name) for g in groups], axis=0))

    return Track(None, sum(g.rows for g in groups), *(total(n) for n in ("known", "given", "gained", "lost")))


def _order(run: Run, binned: Sequence[tuple[int, str | None, str, int]]) -> tuple[OrderCount, ...]:
    edges = [-(-b * run.n_samples // BINS) for b in range(BINS + 1)]
    counts: list[dict[str, int]] = [{} for _ in range(BINS)]
    for place, _, status, n in binned:
        counts[place][status] = counts[place].get(status, 0) + n
    parts = zip(edges, edges[1:], counts, strict=False)
    return tuple(OrderCount(low, high - 1, by_status) for low, high, by_status in parts if high > low)


def _trend(binned: Sequence[tuple[int, str | None, str, int]], *, stratified: bool) -> Trend | None:
    """Trend of the share learned along the order; rows of unknown status do not count."""
    strata = sorted({s or "" for _, s, _, _ in binned}) if stratified else [""]
    hits, totals = np.zeros((len(strata), BINS)), np.zeros((len(strata), BINS))
    for place, stage, status, n in binned:
        if status == "unknown":
            continue
        at = strata.index(stage or "") if stratified else 0
        totals[at, place] += n
        hits[at, place] += n * (status == "learned")
    return trend(hits, totals, range(BINS)) if len(strata) else None


def losses(run: Run) -> tuple[tuple[int, float], ...]:
    """Training loss by step, from the latest checkpoint that has a ``trainer_state.json``: it holds the whole log."""
    if run.spec.origin:  # the folders that a bundle names lie on another machine; what their log said came along
        return tuple((int(step), float(loss)) for step, loss in run.summary.get("losses", ()))
    for checkpoint in (run.spec.final, *reversed(run.spec.trajectory)):
        trainer = trainer_facts(Path(checkpoint.path)) if checkpoint.has_weights else None
        if trainer and trainer.losses:
            logged = [(step, loss) for step, loss in trainer.losses if np.isfinite(loss)]
            return tuple(logged[:: max(1, len(logged) // MOST_LOGGED)])
    return ()
