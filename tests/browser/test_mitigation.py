"""From a filter by cause to exported rows and a proof, in one screen."""

import json
import re

from playwright.sync_api import expect

from tests.browser.steps import download


def test_from_a_cause_to_an_export_and_a_proof(page, site, world):
    page.goto(f"/mitigation?run={site.run}")
    cause = page.get_by_role("toolbar", name="Cause").get_by_role("button").first
    chosen = int(cause.inner_text().split()[-1].replace(",", ""))
    cause.click()
    page.wait_for_url("**/mitigation?run=*cause=*")
    expect(page.get_by_text(f"{chosen} of 60 samples")).to_be_visible()
    recipe = page.get_by_role("combobox", name="Recipe")
    expect(recipe).to_be_visible()

    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text(re.compile(rf"^[\d,]+ rows from {chosen} samples$"))).to_be_visible()
    page.get_by_role("button", name="Export").click()
    rows = download(page, "mitigation.jsonl").splitlines()
    manifest = json.loads(download(page, "manifest.json"))
    assert manifest["file"]["rows"] == len(rows) and manifest["treated"]["samples"] == chosen
    (treated,) = manifest["treated"]["by_cause"]
    assert manifest["filter"]["query"] == f"cause={treated}"
    uploaded = set(world.dataset.read_bytes().splitlines())
    changed = {c["line"] for c in manifest["changes"]}
    assert [i for i, row in enumerate(rows, 1) if row not in uploaded] == sorted(changed)

    for label, number in (("Optimiser steps per arm", "12"), ("Treated samples, at most", "6")):
        page.get_by_role("spinbutton", name=label).fill(number)
        page.keyboard.press("Enter")
    page.get_by_role("button", name="Prove on a copy").click()
    expect(page.get_by_role("progressbar").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Of \d+ samples .* the uniform mix restored \d+%"))).to_be_visible()
