"""The table under one filter, one row with its evidence, the way out."""

import urllib.parse

import pytest
from streamlit.testing.v1 import AppTest

from core.filters import from_query
from core.services import excerpts, exports, grouped, judging, people, runs, samples
from core.types import Filter
from tests.pages.reading import act, button, column, links, list_data, ordinals, rows, words
from tests.world import HOSTILE
from ui import rowlist


def chosen(text):
    return from_query(text, runs.get_run(1).columns)


def test_a_filter_that_cannot_be_read_is_said_with_a_way_on(run_data, open_page):
    for name, value in (("nll", "abc"), ("order", "size")):
        at = open_page("samples", run="1", **{name: value})
        assert len(at.error) == 1 and "There are:" not in at.error[0].value
        button(at, "Go on without the filter").click().run()
        assert not at.error and name not in at.query_params and ordinals(at)


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
        assert ordinals(at) == [r["ordinal"] for r in page.rows]
    label, url = next(iter(links(at).items()))
    assert label.startswith(f"Download {n:,} sample")
    assert url.split("?")[0] == "/api/runs/1/samples.jsonl"
    assert from_query(url.partition("?")[2], runs.get_run(1).columns) == selection
    assert sum(1 for _ in exports.lines(1, selection)) == n


def test_picking_a_status_changes_the_address_and_everything_drawn_from_it(run_data, open_page):
    at = open_page("samples", run="1", stage="two", cursor="bm9uc2Vuc2U")
    assert "no page of the table" in words(at)
    at = open_page("samples", run="1", stage="two")
    at.pills(key="w:filter:status").set_value([2])
    at.run()
    assert at.query_params == {"run": "1", "stage": "two", "status": "unlearned"}
    assert column(at, "status") == {"✗ Unlearned"}
    at.pills(key="w:filter:status").set_value([0, 2])
    at.run()
    assert at.query_params["status"] == "learned,unlearned"
    at.pills(key="w:filter:status").set_value([])
    at.run()
    assert at.query_params == {"run": "1", "stage": "two"}


def test_the_widgets_follow_the_address_not_the_other_way_round(run_data, open_page):
    """As after the back button: the address changes, the widgets must show it."""
    at = open_page("samples", run="1")
    at.pills(key="w:filter:status").set_value([2])
    at.run()
    at.query_params.clear()
    at.query_params.update({"run": "1", "status": "learned", "q": "flag", "sort": "-nll", "nll": "..2"})
    at.run()
    assert at.pills(key="w:filter:status").value == [0]
    assert next(t for t in at.text_input if t.label == "Text").value == "flag"
    open_more(at)
    assert at.selectbox(key="w:filter:sort").value == "nll"
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
    values = [r["nll"] for r in samples.page(1, chosen("status=unlearned&sort=-nll"), None, 50).rows]
    assert [row["cells"]["nll"] for row in rows(at)] == rowlist.numbers(values)


def test_the_search_looks_in_outputs_too_and_marks_what_it_found(run_data, open_page):
    run = runs.get_run(1)
    judging.write_judgement(run, run.thresholds)
    page = samples.page(1, chosen("status=unlearned"), None, 50)
    texts = excerpts.excerpts(1, page.rows)
    own = [f"{e.target} {' '.join(t for _, t in e.prompt)} {e.sid}".lower() for e in texts.values()]
    outputs = {e.sid: (e.output or "").lower().strip()[:40].strip() for e in texts.values()}
    sid, word = next((s, o) for s, o in outputs.items() if len(o) > 3 and not any(o in text for text in own))
    at = open_page("samples", run="1", q=word)
    assert sid in [row["sid"] for row in rows(at)] and list_data(at)["query"] == word
    assert all(word in (row["output"] or "").lower() for row in rows(at))
    judging.write_judgement(run, run.thresholds)  # judged again, everything is found once
    assert len(samples.page(1, chosen(f"q={word}"), None, 50).rows) == len(rows(at))


def test_paging_reaches_every_sample_once_and_comes_back(run_data, open_page, monkeypatch):
    seen = []
    at = open_page("samples", run="1", sort="-nll")
    while True:
        seen += ordinals(at)
        if button(at, "Next").disabled:
            break
        button(at, "Next").click()
        at.run()
        assert not at.exception and not at.error
    assert sorted(seen) == list(range(60))
    first = seen[:50]
    button(at, "Previous").click()
    at.run()
    assert ordinals(at) == first


def test_a_filter_that_nothing_passes_says_what_to_do(run_data, open_page):
    at = open_page("samples", run="1", q="no row says this")
    assert (
        not at.exception
        and not at.error
        and "lacuna.rows" not in [e.proto.component_name for e in at.get("bidi_component")]
    )
    assert "No sample passes this filter" in words(at)
    assert "Download 0 samples (JSONL)" in links(at)


