"""The overview says what the database says."""

import pytest

from core.filters import from_query
from core.services import exports, jobs, results, runs
from core.types import Filter, Thresholds
from tests.pages.reading import button, words
from ui import cached


def test_the_numbers_are_those_of_the_database(run_data, open_page):
    at = open_page("overview", run="1")
    assert not at.exception and not at.error
    found = results.overview(1, Filter())
    text = words(at)
    assert "60 samples" in text
    for share in found.status.values():
        assert f"{share.share:.1%}" in text
        assert f"{100 * share.low:.1f} to {100 * share.high:.1f}%" in text
    assert found.status["learned"].k >= 25 and found.status["unlearned"].k >= 25


def test_the_filter_of_the_address_holds_here_too(run_data, open_page):
    at = open_page("overview", run="1", status="unlearned", stage="two")
    n = results.overview(1, from_query("status=unlearned&stage=two", runs.get_run(1).columns)).shown
    assert f"{n:,} of 60 samples" in words(at)
    assert [b.label for b in at.button if "is" in b.label][:2] == ["Status is unlearned", "Stage is two"]


def test_removing_a_condition_keeps_the_others(run_data, open_page):
    at = open_page("overview", run="1", status="unlearned", stage="two")
    button(at, "Status is unlearned").click()
    at.run()
    assert at.query_params == {"run": "1", "stage": "two"}
    button(at, "Clear all").click()
    at.run()
    assert at.query_params == {"run": "1"}


def test_a_filter_that_nothing_passes_says_so(run_data, open_page):
    at = open_page("overview", run="1", stage="none of these")
    assert not at.exception and not at.error
    assert "No sample passes this filter" in words(at)
    assert not at.get("plotly_chart")


@pytest.mark.parametrize(("tab", "charts"), [("Where", 3), ("Loss", 1)])
def test_every_figure_has_its_table_and_only_the_open_tab_is_drawn(run_data, open_page, tab, charts):
    at = open_page("overview", run="1")
    at.session_state["w:overview:1:figures"] = tab
    at.run()
    assert len(at.get("plotly_chart")) == 1 + charts  # the status bar's numbers are the tiles
    assert len(at.segmented_control) == charts
    for switch in at.segmented_control:
        switch.set_value("Table")
    at.run()
    assert not at.exception
    assert len(at.dataframe) == charts and len(at.get("plotly_chart")) == 1
    if tab == "Where":
        stage = next(d.value for d in at.dataframe if "Stage" in d.value.columns)
        assert stage["Total"].tolist() == [30, 30] and stage["Learned"].tolist()[0] >= 25


def test_the_decision_leads_to_the_rows_it_names(trajectory_data, open_page):
    at = open_page("overview", run="1")
    (first,) = (b for b in at.button if b.label.startswith("Treat") and "row" in b.label)
    count = int(first.label.split()[1].replace(",", ""))
    first.click()
    at.run()
    assert exports.count(1, from_query(dict(at.query_params), runs.get_run(1).columns)) == count


def test_thresholds_preview_live_and_are_judged_anew_when_applied(run_data, open_page, work):
    at = open_page("overview", run="1")
    moved = Thresholds(unlearned_below=0.05, certainty=0.99)
    preview = results.status_preview(1, moved)
    assert preview != results.status_preview(1, Thresholds())
    at.slider[0].set_value(0.05)
    at.slider[1].set_value(0.99)
    at.run()
    shown = {m.label.split()[1].lower(): int(m.value) for m in at.metric}
    assert shown == preview
    assert runs.get_run(1).thresholds == Thresholds()
    button(at, "Apply").click()
    at.run()
    work()
    assert runs.get_run(1).thresholds == moved
    assert results.overview(1, Filter()).status["unlearned"].k == preview["unlearned"]
    at.run()
    assert not at.exception and f"{preview['unlearned']:,} samples" in words(at)


def test_reset_puts_the_sliders_back(run_data, open_page):
    at = open_page("overview", run="1")
    at.slider[0].set_value(0.9)
    at.run()
    button(at, "Reset").click()
    at.run()
    assert at.slider[0].value == 0.2
    assert not jobs.list_jobs() or jobs.list_jobs()[0].kind != "rejudge"


def test_rename_and_delete(run_data, open_page):
    at = open_page("overview", run="1")
    next(t for t in at.text_input if t.label == "Name").set_value("*new* <b>name</b>")
    at.run()
    button(at, "Rename").click()
    at.run()
    assert runs.get_run(1).name == "*new* <b>name</b>"
    assert at.title[0].value == r"\*new\* \<b\>name\<\/b\>"
    assert button(at, "Delete").disabled
    at.checkbox[0].check()
    at.run()
    button(at, "Delete").click()
    at.run()
    assert not at.exception
    assert runs.list_runs() == []
    assert at.title[0].value == r"What did your fine\-tune not learn\?"


def test_what_does_not_exist_is_said_and_nothing_else_breaks(run_data, open_page):
    at = open_page("overview", run="77")
    assert "There is no run 77" in at.error[0].value.replace("\\", "")
    assert at.sidebar.selectbox[0].label == "Run"
    at = open_page("overview", run="1", statu="x")
    assert "Did you mean 'status'" in at.error[0].value.replace("\\", "")
    at = open_page("overview", run="1", nll="abc")
    assert at.error
    for odd in ("", "-1", "1e3", "½", "9" * 30, "<b>"):
        assert not open_page("overview", run=odd).exception


def test_without_a_run_the_next_step_is_named(empty_data, open_page):
    at = open_page("overview")
    assert "No run is chosen" in at.info[0].value
    assert not at.exception


def test_a_bug_shows_an_id_and_goes_to_the_log(run_data, open_page, monkeypatch, caplog):
    monkeypatch.setattr(cached, "overview", lambda *_, **__: 1 / 0)
    at = open_page("overview", run="1", stage="one")
    text = at.error[0].value
    assert "ZeroDivisionError" not in text and "division" not in text
    code = text.split("under the id ")[1].split("\\")[0]
    assert code in caplog.text and "ZeroDivisionError" in caplog.text
