"""From a number to the rows behind it, and what people say of them: over a run with a base and checkpoints."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.steps import click_table, download, open_row, sample_cells, settled, table_cells, until

BARS = "[data-testid=stPlotlyChart] g.bars .point path"


@pytest.fixture
def site(land):
    """The server these walks look at, instead of the one of the main job."""
    return land


def shown(page):
    """How many samples the page says pass its filter."""
    found = page.get_by_role("heading", name=re.compile(r"^[\d,]+ (of [\d,]+ )?samples$")).inner_text()
    return int(found.split()[0].replace(",", ""))


def points(page, name):
    """(k, 2) where the points of a trace of the map lie on the screen."""
    script = """(chart, name) => {
      const plot = chart.querySelector('.js-plotly-plot'), {xaxis, yaxis} = plot._fullLayout;
      const box = plot.getBoundingClientRect(), trace = plot._fullData.find(t => t.name.startsWith(name));
      return [...trace.x].map((x, i) => [
        box.x + xaxis._offset + xaxis.l2p(x), box.y + yaxis._offset + yaxis.l2p(trace.y[i])]);
    }"""
    chart = page.locator("[data-testid=stPlotlyChart]").first
    chart.locator(".nsewdrag").wait_for()
    return chart.evaluate(script, name)


def group_of(page, cells, name):
    """Click the row of the groups' table whose first cells are ``name``."""
    place = [row[0] for row in cells].index(name)
    click_table(page, 200, 38 + 35 * place + 17)


def grouped(page, site):
    """The clusters page with groups; found now where nobody looked before."""
    page.goto(f"/clusters?run={site.run}")
    expect(page.get_by_text(re.compile(r"the others resemble no group"))).to_be_visible()
    return until(lambda: table_cells(page))


def test_from_a_cause_to_a_row_and_out_again(page, site, tiny_project):
    page.goto(f"/overview?run={site.run}")
    bars = page.locator("[data-testid=stPlotlyChart]").nth(1).locator("g.bars .point path")
    bars.first.wait_for()
    bars.nth(1).click(force=True)
    page.wait_for_url("**/samples?**cause=*")
    settled(page)
    listed, address = shown(page), page.url
    cause = re.search(r"cause=(\w+)", address)[1]
    assert 0 < listed <= 18  # all of them are on the screen, so the table can be read whole
    cells = until(lambda: len(found := sample_cells(page)) == listed and found)

    open_row(page)
    page.wait_for_url("**sample=*")
    opened = re.search(r"sample=([\w-]+)", page.url)[1]
    expect(page.locator("article .facts")).to_contain_text(f"id {opened}")
    assert tiny_project.rows[int(cells[0][0])]["id"] == opened
    page.go_back()
    page.wait_for_url(address)
    assert until(lambda: len(found := sample_cells(page)) == listed and found) == cells

    exported = download(page, f"Download {listed} samples").splitlines(keepends=True)
    uploaded = tiny_project.dataset.read_bytes().splitlines(keepends=True)
    assert exported == [uploaded[int(row[0])] for row in cells]
    verdicts = [json.loads(line) for line in download(page, "Verdicts").splitlines()]
    assert [v["row"] for v in verdicts] == [int(row[0]) for row in cells]
    assert {v["cause"] for v in verdicts} == {cause}
    assert len({row[2] for row in cells}) == 1


def test_from_groups_to_a_part_of_one_to_its_rows(page, site):
    cells = grouped(page, site)
    big = max(cells, key=lambda row: int(row[2]))
    assert int(big[5]) > 1
    group_of(page, cells, big[0])
    page.wait_for_url(f"**cluster={big[0]}*")
    expect(page.get_by_role("button", name=f"Open {big[2]} samples")).to_be_visible()
    settled(page)  # what stands above the table moves it while it is drawn
    inner = page.locator("[data-testid=stDataFrame]").nth(1)
    inner.locator(".dvn-scroller").click(position={"x": 200, "y": 38 + 17})
    page.wait_for_url("**cluster=*.1*")
    opener = page.get_by_role("button", name=re.compile(r"Open \d+ samples?"))
    expect(opener).not_to_have_text(re.compile(rf"Open {big[2]} samples"))
    count = int(re.search(r"\d+", opener.inner_text())[0])
    opener.click()
    page.wait_for_url("**/samples?**cluster=*.1*")
    expect(page.get_by_role("heading", name=f"{count} of 67 samples")).to_be_visible()
    open_row(page)
    page.wait_for_url("**sample=*")
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()


