"""The table under one filter, one row with its evidence, the way out."""

import json
import urllib.parse

import pytest
from streamlit.testing.v1 import AppTest

from core.filters import from_query
from core.services import exports, runs, samples
from core.types import Filter
from tests.pages.reading import button, column, words
from tests.world import HOSTILE


def chosen(text):
    return from_query(text, runs.get_run(1).columns)


def links(at):
    """Label and address of the downloads."""
    component = next(e for e in at.get("bidi_component") if "downloads" in e.proto.component_name)
    return {link["label"]: link["url"] for link in json.loads(component.proto.json)}


def open_more(at):
    """The drawer of further filters, opened as a click on it does."""
    at.session_state["w:filter:more"] = True
    at.run()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "status=unlearned",
        "status=learned&stage=one",
        "q=flag+7",
        "nll=0.5..",
        "sort=-nll",
        "stage=%7E",
        "status%21=learned",
    ],
)
def test_count_table_and_export_agree(run_data, open_page, query):
    at = open_page("samples", run="1", **dict(urllib.parse.parse_qsl(query)))
    assert not at.exception and not at.error
    selection = chosen(query)
    n = exports.count(1, selection)
    assert f"{n:,} of 60 samples" in words(at)
    if n:
        page = samples.page(1, selection, None, 50)
        assert at.dataframe[0].value["ordinal"].tolist() == [r["ordinal"] for r in page.rows]
    label, url = next(iter(links(at).items()))
    assert label.startswith(f"Download {n:,} sample")
    assert url.split("?")[0] == "/api/runs/1/samples.jsonl"
    assert from_query(url.partition("?")[2], runs.get_run(1).columns) == selection
    assert sum(1 for _ in exports.lines(1, selection)) == n


def test_picking_a_status_changes_the_address_and_everything_drawn_from_it(run_data, open_page):
    at = open_page("samples", run="1", stage="two", cursor="bm9uc2Vuc2U")
    assert "no page of the table" in words(at)
    at = open_page("samples", run="1", stage="two")
    at.pills[0].set_value([2])
    at.run()
    assert at.query_params == {"run": "1", "stage": "two", "status": "unlearned"}
    assert column(at, "status") == {"✗ unlearned"}
    at.pills[0].set_value([0, 2])
    at.run()
    assert at.query_params["status"] == "learned,unlearned"
    at.pills[0].set_value([])
    at.run()
    assert at.query_params == {"run": "1", "stage": "two"}


def test_the_widgets_follow_the_address_not_the_other_way_round(run_data, open_page):
    """As after the back button: the address changes, the widgets must show it."""
    at = open_page("samples", run="1")
    at.pills[0].set_value([2])
    at.run()
    at.query_params.clear()
    at.query_params.update({"run": "1", "status": "learned", "q": "flag", "sort": "-nll", "nll": "..2"})
    at.run()
    assert at.pills[0].value == [0]
    assert next(t for t in at.text_input if t.label == "Text").value == "flag"
    assert at.selectbox(key="w:filter:sort").value == "nll"
    open_more(at)
    assert next(n for n in at.number_input if n.label == "Loss to").value == 2.0
    assert f"{exports.count(1, chosen('status=learned&q=flag&nll=..2'))} of 60" in words(at)


def test_text_range_category_and_order(run_data, open_page):
    at = open_page("samples", run="1", status="unlearned")
    next(t for t in at.text_input if t.label == "Text").set_value("  flag 4 & 100%  ")
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "q": "flag 4 & 100%"}
    next(t for t in at.text_input if t.label == "Text").set_value("")
    at.run()
    assert not at.number_input  # counted and drawn only while it is looked at
    open_more(at)
    next(n for n in at.number_input if n.label == "Loss from").set_value(0.25)
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "nll": "0.25.."}
    next(n for n in at.number_input if n.label == "Loss from").set_value(None)
    at.run()
    at.query_params["stage"] = "one,two"
    at.run()
    stage = next(m for m in at.multiselect if m.label == "Stage")
    assert stage.options[0] == f"two  ({exports.count(1, chosen('status=unlearned&stage=two'))})"
    stage.set_value([1])
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "stage": "one"}
    button(at, "Stage is one").click()
    at.run()
    at.selectbox(key="w:filter:sort").set_value("nll")
    at.run()
    at.segmented_control[0].set_value("desc")
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "sort": "-nll"}
    shown = at.dataframe[0].value["nll"].tolist()
    assert shown == sorted(shown, reverse=True)


def test_paging_reaches_every_sample_once_and_comes_back(run_data, open_page, monkeypatch):
    seen = []
    at = open_page("samples", run="1", sort="-nll")
    while True:
        seen += at.dataframe[0].value["ordinal"].tolist()
        if button(at, "Next").disabled:
            break
        button(at, "Next").click()
        at.run()
        assert not at.exception and not at.error
    assert sorted(seen) == list(range(60))
    first = seen[:50]
    button(at, "Previous").click()
    at.run()
    assert at.dataframe[0].value["ordinal"].tolist() == first


