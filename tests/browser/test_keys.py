"""Rows without a mouse, and many at once: what the list of rows does by itself."""

import pytest
from playwright.sync_api import expect

from tests.browser.steps import sample_cells, settled, until

pytestmark = pytest.mark.slow

ACTIVE = ".row[aria-current]"


def walked(page):
    return page.locator(ACTIVE).get_attribute("data-sid")


def test_rows_are_walked_opened_and_left_by_keys(page, site):
    page.goto(f"/samples?run={site.run}")
    settled(page)
    order = page.locator("tr.row").evaluate_all("rows => rows.map(r => r.dataset.sid)")
    for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        assert walked(page) == order[place]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**sample={order[1]}*")
    settled(page)
    # Every step is drawn before the next key, without the server.
    for place in range(2, 8):
        page.keyboard.press("j")
        assert walked(page) == order[place]
        assert f"id {order[place]}" in page.locator("article .facts").inner_text()
    page.wait_for_url(f"**sample={order[7]}*")
    settled(page)
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("next and previous row")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
    page.keyboard.press("/")
    page.wait_for_url(f"**/samples?run={site.run}")
    search = page.get_by_label("Text", exact=True)
    expect(search).to_be_focused()
    page.keyboard.type("jk flag")  # letters are letters while one types
    expect(search).to_have_value("jk flag")


def test_a_letter_opens_the_marked_row_as_enter_does(page, site):
    page.goto(f"/samples?run={site.run}")
    settled(page)
    page.keyboard.press("j")
    marked = walked(page)
    page.keyboard.press("o")
    page.wait_for_url(f"**sample={marked}*")
    expect(page.locator("article .facts")).to_contain_text(f"id {marked}")


def test_several_rows_are_selected_and_overridden_at_once(page, site):
    page.goto(f"/samples?run={site.run}")
    settled(page)
    for key in "jxjjx":
        page.keyboard.press(key)
    expect(page.get_by_text("2 rows selected")).to_be_visible()
    chosen = page.locator("tr.selected").evaluate_all("rows => rows.map(r => r.dataset.sid)")
    page.keyboard.press("e")
    dialog = page.get_by_role("dialog", name="Override the verdict")
    expect(dialog.get_by_text("2 samples.")).to_be_visible()
    settled(page)
    dialog.get_by_role("combobox", name="Status").press("ArrowDown")
    page.get_by_role("option", name="◐ Partly").click()
    dialog.get_by_label("Author").fill("Ada")
    dialog.get_by_label("Reason").fill("read both")
    page.keyboard.press("Control+Enter")
    settled(page)
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("2 rows selected")).to_have_count(0)
    page.goto(f"/samples?run={site.run}&reviewed=yes")
    settled(page)
    rows = page.locator("tr.row").evaluate_all("rows => rows.map(r => r.dataset.sid)")
    assert set(chosen) <= set(rows)


def test_selected_rows_become_a_set_or_are_left_out(page, site):
    page.goto(f"/samples?run={site.run}")
    settled(page)
    first = sample_cells(page)[0][0]
    page.get_by_role("checkbox", name="Select row 1", exact=True).check()
    page.get_by_role("button", name="Exclude").click()
    page.wait_for_url("**picked*")
    expect(page.get_by_text("59 of 60 samples")).to_be_visible()
    settled(page)
    assert first not in [row[0] for row in sample_cells(page)]
    page.get_by_role("checkbox", name="Select all rows of this page").check()
    expect(page.get_by_text("50 rows selected")).to_be_visible()
    page.get_by_role("button", name="Make a set").click()
    expect(page.get_by_text("50 of 60 samples")).to_be_visible()
    until(lambda: len(sample_cells(page)) == 50)
