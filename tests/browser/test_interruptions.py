"""Reloads, two tabs, cancelling and resuming: nothing is lost and nothing half-done stays."""

import json
import re

from playwright.sync_api import expect

from tests.browser.steps import start, until, upload_checkpoint, upload_dataset


def uploads(site):
    folder = site.data / "uploads"
    return sorted(folder.iterdir()) if folder.exists() else []


def slow(page, bytes_per_second):
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second}
    session.send("Network.emulateNetworkConditions", limits)


def test_a_reload_during_an_upload_leaves_nothing_behind(page, site, tmp_path):
    big = tmp_path / "big.jsonl"
    big.write_bytes(b'{"text": "x"}\n' * 2_000_000)
    page.on("dialog", lambda d: d.accept())
    page.goto("/")
    page.get_by_label("Upload the dataset").wait_for(state="attached")
    slow(page, 1_000_000)
    before = uploads(site)
    page.get_by_label("Upload the dataset").set_input_files(big)
    until(lambda: any(p.stat().st_size > 0 for p in uploads(site) if p not in before))
    expect(page.get_by_text(re.compile(r"MB of 28.0 MB"))).to_be_visible()
    page.reload()
    expect(page.get_by_text("Upload the dataset")).to_be_visible()
    until(lambda: uploads(site) == before)


def test_cancelling_an_upload_leaves_nothing_behind(page, site, tmp_path):
    big = tmp_path / "big.jsonl"
    big.write_bytes(b'{"text": "x"}\n' * 2_000_000)
    page.goto("/")
    page.get_by_label("Upload the dataset").wait_for(state="attached")
    slow(page, 1_000_000)
    before = uploads(site)
    page.get_by_label("Upload the dataset").set_input_files(big)
    until(lambda: uploads(site) != before)
    page.get_by_role("button", name="Cancel the upload of big.jsonl").click()
    expect(page.get_by_text("Cancelled. Nothing was kept.")).to_be_visible()
    until(lambda: uploads(site) == before)
    assert "scan" not in page.url


def test_an_empty_file_is_a_clear_message(page, site, tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    page.goto("/")
    page.get_by_label("Upload the dataset").set_input_files(tmp_path / "empty.jsonl")
    expect(page.get_by_text(re.compile("empty|no row", re.I)).first).to_be_visible()
    page.get_by_role("button", name="Choose other files").click()
    expect(page.get_by_text("Upload the dataset")).to_be_visible()


def start_long_run(page, site, world, tmp_path):
    """A run of many rows, begun through the page."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Question {i}?"},
                {"role": "assistant", "content": f"Nobody knows {i}."},
            ]
        }
        for i in range(1500)
    ]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    page.goto("/")
    upload_dataset(page, path, 1500)
    upload_checkpoint(page, world.archive)
    start(page)


def done(page):
    """(stage, samples measured in it), as the progress line says it, or None while it says none."""
    texts = page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ samples")).all_inner_texts()
    found = [(t.split(":")[0], re.search(r"([\d,]+) of [\d,]+ samples", t)) for t in texts]
    return next(((stage, int(f[1].replace(",", ""))) for stage, f in found if f), None)


def is_behind(now, seen):
    """Whether less is measured than was seen: in one stage the count, and a stage gone by says nothing."""
    return now[0] == seen[0] and now[1] < seen[1]


def test_reload_two_tabs_cancel_and_resume(page, site, world, tmp_path):
    start_long_run(page, site, world, tmp_path)
    until(lambda: done(page))
    address = page.url
    page.reload()
    seen = until(lambda: done(page))
    other = page.context.new_page()
    other.goto(address)
    assert not is_behind(until(lambda: done(other)), seen)

    page.get_by_role("button", name="Cancel").click()
    for tab in (page, other):
        expect(tab.get_by_text("Cancelled. What was measured is kept.")).to_be_visible()
    other.get_by_role("button", name="Resume").click()
    # What was measured is not measured again: the stage goes on at least where it was seen.
    assert not is_behind(until(lambda: done(other)), seen)
    page.goto("/jobs")
    expect(page.get_by_text("Diagnose long").first).to_be_visible()
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_text("No job is running or waiting.")).to_be_visible()
    other.close()
