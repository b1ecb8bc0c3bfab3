"""A person's judgement on the row page, kept filters, lines of losses."""

import pytest

from core.services import people, samples
from core.types import Filter
from tests.pages.reading import button, list_data, rows, words
from tests.world import HOSTILE


def widget(found, label):
    return next(w for w in found if w.label == label)


def test_judge_a_row_and_take_it_back(run_data, open_page):
    at = open_page("samples", run="1", sample="r40")
    widget(at.selectbox, "Status").set_value("learned")
    widget(at.text_input, "Author").set_value("Ada")
    button(at, "Save").click()
    at.run()
    assert not at.exception
    assert "Author or reason is missing" in words(at)
    widget(at.text_area, "Reason").set_value(HOSTILE)
    button(at, "Save").click()
    at.run()
    assert not at.exception and not at.error
    said = words(at)
    assert "Ada" in said
    assert "judged unlearned" in said
    assert "\x1b" not in said
    at = open_page("samples", run="1")
    assert "agree with reviews: status 0 of 1" in words(at)
    at = open_page("samples", run="1", sample="r40")
    button(at, "Withdraw").click()
    at.run()
    assert people.agreement(1) == {}
    assert "Your review" in [e.label for e in at.expander]


def test_keep_a_filter_and_come_back_to_it(run_data, open_page):
    at = open_page("samples", run="1", status="unlearned", sort="-nll")
    widget(at.text_input, "Name").set_value("worst *first*")
    button(at, "Save the current filter").click()
    at.run()
    assert not at.exception and not at.error
    at = open_page("samples", run="1")
    assert button(at, "Save the current filter").disabled
    at.button(key=f"w:saved:{people.saved_filters()[0].id}").click()
    at.run()
    assert at.query_params == {"run": "1", "status": "unlearned", "sort": "-nll"}
    button(at, "Delete").click()
    at.run()
    assert people.saved_filters() == []


def test_losses_along_the_checkpoints_begin_with_the_base_and_share_a_scale(trajectory_data, open_page):
    at = open_page("samples", run="1")
    assert not at.exception and not at.error
    drawn = rows(at)
    values = samples.page(1, Filter(), None, 50).rows
    names = ["base_nll", "t0_nll", "t1_nll", "t2_nll", "nll"]
    assert [row["cells"]["along"] for row in drawn] == [[v[name] for name in names] for v in values]
    assert list_data(at)["scale"] == pytest.approx(2 * max(samples.means(1, names).values()))