def test_a_filter_that_nothing_passes_says_what_to_do(run_data, open_page):
    at = open_page("samples", run="1", q="no row says this")
    assert not at.exception and not at.error and not at.dataframe
    assert "No sample passes this filter" in words(at)
    assert "Download 0 samples (JSONL)" in links(at)


def test_a_row_shows_its_evidence(run_data, open_page):
    at = open_page("samples", run="1", status="unlearned", sample="r40")
    assert not at.exception and not at.error
    view = samples.sample(1, "r40", chosen("status=unlearned"))
    text = words(at)
    assert "✗ Unlearned" in text
    for reason in view.verdict.reasons:
        assert reason.text.split(":")[0] in text
    assert "What is on flag 40?" in text and "heron" in text
    assert "log-probability" in text and "not the first choice" in text
    chance = next(d.value for d in at.dataframe if "temperature" in d.value.columns)
    assert chance["temperature"].tolist() == ["0.3", "0.5", "0.7", "1.0"]
    assert chance["in one draw"].tolist() == [view.chance[t]["p"] for t in chance["temperature"]]
    assert at.code[0].value == view.sample.raw.decode()


def test_stepping_along_the_filter_and_back_to_the_list(run_data, open_page):
    at = open_page("samples", run="1", status="unlearned", sort="-nll")
    order = [r["sid"] for r in samples.page(1, chosen("status=unlearned&sort=-nll"), None, 50).rows]
    at.query_params["sample"] = order[0]
    at.run()
    assert button(at, "Previous").disabled
    for sid in order[1:4]:
        button(at, "Next").click()
        at.run()
        assert at.query_params["sample"] == sid
    button(at, "Previous").click()
    at.run()
    assert at.query_params["sample"] == order[2]
    button(at, "Back to the list").click()
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "sort": "-nll"}
    assert at.dataframe[0].value["ordinal"].tolist()


def test_masks_and_tokens_can_be_read_as_a_table(run_data, open_page):
    at = open_page("samples", run="1", sample="r1")
    at.segmented_control[0].set_value("Masks")
    at.run()
    assert "target, trained on" in words(at)
    at.segmented_control[0].set_value("Table")
    at.run()
    table = next(d.value for d in at.dataframe if "log-probability" in d.value.columns)
    view = samples.sample(1, "r1", Filter())
    assert table["target"].tolist() == [p.target for p in view.pieces]
    assert table["log-probability"].notna().tolist() == [p.logprob is not None for p in view.pieces]


def test_hostile_text_reaches_the_page_as_text_only(run_data, open_page):
    at = open_page("samples", run="1", sample="r41")
    assert not at.exception
    for element in at.get("html"):
        body = element.proto.body
        assert "<script" not in body and "<img" not in body and "<b>b" not in body
        assert "\x1b" not in body and "\u202e" not in body
    assert not any("<script" in str(e.value) for e in [*at.markdown, *at.caption])
    assert HOSTILE.split(">")[0] in words(at).replace("&lt;", "<")
    at = open_page("samples", run="1")
    assert "⟨RLO⟩" in at.dataframe[0].value["response"].tolist()[41]


def test_a_sample_that_is_not_there(run_data, open_page):
    at = open_page("samples", run="1", sample="<b>nobody")
    assert "There is no sample" in words(at)


def test_without_a_run_the_next_step_is_named(empty_data, open_page):
    at = open_page("samples")
    assert "No run is chosen" in at.info[0].value and not at.exception


def test_a_filter_that_stands_closes_no_row(run_data):
    """Callbacks of widgets that are gone still run once where a row was opened a moment ago."""

    def script():
        import streamlit as st

        from core.services import runs
        from ui import filterbar, selecting, state

        run = runs.get_run(1)
        selection = state.selection(run.columns)
        if st.session_state.get("other"):
            selection = selecting.with_terms(selection, [selecting.one_of("status", ["learned"])])
        filterbar.apply(run, selection)

    at = AppTest.from_function(script)
    for name, value in {"run": "1", "status": "unlearned", "sample": "r30"}.items():
        at.query_params[name] = value
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "sample": "r30"}
    at.session_state["other"] = True
    at.run()
    assert at.query_params == {"run": "1", "status": "learned"}


def test_a_click_that_was_followed_leads_away_once(run_data, open_page):
    """Who goes back before the row is drawn to its end brings the old selection along."""
    page = open_page("samples", run="1")
    at = next(k for k in page.session_state if k.startswith("w:samples:1"))
    click = {"selection": {"rows": [2], "columns": [], "cells": []}}
    page.session_state[at] = click
    page.run()
    assert page.query_params["sample"]
    del page.query_params["sample"]
    page.session_state[at] = click
    page.run()
    assert "sample" not in page.query_params
    assert any("60 of 60" in h.value for h in page.subheader)
