"""The review queue, judged by keys."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.steps import settled

pytestmark = pytest.mark.slow


@pytest.fixture
def site(land):
    return land


def reviewed(page):
    """(rows of the round that were reviewed, rows of it), as the progress bar says."""
    text = page.get_by_text(re.compile(r"^Round \d+ of \d+: \d+ of \d+ rows? reviewed$")).inner_text()
    return tuple(int(n) for n in re.findall(r"\d+", text)[2:])


def prompt(page):
    return page.locator("p").filter(has_text=re.compile("^Prompt")).first


def test_a_row_is_judged_by_keys_and_the_progress_moves(page, site):
    page.goto(f"/review?run={site.run}")
    settled(page)
    done, of = reviewed(page)
    first = prompt(page).inner_text()
    page.keyboard.press("j")
    expect(prompt(page)).not_to_have_text(first)
    settled(page)
    page.keyboard.press("k")
    expect(prompt(page)).to_have_text(first)
    settled(page)
    author = page.get_by_role("textbox", name="Author")
    author.fill("Ada Jask")  # letters are letters while one types
    author.press("Enter")
    author.blur()
    settled(page)
    assert reviewed(page) == (done, of)
    page.keyboard.press("a")
    expect(page.get_by_text(f"{done + 1} of {of} rows reviewed")).to_be_visible()
    settled(page)
    expect(prompt(page)).not_to_have_text(first)
    # Something else than the verdict, chosen and saved by keys as well.
    box = page.get_by_role("combobox", name="Status")
    box.focus()
    box.press("ArrowDown")
    page.get_by_role("option", name="✓ Learned", exact=True).wait_for()
    page.keyboard.type("✓")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("textbox", name="Reason").fill("The same in other words.")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("textbox", name="Reason").blur()
    page.keyboard.press("s")
    expect(page.get_by_text(f"{done + 2} of {of} rows reviewed")).to_be_visible()
    page.goto(f"/samples?run={site.run}&reviewed=differs")
    expect(page.get_by_role("heading", name=re.compile(r"^[1-9]\d* of \d+ samples"))).to_be_visible()
