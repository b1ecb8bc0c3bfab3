"""Clusters: asking for groups, reading them, drilling to rows."""

import json

import pytest

from core.services import clusters, jobs
from core.types import Filter
from tests.pages.reading import button, column, words
from ui import selecting

pytestmark = pytest.mark.usefixtures("trajectory_data")


def test_from_nothing_to_groups_to_rows(open_page, work):
    at = open_page("clusters", run="1")
    assert not at.exception
    assert "belong together" in words(at)
    (job,) = (j for j in jobs.list_jobs() if j.kind == "cluster")  # asked for by looking, once
    at.run()
    jobs.cancel_job(job.id)
    work()
    at.run()
    assert clusters.grouping(1, Filter()) is None and len([j for j in jobs.list_jobs() if j.kind == "cluster"]) == 1
    button(at, "Find groups").click()  # what was cancelled is not begun again by itself
    at.run()
    work()
    at.run()
    assert not at.exception and not at.error
    found = clusters.grouping(1, Filter())
    assert f"{len(found.groups)} groups with" in words(at)
    assert json.loads(at.get("plotly_chart")[0].proto.spec)["data"][-1]["type"] == "scattergl"
    listed = at.dataframe[0].value
    assert listed["title"].tolist() == [g.title for g in found.groups]
    assert all(title.startswith(("“", "Like “")) for title in listed["title"])  # prompts, not lists of words
    assert listed["samples"].tolist() == [g.size for g in found.groups]
    at.query_params["cluster"] = found.groups[0].name
    at.run()
    assert not at.exception and not at.error
    assert f"Group {found.groups[0].name}, {found.groups[0].size} rows: " in words(at)
    button(at, f"Open {found.groups[0].size} samples").click()
    at.run()
    assert at.query_params == {"run": "1", "cluster": found.groups[0].name}
    assert f"{found.groups[0].size} of 67 samples" in words(at)
    assert column(at, "status") == {"✗ Unlearned"}


def test_the_map_is_a_table_too(open_page, work):
    clusters.request(1)
    work()
    at = open_page("clusters", run="1")
    at.segmented_control[0].set_value("Table")
    at.run()
    assert not at.get("plotly_chart")
    assert len(at.dataframe[1].value) == clusters.grouping(1, Filter()).rows


def test_outline_and_rectangle():
    lasso = {"selection": {"lasso": [{"x": [0, 1, 1], "y": [0, 0, 1]}], "points": []}}
    assert selecting.outline_from(lasso) == ((0, 0), (1, 0), (1, 1))
    assert selecting.outline_from({"selection": {"lasso": [{"x": [0, 1], "y": [0, 0]}]}}) == ()
    box = {"selection": {"box": [{"x": [1, 0], "y": [2, 0]}], "points": []}}
    assert selecting.rectangle_from(box) == ((0, 0), (1, 0), (1, 2), (0, 2))
    assert selecting.rectangle_from(None) == ()
    assert selecting.row_from({"selection": {"rows": [], "cells": [[3, "title"]]}}) == 3
    assert selecting.row_from(None) is None


def test_a_selection_without_groups_says_so(open_page, work):
    clusters.request(1)
    work()
    at = open_page("clusters", run="1", status="learned")
    assert not at.exception and not at.error
    assert "No group has a sample in this selection." in words(at)
    assert all("dominant cause" not in frame.value.columns for frame in at.dataframe)