def test_a_row_shows_its_evidence(run_data, open_page):
    at = open_page("samples", run="1", status="unlearned", sample="r40")
    assert not at.exception and not at.error
    view = samples.sample(1, "r40", chosen("status=unlearned"))
    shown = next(row for row in rows(at) if row["sid"] == "r40")
    assert list_data(at)["open"] == "r40"
    assert shown["chips"][0]["text"] == "✗ Unlearned"
    assert shown["title"] == "What is on flag 40?" and shown["prompt"] == [["user", "What is on flag 40?"]]
    assert "heron" in shown["target"] and shown["output"] == view.turns[0].output
    assert "id r40" in shown["facts"]
    text = words(at)
    for reason in view.verdict.reasons:
        assert reason.text.split(":")[0] in text
    assert any("drawn answer" in e.label for e in at.expander)
    assert "reproduced verbatim" not in text, "the evidence says already how it was answered"
    assert "log-probability" in text and "not the first choice" in text
    chance = next(d.value for d in at.dataframe if "temperature" in d.value.columns)
    assert chance["temperature"].tolist() == ["0.3", "0.5", "0.7", "1.0"]
    assert chance["in one draw"].tolist() == [view.chance[t]["p"] for t in chance["temperature"]]
    assert at.code[0].value == view.sample.raw.decode()


def test_stepping_along_the_filter_and_back_to_the_list(run_data, open_page):
    at = open_page("samples", run="1", status="unlearned", sort="-nll")
    order = [r["sid"] for r in samples.page(1, chosen("status=unlearned&sort=-nll"), None, 50).rows]
    act(at, "open", sid=order[0])
    listed = [row["sid"] for row in rows(at)]
    for sid in order[1:4]:
        act(at, "open", sid=sid)
        assert at.query_params["sample"] == sid and list_data(at)["open"] == sid
        assert [row["sid"] for row in rows(at)] == listed  # the list stands still while one walks in it
    act(at, "open", sid=None)
    assert at.query_params == {"run": "1", "status": "unlearned", "sort": "-nll"}
    assert [row["sid"] for row in rows(at)] == order[: len(rows(at))]


def test_the_walk_goes_on_behind_the_last_row_of_the_list(run_data, open_page):
    order = [r["sid"] for r in samples.page(1, Filter(), None, 60).rows]
    at = open_page("samples", run="1", sample=order[0])
    last = rows(at)[-1]["sid"]
    assert len(rows(at)) == 50 and list_data(at)["behind"] and not list_data(at)["before"]
    act(at, "open", sid=last)
    act(at, "beyond", by=1)
    assert at.query_params["sample"] == order[order.index(last) + 1]
    assert at.query_params["sample"] in [row["sid"] for row in rows(at)]
    act(at, "beyond", by=-1)
    assert at.query_params["sample"] == last


def test_many_rows_are_overridden_left_out_or_made_a_set(run_data, open_page):
    at = open_page("samples", run="1")
    act(at, "override", sids=["r3", "r4"])
    at.selectbox(key="w:acting:status").set_value("partly")
    at.text_input(key="w:acting:author").set_value("Ada")
    at.text_area(key="w:acting:reason").set_value("read twice")
    button(at, "Save").click()
    act(at, "override", sids=["r3", "r4"])  # a browser would run the dialog alone
    assert {o: r.author for o, r in people.overrides(1, [2, 3, 4, 5]).items()} == {3: "Ada", 4: "Ada"}
    at = open_page("samples", run="1")
    act(at, "exclude", sids=["r3"])
    act(at, "exclude", sids=["r5", "r6"])
    assert "57 of 60 samples" in words(at) and not {3, 5, 6} & set(ordinals(at))
    act(at, "set", sids=["r7", "r9"])
    assert ordinals(at) == [7, 9]
    act(at, "nothing of ours", sids=["r7"])
    assert not at.exception and ordinals(at) == [7, 9]


@pytest.mark.parametrize("by", ["stage", "pattern", "tag"])
def test_groups_count_their_rows_and_lead_to_them(run_data, open_page, by):
    people.add_tags(1, ["r31", "r32", "r1"], ["odd"], "Ada")
    at = open_page("samples", run="1", status="unlearned")
    at.selectbox(key="w:group:1").set_value(by)
    at.run()
    assert not at.exception and not at.error
    found = grouped.groups(1, chosen("status=unlearned"), by)
    assert at.dataframe[0].value["samples"].tolist() == [g.n for g in found]
    assert at.query_params["by"] == by  # a copied link shows the same groups
    again = open_page("samples", run="1", status="unlearned", by=by)
    assert again.dataframe[0].value["samples"].tolist() == [g.n for g in found]
    if by != "tag":
        assert sum(g.n for g in found) == exports.count(1, chosen("status=unlearned"))
    else:
        assert [(g.value, g.n) for g in found] == [("odd", 2)]


def test_numbers_of_a_column_stand_under_each_other():
    assert rowlist.numbers([0.71, 0.0000118, None, float("nan"), 0.0]) == ["0.710", "<0.001", None, None, "0.000"]
    assert rowlist.numbers([3.0, None, 12_000.0]) == ["3", None, "12,000"]


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
    assert "⟨RLO⟩" in rows(at)[41]["target"]


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
