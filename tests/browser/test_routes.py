"""From a cluster of unlearned samples to an item on which the model agrees with itself and is wrong."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.steps import follow_table, settled, table_cells, until


@pytest.fixture
def site(land):
    """The server this walk looks at: its run has groups."""
    return land


def fill(page, name, value):
    page.get_by_role("spinbutton", name=name).first.fill(str(value))
    page.keyboard.press("Enter")
    settled(page)


def test_from_a_cluster_to_a_confidently_wrong_item(page, site):
    page.goto(f"/clusters?run={site.run}")
    expect(page.get_by_text(re.compile("the others resemble no group"))).to_be_visible()
    cells = until(lambda: (found := table_cells(page)) and all(len(row) > 2 for row in found) and found)
    place = max(range(len(cells)), key=lambda i: int(cells[i][2]))
    items = min(int(cells[place][2]), 8)
    settled(page)
    follow_table(page, 200, 38 + 35 * place + 17, f"**cluster={cells[place][0]}*")
    page.get_by_role("link", name=re.compile("samples directly and by reasoning")).click()
    page.wait_for_url("**/routes?*cluster=*")
    expect(page.get_by_text("under the current filter")).to_be_visible()
    settled(page)
    for name, value in (
        ("Direct answers (M)", 3), ("Chains of thought (K)", 2), ("Longest direct answer (tokens)", 12),
        ("Longest chain of thought (tokens)", 12), ("Number of items, at most", 8),
    ):  # fmt: skip
        fill(page, name, value)
    page.get_by_role("button", name="Run both routes").click()
    page.wait_for_url("**routes=*")
    expect(page.get_by_text(f"{items} items", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("direct answers could not be read")).first).to_be_visible()

    # Down to one agreeing answer: whatever could be read takes the short route.
    page.get_by_role("slider", name=re.compile("Short route")).focus()
    page.keyboard.press("Home")
    expect(page.get_by_text("1 of 3 (τ = 0.33)").first).to_be_visible()
    settled(page)
    wrong = page.get_by_role("radio", name=re.compile(r"Confidently wrong\s+[1-9]")).or_(
        page.get_by_role("button", name=re.compile(r"Confidently wrong\s+[1-9]"))
    )
    wrong.first.click()
    settled(page)
    page.locator("[data-testid=stDataFrame]").first.scroll_into_view_if_needed()
    follow_table(page, 200, 55, "**item=*")
    expect(page.get_by_text("enough direct answers agree")).to_be_visible()
    expect(page.get_by_text("3 direct answers", exact=True)).to_be_visible()
    page.get_by_role("link", name="The sample's evidence").click()
    page.wait_for_url("**/samples?*sample=*")
    expect(page.get_by_text("Both routes of this sample").first).to_be_visible()
