"""The only file that caches. Keys are ids, what the verdicts rest on and the filter's text; entries are few.

A judged run does not change until it is judged again, which changes the key. Only sets that people or a new grouping
make (clusters, picked and reviewed rows) change under the same key, so what rests on those lives for seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import streamlit as st

from core.filters import from_query
from core.services import (
    clusters,
    compare,
    decision,
    exports,
    grouped,
    knowledge,
    recordings,
    results,
    review,
    runs,
    samples,
    specs,
)
from core.services import dynamics as along
from core.services import excerpts as service
from core.services.compare import Comparison, Pairs
from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.types import Filter, Run

_SECONDS, _PASSING = 600, 5
# Columns of the filter that are sets beside the verdicts.
_SETS = ("cluster", "picked", "reviewed", "tag", "judged")


P = ParamSpec("P")
R = TypeVar("R")


def _kept(
    service: Callable[Concatenate[int, Filter, P], R], entries: int, seconds: int = _SECONDS
) -> Callable[Concatenate[Run, Mapping[str, str], P], R]:
    """``service`` for a run and the address's filter; kept until the verdicts change."""

    @st.cache_data(ttl=seconds, max_entries=entries, show_spinner=False)
    @wraps(service)  # Streamlit tells caches apart by the name and source of what is wrapped
    def keyed(run_id: int, judged: str, query: tuple[tuple[str, str], ...], *args: P.args, **kwargs: P.kwargs) -> R:
        return service(run_id, from_query(dict(query), runs.get_run(run_id).columns), *args, **kwargs)

    def kept(run: Run, query: Mapping[str, str], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return keyed(run.id, _version(run, query), tuple(query.items()), *args, **kwargs)

    return kept


def _version(run: Run, query: Mapping[str, str]) -> str:
    """Changes whenever the run's verdicts do, so that a judged run is never shown with earlier numbers."""
    passing = any(name.rstrip("!") in _SETS for name in query)
    return f"{run.state} {run.thresholds} {dict(run.summary)} {time.monotonic() // _PASSING if passing else ''}"


def _known(run_id: int, selection: Filter) -> tuple[knowledge.Summary, knowledge.Points]:
    return knowledge.summary(run_id, selection), knowledge.points(run_id, selection)


def _comparison(run_id: int, selection: Filter, other_id: int, version: str) -> Comparison:
    return compare.compare(run_id, other_id, selection, pairs(runs.get_run(run_id), runs.get_run(other_id)))


overview = _kept(results.overview, 8)
effects = _kept(decision.effects, 16)
groups = _kept(grouped.groups, 8, _PASSING)
facets = _kept(results.facets, 32)
matching = _kept(exports.count, 64)
known = _kept(_known, 8)
dynamics = _kept(along.dynamics, 8)
recording = _kept(recordings.recorded, 8)
data_map = _kept(along.data_map, 4)
cluster_points = _kept(clusters.points, 4, _PASSING)
_compared = _kept(_comparison, 4)


@st.cache_data(ttl=_SECONDS, max_entries=16, show_spinner=False)
def _excerpts(
    run_id: int, version: str, ordinals: tuple[int, ...], _rows: Sequence[Mapping[str, Any]]
) -> dict[str, service.Excerpt]:
    return service.excerpts(run_id, _rows)


def excerpts(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, service.Excerpt]:
    """What the rows of a page ask, should answer and do answer."""
    return _excerpts(run.id, _version(run, {}), tuple(r["ordinal"] for r in rows), rows)


@st.cache_data(ttl=_SECONDS, max_entries=4, show_spinner=False)
def _surest(run_id: int, version: str) -> tuple[Mapping[str, Any] | None, service.Excerpt | None]:
    query = "status=unlearned,partly&cause!=~,undetermined&sort=-confidence"
    rows = samples.page(run_id, from_query(query, runs.get_run(run_id).columns), None, 1).rows
    texts = service.excerpts(run_id, rows)
    return (rows[0], texts[rows[0]["sid"]]) if rows else (None, None)


def surest(run: Run) -> tuple[Mapping[str, Any] | None, service.Excerpt | None]:
    """The row of a sample that was not learned whose cause is surest, with its excerpt; None where there is none."""
    return _surest(run.id, _version(run, {}))


@st.cache_data(ttl=_SECONDS, max_entries=32, show_spinner=False)
def _loss_scale(run_id: int, version: str, names: tuple[str, ...]) -> float:
    means = samples.means(run_id, names)
    return 2 * max(means.values(), default=0.5)


@st.cache_data(ttl=_SECONDS, max_entries=4, show_spinner=False)
def _ranked(run_id: int, version: str) -> review.Ranked:
    return review.rank(run_id)


def review_queue(run: Run, number: int | None) -> review.Queue:
    """A round of the review queue; its order follows from the verdicts."""
    return review.queue(run.id, number, _ranked(run.id, _version(run, {})))


def loss_scale(run: Run) -> float:
    """The loss at the upper end of every line of the run: twice the largest mean, so that outliers flatten nothing."""
    names = {c.name for c in run.columns}
    measured = (role.column("nll") for role in run.spec.checkpoints)
    return _loss_scale(run.id, _version(run, {}), tuple(name for name in measured if name in names))


def comparison(run: Run, other: Run, query: Mapping[str, str]) -> Comparison:
    """What changed from ``run`` to ``other`` among the samples that pass the filter of ``run``."""
    return _compared(run, query, other.id, _version(other, {}))


@st.cache_resource(ttl=_SECONDS, max_entries=4, show_spinner="Matching samples")  # shared, never copied: it is large
def _pairs(run_id: int, other_id: int, version: str) -> Pairs:
    return compare.pairs_of(run_id, other_id)


def pairs(run: Run, other: Run) -> Pairs:
    """Which samples of two runs are the same, with their verdicts in both."""
    return _pairs(run.id, other.id, _version(run, {}) + _version(other, {}))


@st.cache_data(ttl=_SECONDS, max_entries=32, show_spinner=False)
def suggested_scorer(dataset_id: int) -> tuple[str, str]:
    """The scorer that fits a dataset's targets, and why; a stored dataset never changes."""
    return specs.suggest_scorer(dataset_id)


@st.cache_data(ttl=_SECONDS, max_entries=16, show_spinner=False)
def _board(route_id: int, version: int, choice: route_board.Choice) -> route_board.Board:
    return route_board.board(route_id, choice)


def board(run: routes.RoutesRun, choice: route_board.Choice) -> route_board.Board:
    """A routes run replayed; its version changes with everything that is stored of it."""
    return _board(run.id, run.version, choice)
