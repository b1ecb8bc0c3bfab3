"""Rows whose text, id, stage and source attack whoever shows them, on every page: nothing runs, nothing breaks."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.browser.steps import choose, settled
from tests.world import HOSTILE, make_hostile_rows

RUN = 2


@pytest.fixture
def site(land):
    return land


def shown_whole(page):
    """Every figure of the page as its table, every drawer open."""
    settled(page)
    for table in page.get_by_role("radio", name="Table", exact=True).all():
        table.click()
    settled(page)
    page.evaluate("document.querySelectorAll('[data-testid=stExpander] summary').forEach(s => s.click())")
    settled(page)


def unharmed(page, where):
    assert page.evaluate("window.hit") is None, where
    body = page.locator("[data-testid=stApp]")
    assert body.locator("[data-testid=stException]").count() == 0, where
    assert body.get_by_text(re.compile("Something went wrong|unexpected", re.I)).count() == 0, where
    assert body.locator("img[src=x], img[src*='127.0.0.1:1'], script:not([src]), a[href^='javascript']").count() == 0, (
        where
    )
    assert body.locator("[data-testid=stMain] b").count() == 0, where


PLACES = {
    "start": "/?run=2",
    "overview": "/overview?run=2",
    "samples": "/samples?run=2",
    "samples, searched": f"/samples?run=2&q={quote(HOSTILE)}",
    "a row": f"/samples?run=2&sample={quote(make_hostile_rows()[0]['id'])}",
    "a row with a long prompt": f"/samples?run=2&sample={quote(make_hostile_rows()[22]['id'])}",
    "contradictions": "/contradictions?run=2",
    "knowledge": "/knowledge?run=2",
    "dynamics": "/dynamics?run=2",
    "routes": "/routes?run=2",
    "both routes": "/routes?run=2&routes=1",
    "an item": "/routes?run=2&routes=1&item=0",
    "mitigation": "/mitigation?run=2&status=unlearned",
    "compare": "/compare?run=2&other=1",
    "self-test": "/selftest?run=2",
    "jobs": "/jobs?run=2",
    "storage": "/storage?run=2",
    "a filter of no column": f"/samples?run=2&{quote(HOSTILE)}=1",
    "a sample that is none": f"/samples?run=2&sample={quote(HOSTILE)}",
}


def test_hostile_rows_run_nothing_on_any_page(page, site):
    for where, address in PLACES.items():
        page.goto(address)
        expect(page.locator("[data-testid=stMain] h1"), where).to_be_visible()
        shown_whole(page)
        unharmed(page, where)


def test_groups_of_hostile_rows(page, site):
    page.goto("/clusters?run=2")
    expect(page.get_by_text(re.compile("the others resemble no group"))).to_be_visible()
    shown_whole(page)
    unharmed(page, "clusters")
    page.goto("/clusters?run=2&cluster=1")
    expect(page.get_by_role("button", name=re.compile(r"Open \d+ sample"))).to_be_visible()
    shown_whole(page)
    unharmed(page, "a group")


def test_a_decision_about_hostile_rows_and_their_export(page, site):
    page.goto("/contradictions?run=2")
    settled(page)
    page.get_by_role("button", name="Decide").first.click()
    page.get_by_text("Keep A, drop the others").click()
    page.get_by_role("textbox", name="Your name").fill(HOSTILE[:80])
    page.get_by_role("textbox", name="Reason").fill(HOSTILE)
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(re.compile("^Keep A, decided by <script>window.hit=1</script>"))).to_be_visible()
    unharmed(page, "a decision")
    page.goto("/mitigation?run=2&status=unlearned")
    settled(page)
    choose(page, "Recipe", "Resolve contradictions")
    settled(page)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text(re.compile(r"^[\d,]+ rows from"))).to_be_visible()
    shown_whole(page)
    unharmed(page, "a preview")
