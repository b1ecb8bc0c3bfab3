"""Compare: choosing the other run, what changed, and the way to a row in either."""

import pytest

from core.services import compare, runs
from core.types import Filter
from tests.pages.reading import button, words
from tests.services.test_compare import made_up


@pytest.fixture
def second(run_data):
    run = runs.get_run(1)
    return made_up(run, run.spec.dataset_id)


def test_without_a_second_run_it_says_so(run_data, open_page):
    at = open_page("compare", run="1")
    assert not at.exception and not at.error
    assert "no second run" in words(at)


def test_choose_then_read(second, open_page):
    at = open_page("compare", run="1")
    assert "Choose the run to compare with" in words(at)
    at.selectbox(key="w:compare:other").set_value(second.id)
    at.run()
    assert not at.exception and not at.error
    assert at.query_params == {"run": "1", "other": str(second.id)}
    found = compare.compare(1, second.id, Filter())
    said = words(at)
    assert "60 samples matched by the same dataset" in said
    assert "McNemar" in said
    assert f"{found.different:,} samples, 1 to" in said
    assert len(at.dataframe[-1].value) == min(50, found.different)


def test_one_change_and_all_of_it(second, open_page):
    at = open_page("compare", run="1", other=str(second.id))
    found = compare.compare(1, second.id, Filter())
    at.pills[0].set_value("fixed")
    at.toggle[0].set_value(False)
    at.run()
    assert not at.exception and not at.error
    assert set(at.dataframe[-1].value["change"]) == {"Fixed"}
    assert len(at.dataframe[-1].value) == found.counts["fixed"]
    assert all(status.endswith("→\u00a0✓\u00a0Learned") for status in at.dataframe[-1].value["status"])
    at.pills[0].set_value(None)
    at.run()
    assert "60 samples, 1 to 50" in words(at)
    button(at, "Next").click()
    at.run()
    assert "60 samples, 51 to 60" in words(at)
    assert button(at, "Next").disabled


def test_row_text_stays_text(second, open_page):
    at = open_page("compare", run="1", other=str(second.id))
    at.toggle[0].set_value(False)
    at.run()
    targets = at.dataframe[-1].value["target"].tolist()
    assert any("⟨ESC⟩" in t and "<script>" in t for t in targets)  # a cell of a table, never markup
    assert not any("\x1b" in t or "\u202e" in t for t in targets)
