"""What a recorded training says: loss by step, the rows behind a step, loss by source over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.services.runs import get_run
from core.signals import _columns as col
from core.types import Checkpoint, Filter, Role, Run
from db import paths
from db.session import database

# Rows of one step that are listed.
MOST_ROWS = 200
# Sources that are drawn; the others are the smallest.
MOST_SOURCES = 12


@dataclass(frozen=True, slots=True)
class Point:
    """One step: rows that took part in it, their mean loss, and the highest."""

    step: int
    rows: int
    mean: float
    highest: float


@dataclass(frozen=True, slots=True)
class SourcePoint:
    """One epoch of a source; ``step``: in its middle."""

    step: int
    label: str
    rows: int
    mean: float


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one source along the epochs; ``name`` is None where rows name none."""

    name: str | None
    points: tuple[SourcePoint, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded training under one filter. ``sources``: the largest first, empty where no row names one."""

    points: tuple[Point, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class RowAt:
    """A row of one step, with its loss in it."""

    sid: str
    source: str | None
    status: str
    loss: float


def has_recording(run: Run) -> bool:
    """Whether the run's table holds the steps of a recording."""
    return any(True for _ in _epochs(run))


def recorded(run_id: int, chosen: Filter) -> Recorded:
    """Loss by step, and by source and epoch, of the rows that the filter keeps."""
    run = get_run(run_id)
    points: list[Point] = []
    by_source: dict[str | None, list[SourcePoint]] = {}
    with database().reading() as conn:
        for role, epoch in _epochs(run):
            step, loss = role.column(col.AT_STEP), role.column(col.NLL_TRAINED)
            points += [Point(*values) for values in paths.by_step(conn, run, step, loss, chosen)]
            for name, n, mean in paths.mean_by(conn, run, loss, "source", chosen):
                by_source.setdefault(name, []).append(SourcePoint(epoch.step or 0, epoch.label, n, mean))
    sources = [Source(name, tuple(own)) for name, own in by_source.items()]
    sources.sort(key=lambda s: (-max(p.rows for p in s.points), s.name or ""))
    named = any(s.name is not None for s in sources)
    return Recorded(tuple(sorted(points, key=lambda p: p.step)), tuple(sources[:MOST_SOURCES]) if named else ())


def rows_at(run_id: int, chosen: Filter, step: int) -> list[RowAt]:
    """The rows behind one step, the highest loss first, at most ``MOST_ROWS``."""
    run = get_run(run_id)
    found: list[RowAt] = []
    with database().reading() as conn:
        for role, _ in _epochs(run):
            columns = role.column(col.AT_STEP), role.column(col.NLL_TRAINED)
            found += [RowAt(*values) for values in paths.at_step(conn, run, *columns, chosen, step, MOST_ROWS)]
    return sorted(found, key=lambda row: -row.loss)[:MOST_ROWS]


def _epochs(run: Run) -> Iterator[tuple[Role, Checkpoint]]:
    """The recorded epochs whose columns the run's table has, in order."""
    known = {column.name for column in run.columns}
    for role, checkpoint in run.spec.checkpoints.items():
        recorded = "steps" in (checkpoint.gives or ())
        if recorded and {role.column(col.AT_STEP), role.column(col.NLL_TRAINED)} <= known:
            yield role, checkpoint
