"""Steps that several walks share."""

import re
import time

from playwright.sync_api import Locator, Page, TimeoutError, expect

# Seconds until a step counts as failed: long, since a busy machine is no failure.
PATIENCE = 120


def until(true, seconds=PATIENCE):
    """What ``true()`` returns once it is true; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


def upload_dataset(page, path, n):
    """Through step 1: upload, look, import ``n`` samples."""
    page.get_by_label("Upload the dataset").set_input_files(path)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text(f"{n:,} rows = {n:,} samples + 0 rejected")).to_be_visible()


def upload_checkpoint(page, archive):
    """Through step 2: upload the archive; it becomes the checkpoint to diagnose."""
    page.get_by_text("Add a checkpoint").wait_for()
    box = page.get_by_label("Upload the checkpoint as an archive")
    if not box.is_visible():
        page.get_by_text("Add a checkpoint").click()
    box.set_input_files(archive)
    expect(page.get_by_text("tokens in the vocabulary")).to_be_visible()


def start(page, longest=16):
    """Through step 3: settings, check, start; returns the run's number."""
    page.get_by_text("Settings", exact=True).click()
    page.get_by_role("spinbutton", name="Longest answer (tokens)").fill(str(longest))
    page.keyboard.press("Enter")
    settled(page)  # a check holds for the settings that it was asked with
    page.get_by_role("button", name="Check before starting").click()
    page.get_by_role("button", name="Start the diagnosis").click()
    page.wait_for_url("**/overview?run=*")
    return int(re.search(r"run=(\d+)", page.url)[1])


def click_table(page, x, y):
    """Click into the table, ``x`` and ``y`` pixels from its upper left corner."""
    page.locator("[data-testid=stDataFrame] .dvn-scroller").first.click(position={"x": x, "y": y})


def choose(page, box, option):
    """Choose ``option`` in the select box ``box``; once more where a rerun closed the list in between."""

    def act():
        page.get_by_role("combobox", name=box).press("ArrowDown")
        page.get_by_role("option", name=option).click(timeout=10_000)

    retried(page, act)


def choose_status(page, name):
    """Filter the samples by a status."""
    settled(page)
    page.get_by_test_id("stPopoverButton").filter(has_text=re.compile("^Status")).click()
    page.get_by_role("button", name=re.compile(rf". {name} +\d")).click()


def open_row(page, place=0):
    """Open a row of the samples' table."""
    page.locator("tr.row").nth(place).click()


def sample_cells(page):
    """The rows of the samples' table, the texts of their cells without the box to tick."""
    script = "rows => rows.map(r => [...r.querySelectorAll('td:not(.tick)')].map(c => c.textContent))"
    return page.locator("tr.row").evaluate_all(script)


def follow_table(page, x, y, url):
    """Click into the table until the address is ``url``: a chart that is drawn late may move the table away."""

    def act():
        click_table(page, x, y)
        page.wait_for_url(url, timeout=10_000)

    retried(page, act)


def retried(page, act):
    """Do ``act`` on a page at rest, again where it ran out of its own short time."""

    def tried():
        settled(page)
        try:
            act()
        except TimeoutError:
            return False
        return True

    until(tried)


def settled(page):
    """Wait until nothing has run for a quarter of a second: what was just done takes a moment to begin."""
    page.evaluate("() => { window.idleSince = null; }")
    page.wait_for_function(
        """() => {
          const app = document.querySelector('[data-testid=stApp]');
          const idle = app?.dataset.testScriptState === 'notRunning'
            && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]');
          window.idleSince = idle ? window.idleSince ?? performance.now() : null;
          return idle && performance.now() - window.idleSince > 250;
        }"""
    )


def table_cells(page):
    """The rows of the table as a screen reader meets them: the cells behind the canvas, without the box to tick."""
    script = """t => [...t.querySelectorAll('canvas [role=row]')].map(
      r => [...r.querySelectorAll('[role=gridcell]')].map(c => c.textContent))"""
    rows = page.locator("[data-testid=stDataFrame]").first.evaluate(script)
    return [row for row in rows if row]


def download(page, name):
    """The bytes behind the link ``name``."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).click()
    return waiting.value.path().read_bytes()


def copied(page: Page, button: Locator) -> str:
    """The address that a button copies; it must say so, however short a while."""
    button.evaluate(
        "button => { window.said = []; const watch = { childList: true, characterData: true, subtree: true };"
        " new MutationObserver(() => window.said.push(button.textContent)).observe(button, watch); }"
    )
    button.click()
    page.wait_for_function("window.said.includes('Link copied')")
    address: str = page.evaluate("navigator.clipboard.readText()")
    return address
