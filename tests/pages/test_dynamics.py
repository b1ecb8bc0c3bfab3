"""Dynamics: what it says with and without checkpoints from the way, and where its clicks lead."""

import json

import pytest

from core.filters import from_query
from core.types import Filter
from tests.pages.reading import button, column, words
from ui import along, selecting


def figures(at):
    return [json.loads(e.proto.spec) for e in at.get("plotly_chart")]


def test_without_checkpoints_it_says_how_to_get_them(run_data, open_page):
    at = open_page("dynamics", run="1")
    assert not at.exception and not at.error
    said = words(at)
    assert "--trajectory" in at.code[0].value
    assert "Earlier checkpoints" in said
    assert "Cochran" in said
    assert [f["data"][0]["type"] for f in figures(at)] == ["bar", "scatter"]  # order and loss are known without them


@pytest.mark.usefixtures("trajectory_data")
class TestWithCheckpoints:
    def test_everything_is_drawn_and_said(self, open_page):
        at = open_page("dynamics", run="1")
        assert not at.exception and not at.error
        assert [f["data"][0]["type"] for f in figures(at)] == ["scattergl", "bar", "heatmap", "bar", "scatter"]
        assert "within stages" in words(at)
        points = sum(len(t["x"]) if isinstance(t["x"], list) else 1 for t in figures(at)[0]["data"] if "x" in t)
        assert points
        assert "67 samples" in words(at)

    def test_every_chart_is_a_table_too(self, open_page):
        at = open_page("dynamics", run="1")
        n = len(figures(at))
        for i in range(len(at.segmented_control)):
            at.segmented_control[i].set_value("Table")
        at.run()
        assert not at.exception and not at.error
        assert len(at.get("plotly_chart")) == 0
        assert len(at.dataframe) == n
        assert at.dataframe[1].value["reproduced"].iloc[-1] > 0

    def test_the_filter_comes_along(self, open_page):
        at = open_page("dynamics", run="1", stage="1")
        assert not at.exception and not at.error
        assert "Stage is 1" in [b.label for b in at.button]
        assert "heatmap" not in [f["data"][0]["type"] for f in figures(at)]
        at = open_page("dynamics", run="1", q="no row says this")
        assert "No sample passes" in words(at)

    def test_forgotten_rows_are_one_click_away(self, open_page):
        at = open_page("dynamics", run="1")
        button(at, "Forgotten: open the samples").click()
        at.run()
        assert not at.exception and not at.error
        assert at.query_params == {"run": "1", "forgotten": "1"}
        assert column(at, "status") <= {"✗ Unlearned", "◐ Partly"}


def test_a_rectangle_is_two_ranges():
    event = {"selection": {"box": [{"x": [0.4, 0.1], "y": [0.9, 0.5]}], "points": []}}
    terms = selecting.from_area(event, "dynamics_variability", "dynamics_confidence")
    assert [(t.column, t.values) for t in terms] == [
        ("dynamics_variability", (0.1, 0.4)),
        ("dynamics_confidence", (0.5, 0.9)),
    ]
    assert selecting.from_area({"selection": {"points": []}}, "a", "b") == ()
    assert selecting.from_area(None, "a", "b") == ()


def test_a_point_is_a_row_only_when_it_was_clicked_alone():
    one = {"selection": {"points": [{"customdata": [1, "b"]}]}}
    assert selecting.point_from(one, ["a", "<b>"]) == "<b>"
    assert selecting.point_from({"selection": {"points": [{"customdata": [7, ""]}]}}, ["a"]) is None
    both = {"selection": {"points": [{"customdata": [0, "a"]}, {"customdata": [1, "b"]}]}}
    assert selecting.point_from(both, ["a", "b"]) is None
    boxed = {"selection": {"points": [{"customdata": [1, "b"]}], "box": [{"x": [0, 1], "y": [0, 1]}]}}
    assert selecting.point_from(boxed, ["a", "b"]) is None


def test_a_bar_of_the_order_is_its_rows_and_status():
    event = {"selection": {"points": [{"customdata": [1, "unlearned"]}]}}
    terms = selecting.from_order(event, [(0, 4), (5, 9)])
    chosen = selecting.with_terms(Filter(), terms)
    assert chosen == from_query("ordinal=5..9&status=unlearned", [_status()])


def _status():
    from core.judge.columns import VERDICT_COLUMNS

    return next(c for c in VERDICT_COLUMNS if c.name == "status")


def test_names_of_checkpoints_are_text():
    stop = along.Stop("<b>out</b>/checkpoint-7", 7, 0.5)
    assert along.stop_name(stop) == "checkpoint-7"
    assert "<" not in along.stop_name(along.Stop("<i>x</i>", 3, 0.5)).replace("&lt;", "")
