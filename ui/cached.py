"""The only file that caches. Keys are ids, what the verdicts rest on and the filter's text; entries are few.

A judged run does not change until it is judged again, which changes the key. Only sets that people or a new grouping
make (clusters, picked and reviewed rows) change under the same key, so what rests on those lives for seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.filters import from_query
from core.services import clusters, compare, exports, knowledge, results, runs, specs
from core.services import dynamics as along
from core.services.clusters import MapPoints
from core.services.compare import Comparison, Match
from core.services.dynamics import Dynamics, Points
from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.services.views import Overview
from core.types import Run

_SECONDS, _PASSING = 600, 5
# Columns of the filter that are sets beside the verdicts.
_SETS = ("cluster", "picked", "reviewed")


def _selection(run_id: int, query: tuple[tuple[str, str], ...]) -> Any:
    return from_query(dict(query), runs.get_run(run_id).columns)


@st.cache_data(ttl=_SECONDS, max_entries=8, show_spinner=False)
def _overview(run_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> Overview:
    return results.overview(run_id, _selection(run_id, query))


@st.cache_data(ttl=_SECONDS, max_entries=32, show_spinner=False)
def _facets(
    run_id: int, judged: str, query: tuple[tuple[str, str], ...], names: tuple[str, ...]
) -> dict[str, list[tuple[Any, int]]]:
    return results.facets(run_id, _selection(run_id, query), names)


@st.cache_data(ttl=_SECONDS, max_entries=64, show_spinner=False)
def _matching(run_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> int:
    return exports.count(run_id, _selection(run_id, query))


@st.cache_data(ttl=_SECONDS, max_entries=8, show_spinner=False)
def _dynamics(run_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> Dynamics:
    return along.dynamics(run_id, _selection(run_id, query))


@st.cache_data(ttl=_SECONDS, max_entries=4, show_spinner=False)
def _data_map(run_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> Points:
    return along.data_map(run_id, _selection(run_id, query))


@st.cache_data(ttl=_PASSING, max_entries=4, show_spinner=False)
def _cluster_points(run_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> MapPoints:
    return clusters.points(run_id, _selection(run_id, query))


@st.cache_data(ttl=600, max_entries=4, show_spinner="Matching samples")
def _matched(run_id: int, other_id: int) -> Match:
    return compare.match(run_id, other_id)


@st.cache_data(ttl=_SECONDS, max_entries=4, show_spinner=False)
def _comparison(run_id: int, other_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> Comparison:
    return compare.compare(run_id, other_id, _selection(run_id, query), _matched(run_id, other_id))


@st.cache_data(ttl=600, max_entries=32, show_spinner=False)
def suggested_scorer(dataset_id: int) -> tuple[str, str]:
    """The scorer that fits a dataset's targets, and why; a stored dataset never changes."""
    return specs.suggest_scorer(dataset_id)


@st.cache_data(ttl=600, max_entries=16, show_spinner=False)
def _board(route_id: int, version: int, choice: route_board.Choice) -> route_board.Board:
    return route_board.board(route_id, choice)


def board(found: routes.RoutesRun, choice: route_board.Choice) -> route_board.Board:
    """A routes run replayed; its version changes with everything that is stored of it."""
    return _board(found.id, found.version, choice)


def overview(run: Run, query: Mapping[str, str]) -> Overview:
    """The run at a glance under the filter ``query``."""
    return _overview(run.id, _version(run, query), tuple(query.items()))


def facets(run: Run, query: Mapping[str, str], names: Sequence[str]) -> dict[str, list[tuple[Any, int]]]:
    """Counts of the values of the columns ``names`` under the other terms of ``query``."""
    return _facets(run.id, _version(run, query), tuple(query.items()), tuple(names))


def matching(run: Run, query: Mapping[str, str]) -> int:
    """How many samples pass ``query``; a turned page does not count anew."""
    return _matching(run.id, _version(run, query), tuple(query.items()))


@st.cache_data(ttl=_SECONDS, max_entries=8, show_spinner=False)
def _known(run_id: int, judged: str, query: tuple[tuple[str, str], ...]) -> tuple[knowledge.Summary, knowledge.Points]:
    selection = _selection(run_id, query)
    return knowledge.summary(run_id, selection), knowledge.points(run_id, selection)


def known(run: Run, query: Mapping[str, str]) -> tuple[knowledge.Summary, knowledge.Points]:
    """What the base knew under the filter ``query``: classes, and margins before and after."""
    return _known(run.id, _version(run, query), tuple(query.items()))


def dynamics(run: Run, query: Mapping[str, str]) -> Dynamics:
    """Events along the checkpoints and status along the training order, under the filter."""
    return _dynamics(run.id, _version(run, query), tuple(query.items()))


def data_map(run: Run, query: Mapping[str, str]) -> Points:
    """The points of the data map under the filter."""
    return _data_map(run.id, _version(run, query), tuple(query.items()))


def cluster_points(run: Run, query: Mapping[str, str]) -> MapPoints:
    """The points of the map of groups under the filter."""
    return _cluster_points(run.id, _version(run, query), tuple(query.items()))


def matched(run: Run, other: Run) -> Match:
    """Which samples of two runs are the same; datasets do not change, so this is kept longer."""
    return _matched(run.id, other.id)


def comparison(run: Run, other: Run, query: Mapping[str, str]) -> Comparison:
    """What changed from ``run`` to ``other`` among the samples that pass the filter of ``run``."""
    return _comparison(run.id, other.id, _version(run, query) + _version(other, {}), tuple(query.items()))


def _version(run: Run, query: Mapping[str, str]) -> str:
    """Changes whenever the run's verdicts do, so that a judged run is never shown with earlier numbers."""
    passing = any(name.rstrip("!") in _SETS for name in query)
    return f"{run.state} {run.thresholds} {dict(run.summary)} {time.monotonic() // _PASSING if passing else ''}"
