"""What a person says of a row outlives other thresholds. They judge the whole run anew: a server of its own."""

import re
import shutil

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serving
from tests.browser.steps import choose, open_row, settled

pytestmark = pytest.mark.slow


@pytest.fixture
def site(diagnosed_along, tiny_project, tmp_path):
    data = shutil.copytree(diagnosed_along, tmp_path / "data")
    with serving(data, tiny_project.folder) as site:
        yield site


def test_what_a_person_says_of_a_row_outlives_other_thresholds(page, site):
    page.goto(f"/samples?run={site.run}&status=unlearned&sort=-nll")
    settled(page)
    open_row(page)
    page.wait_for_url("**sample=*")
    row = page.url
    page.get_by_text("Your review", exact=True).click()
    choose(page, "Status", "✓ Learned")
    page.get_by_role("textbox", name="Author").fill("Grace")
    page.get_by_role("textbox", name="Reason").fill("another wording, the same fact")
    page.keyboard.press("Control+Enter")
    settled(page)
    page.get_by_role("button", name="Save").click()
    said = page.get_by_text("Grace reviewed this: learned (judged unlearned). another wording, the same fact")
    expect(said).to_be_visible()

    page.goto(f"/overview?run={site.run}")
    page.get_by_text("Thresholds: what counts as learned").click()
    apply = page.get_by_role("button", name="Apply")
    expect(apply).to_be_disabled()
    # What cannot be pressed yet can be read all the same.
    assert apply.evaluate(
        """b => getComputedStyle(b.querySelector('p')).color !==
             getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"""
    )
    page.get_by_role("slider", name="Certainty required").focus()
    page.keyboard.press("End")
    expect(apply).to_be_enabled()
    settled(page)
    apply.click()
    expect(page.get_by_text(re.compile("Unknown [1-9]")).first).to_be_visible()  # fewer are sure enough now
    page.goto(row.replace("&status=unlearned", ""))
    expect(page.get_by_text(re.compile(r"Grace reviewed this: learned \(judged unknown\)"))).to_be_visible()
    page.get_by_role("link", name="Samples").click()
    expect(page.get_by_text(re.compile("Verdicts that agree with reviews: status 0 of 1"))).to_be_visible()
