"""Every page for everyone: axe finds no serious violation, nothing is wider than the screen, links can be copied."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.steps import copied, settled
from ui.menu import entries

pytestmark = pytest.mark.slow

# Rules for what WCAG 2.1 asks at levels A and AA.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# What Streamlit draws and a page cannot change: rule to a part of the element that it names.
STREAMLITS = {
    "nested-interactive": "stDataFrame",
}
WIDTHS = (1440, 1280, 768)
# Tables that are wider than the room they have: a reader would have to scroll inside them.
CUT = """() => [...document.querySelectorAll('[data-testid=stDataFrame] .dvn-scroller')]
  .filter(t => t.checkVisibility() && t.scrollWidth > t.clientWidth + 1).length"""


@pytest.fixture
def site(land):
    return land


def addresses(run):
    """Every page of the menu, and the open row."""
    names = ["" if path.stem == "start" else path.stem for path, _ in entries()]
    return [f"/{name}?run={run}" for name in names] + [f"/samples?run={run}&sample=row-0001"]


def broken(tab, script):
    """(rule, what it says, where) of every serious violation that is the page's own."""
    tab.evaluate(script)
    result = tab.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    return [
        (rule["id"], rule["help"], node["html"][:200])
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if STREAMLITS.get(rule["id"], "\0") not in node["html"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_violation(page, site, scheme):
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is among requirements-dev.txt")
    script = (Path(package.__file__).parent / "axe.min.js").read_text()
    page.emulate_media(color_scheme=scheme)
    violations = {}
    for address in addresses(site.run):
        page.goto(address)
        settled(page)
        if seen := broken(page, script):
            violations[address] = seen
    assert violations == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_screen(page, site, width):
    page.set_viewport_size({"width": width, "height": 900})
    wide = []
    for address in addresses(site.run):
        page.goto(address)
        settled(page)
        main = page.locator("[data-testid=stMain]")
        if main.evaluate("part => part.scrollWidth > part.clientWidth + 1"):
            wide.append(address)
        if tables := page.evaluate(CUT):
            wide.append(f"{address}: {tables} tables")
    assert wide == []


def test_the_first_row_stands_high_on_the_page(page, site):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"/samples?run={site.run}&status=unlearned")
    settled(page)
    assert page.locator("tr.row").first.bounding_box()["y"] < 330


def test_a_copied_link_opens_the_same_view(page, site):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/samples?run={site.run}&status=unlearned&sort=-nll")
    settled(page)
    heading = page.get_by_role("heading", name="samples").inner_text()
    listed = copied(page, page.get_by_role("button", name="Copy link"))
    page.locator("tr.row").nth(1).click()
    page.wait_for_url("**sample=*")
    facts = page.locator("article .facts").inner_text()
    opened = copied(page, page.locator("article").get_by_role("button", name="Copy link"))
    page.goto(listed)
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    page.goto(opened)
    expect(page.locator("article .facts")).to_have_text(facts)


def test_the_button_that_copied_stays_while_its_card_is_drawn_anew(page, site):
    page.goto(f"/samples?run={site.run}&status=unlearned&sort=-nll")
    settled(page)
    page.locator("tr.row").nth(1).click()
    link = page.locator("article").get_by_role("button", name="Copy link").element_handle()
    facts = page.locator("article .facts").inner_text()
    page.keyboard.press("x")
    expect(page.get_by_text("1 row selected")).to_be_visible()
    assert link.evaluate("button => button.isConnected")
    settled(page)
    page.keyboard.press("j")
    expect(page.locator("article .facts")).not_to_have_text(facts)
    assert not link.evaluate("button => button.isConnected")