@pytest.mark.parametrize("tool", ["Lasso Select", "Box Select"])
def test_what_is_picked_on_the_map_leads_to_its_rows_and_every_page(page, site, tool):
    cells = grouped(page, site)
    small = min(cells, key=lambda row: int(row[2]))
    at = points(page, small[0])
    count = int(small[2])
    page.get_by_role("button", name=tool).click()
    left, right = min(x for x, _ in at) - 9, max(x for x, _ in at) + 9
    top, bottom = min(y for _, y in at) - 9, max(y for _, y in at) + 9
    corners = (
        [(right, top), (right, bottom), (left, bottom), (left, top)] if tool == "Lasso Select" else [(right, bottom)]
    )
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in corners:
        page.mouse.move(x, y, steps=6)
    page.mouse.up()
    expect(page.get_by_text(f"{count} samples picked")).to_be_visible()
    assert "picked" not in page.url and table_cells(page) == cells  # the map keeps the other samples
    settled(page)
    page.get_by_role("button", name=f"Open the {count} rows").click()
    page.wait_for_url("**/samples?**picked=*")
    page.get_by_role("link", name=re.compile("directly and by reasoning")).click()
    page.wait_for_url("**/routes?**picked=*")
    expect(page.get_by_text("under the current filter")).to_contain_text(f"{count} samples")
    page.get_by_role("link", name="Samples").click()
    expect(page.get_by_role("heading", name=f"{count} of 67 samples")).to_be_visible()


def test_a_link_reopens_exactly_one_row_and_back_its_filter(page, site):
    page.goto(f"/samples?run={site.run}&status=unlearned&sort=-nll")
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()
    settled(page)
    listed, before = shown(page), page.url
    open_row(page)
    page.wait_for_url("**sample=*")
    caption = page.get_by_text(re.compile(r"^#\d+ · input row \d+ · id row-\d+"))
    expect(caption.first).to_be_visible()
    settled(page)
    said, link = caption.inner_text(), page.url
    page.go_back()
    page.wait_for_url(before)
    expect(page.get_by_role("heading", name=f"{listed} of 67 samples")).to_be_visible()

    page.goto("about:blank")  # as whoever was sent the link
    page.goto(link)
    expect(caption).to_have_text(said)
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()
    page.get_by_role("button", name="Back to the table").click()
    expect(page.get_by_role("heading", name=f"{listed} of 67 samples")).to_be_visible()
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()


def test_a_filter_is_kept_under_a_name(page, site):
    page.goto(f"/samples?run={site.run}&status=unlearned&stage=2")
    settled(page)
    listed = shown(page)
    page.get_by_role("button", name="Saved filters").click()
    page.get_by_role("textbox", name="Name").fill("Late and lost")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name="Save the current filter").click()
    expect(page.get_by_role("button", name="Late and lost")).to_be_visible()

    page.goto(f"/samples?run={site.run}")
    expect(page.get_by_role("heading", name="67 of 67 samples")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Saved filters").click()
    page.get_by_role("button", name="Late and lost").click()
    page.wait_for_url("**stage=2*")
    expect(page.get_by_role("heading", name=f"{listed} of 67 samples")).to_be_visible()
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()


def test_what_is_decided_about_a_contradiction_is_exported(page, site, tiny_project):
    page.goto(f"/contradictions?run={site.run}")
    expect(page.get_by_role("heading", name="3 groups")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Decide").first.click()
    page.get_by_text("Keep A, drop the others").click()
    page.get_by_role("textbox", name="Your name").fill("Ada")
    page.get_by_role("textbox", name="Reason").fill("the ledger says so")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Keep A, decided by Ada: the ledger says so")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Keep A, decided by Ada: the ledger says so")).to_be_visible()
    lines = [json.loads(line) for line in download(page, "Download 1 decision").splitlines()]
    assert [line["action"] for line in lines].count("keep") == 1
    assert {line["decision"] for line in lines} == {"keep"} and {line["author"] for line in lines} == {"Ada"}
    ids = {line["id"] for line in lines}
    assert len(ids) == 2
    planted = {tiny_project.groups[i] for i in ids}
    assert len(planted) == 1, planted
