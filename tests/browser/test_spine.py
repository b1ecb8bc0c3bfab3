"""The main job, from upload to export, in a browser."""

import json
import re
import signal

import psutil
import pytest
from playwright.sync_api import expect

from tests.browser.steps import (
    choose_status,
    download,
    open_row,
    settled,
    start,
    until,
    upload_checkpoint,
    upload_dataset,
)


def shown_count(page):
    found = page.get_by_text(re.compile(r"^[\d,]+ of [\d,]+ samples$")).first.inner_text()
    return int(found.split()[0].replace(",", ""))


def test_from_upload_to_export(page, site, world, tmp_path):
    page.goto("/")
    upload_dataset(page, world.dataset, 60)
    upload_checkpoint(page, world.archive)
    run = start(page)
    expect(page.get_by_role("heading", name="60 samples")).to_be_visible()

    page.get_by_role("link", name="Samples").click()
    choose_status(page, "Unlearned")
    page.wait_for_url("**/samples?run=*status=unlearned*")
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()
    settled(page)
    count = shown_count(page)
    got = download(page, f"Download {count} samples")
    lines = got.splitlines(keepends=True)
    uploaded = world.dataset.read_bytes().splitlines(keepends=True)
    verdicts = [json.loads(v) for v in download(page, "Verdicts").splitlines()]
    assert len(lines) == count == len(verdicts) > 0
    assert [v["status"] for v in verdicts] == ["unlearned"] * count
    assert lines == [uploaded[v["row"]] for v in verdicts]
    assert not {v["id"] for v in verdicts} & world.learned
    manifest = json.loads(download(page, "Manifest"))
    assert manifest["exported"]["rows"] == count
    assert manifest["run"]["id"] == run and manifest["filter"]["query"] == "status=unlearned"


def test_everything_without_a_filter_is_the_file_again(page, site, world):
    page.goto(f"/samples?run={site.run}")
    got = download(page, "Download 60 samples")
    assert got == world.dataset.read_bytes()


def test_export_of_nothing_is_an_empty_file(page, site):
    page.goto(f"/samples?run={site.run}")
    page.get_by_label("Text", exact=True).fill("no row says this")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No sample passes this filter")).to_be_visible()
    assert shown_count(page) == 0
    assert download(page, "Download 0 samples") == b""


def test_the_back_button_keeps_the_filter(page, site):
    page.goto(f"/samples?run={site.run}")
    choose_status(page, "Unlearned")
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()
    settled(page)
    count = shown_count(page)
    open_row(page)
    page.wait_for_url("**sample=r*")
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    first = page.url
    settled(page)
    page.keyboard.press("j")
    page.wait_for_function(f"() => location.href !== '{first}'")
    second = page.url
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text(f"{count} of 60 samples")).to_be_visible()
    expect(page.get_by_role("button", name="Status is unlearned")).to_be_visible()
    for step in (second, first):  # one after the other, each drawn, as a person goes
        page.go_back()
        page.wait_for_url(step)
        expect(page.get_by_text(re.compile(rf" · id {re.search('sample=([^&]+)', step)[1]}"))).to_be_visible()
    page.go_back()
    page.wait_for_url(f"**/samples?run={site.run}&status=unlearned")
    expect(page.get_by_text(f"{count} of 60 samples")).to_be_visible()
    settled(page)
    page.get_by_test_id("stPopoverButton").filter(has_text=re.compile("^Status")).click()
    pressed = page.get_by_role("button", name=re.compile("✗ Unlearned"))
    expect(pressed).to_have_attribute("aria-pressed", "true")
    page.go_back()
    page.wait_for_url(f"**/samples?run={site.run}")
    expect(page.get_by_text("60 of 60 samples")).to_be_visible()
    expect(page.get_by_role("button", name="Status is unlearned")).to_have_count(0)


def test_row_text_is_never_markup(page, site):
    page.goto(f"/samples?run={site.run}&sample=r41")
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    body = page.locator("[data-testid=stMain]")
    expect(body.get_by_text("<script>window.hit=1</script>").first).to_be_visible()
    expect(body.get_by_text("⟨ESC⟩[31mred ⟨RLO⟩abc⟨PDF⟩").first).to_be_visible()
    for tab in ("Masks", "Table", "Loss"):
        page.get_by_role("radio", name=tab).or_(page.get_by_role("button", name=tab, exact=True)).first.click()
        settled(page)
    for name in ("drawn answer", "All measured values", "Original row"):
        page.get_by_text(name).first.click()
    for path in (f"/samples?run={site.run}", f"/overview?run={site.run}", f"/samples?run={site.run}&sample=r43"):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        settled(page)
    assert page.evaluate("window.hit") is None
    assert page.locator("[data-testid=stMain] img").count() == 0
    assert page.locator("[data-testid=stMain] a[href^=javascript]").count() == 0


@pytest.mark.parametrize(("tab", "filtered"), [("Causes", "cause"), ("Where", "stage")])
def test_a_click_on_a_bar_opens_the_samples_behind_it(page, site, tab, filtered):
    page.goto(f"/overview?run={site.run}")
    settled(page)
    page.get_by_role("tab", name=tab).click()
    settled(page)
    chart = page.locator("[data-testid=stPlotlyChart]").nth(1)
    bars = chart.locator("g.bars .point path")
    bars.first.wait_for()
    bars.last.click(force=True)
    page.wait_for_url(f"**/samples?**{filtered}=**")
    settled(page)
    count = shown_count(page)
    assert 0 < count < 60
    assert download(page, f"Download {count} sample").count(b"\n") == count


def test_a_heading_orders_the_whole_run(page, site):
    page.goto(f"/samples?run={site.run}")
    page.get_by_role("button", name="Loss (nats)", exact=True).click()
    page.wait_for_url("**sort=nll**")
    page.get_by_role("button", name="Loss (nats) ↑").click()
    page.wait_for_url("**sort=-nll**")


def test_the_web_process_stays_light(page, site):
    """After every page was opened: no model library was imported, and little memory is used."""
    for name, path in (
        ("start", "/"),
        ("overview", f"/overview?run={site.run}"),
        ("samples", f"/samples?run={site.run}"),
        ("row", f"/samples?run={site.run}&sample=r1"),
        ("jobs", "/jobs"),
    ):
        page.goto(path)
        expect(page.locator("h1"), name).to_be_visible()
        settled(page)
    web = next(p for p in psutil.Process(site.pid).children() if "streamlit" in p.cmdline())
    assert web.memory_info().rss < 400e6
    web.send_signal(signal.SIGUSR1)  # see hook/sitecustomize.py
    modules = site.data.parent / f"modules-{web.pid}"
    until(modules.exists)
    imported = {name.partition(".")[0] for name in modules.read_text().splitlines()}
    assert imported >= {"streamlit", "sqlalchemy", "plotly", "ui"}
    assert not imported & {"torch", "transformers", "numba", "umap", "sentence_transformers", "peft"}


def test_a_missing_page_or_run_is_said_kindly(page, site):
    page.goto("/overview?run=999")
    expect(page.get_by_text("There is no run 999")).to_be_visible()
    page.goto(f"/samples?run={site.run}&statu=x")
    expect(page.get_by_text("There is no column named")).to_be_visible()
    until(lambda: page.get_by_text("Did you mean").count())
