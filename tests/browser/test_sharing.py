"""What leaves this machine: a run as one file that another machine opens, and a report that needs no network."""

import re
import shutil

import pytest
from playwright.sync_api import expect

from core.__main__ import main
from tests.browser.conftest import serving
from tests.browser.steps import PATIENCE, settled, until
from tests.world import at_data

pytestmark = pytest.mark.slow

# Every page that shows the run; jobs, storage and other runs are of the machine, not of the run.
PAGES = (
    "overview", "samples?sample=row-0001", "samples?status=unlearned&sort=-nll", "clusters",
    "contradictions", "knowledge", "dynamics", "routes", "mitigation", "review", "selftest",
)  # fmt: skip
# The text that a person sees, inside components and tables too, piece by piece.
TEXT = """() => {
  const out = [], seen = (e) => e.closest?.('canvas') || !e.checkVisibility || e.checkVisibility();
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.textContent.trim(), parent = node.parentElement;
      if (text && (!parent || seen(parent))) out.push(text);
    } else if (!['STYLE', 'SCRIPT'].includes(node.nodeName)) {
      if (node.shadowRoot) walk(node.shadowRoot);
      node.childNodes.forEach(walk);
    }
  };
  walk(document.querySelector('[data-testid=stMain]'));
  return out;
}"""
# What a run says of itself where it came as a bundle: its icon and its words.
NOTE = re.compile("This run came as a bundle|^archive$")


@pytest.fixture(scope="module")
def site(diagnosed_along, tiny_project, tmp_path_factory):
    """A server with one run, which has a base and checkpoints on its way."""
    data = shutil.copytree(diagnosed_along, tmp_path_factory.mktemp("origin") / "data")
    with serving(data, tiny_project.folder) as site:
        yield site


def opened(page, url, run, name):
    """The page ``name`` of the run, drawn."""
    page.goto(f"{url}/{name}{'&' if '?' in name else '?'}run={run}")
    page.locator("[data-testid=stMain] h1").first.wait_for()
    settled(page)
    return page


def at_rest(page):
    """The page's text once it has stood for a moment: charts move to their places, tables fill their cells."""

    def stands():
        before = page.evaluate(TEXT)
        page.wait_for_timeout(250)
        return before if page.evaluate(TEXT) == before else None

    return until(stands)


def test_a_bundle_shows_the_same_on_every_page_of_another_machine(chromium, page, site, tmp_path):
    page.goto(f"/clusters?run={site.run}")
    expect(page.get_by_text(re.compile("the others resemble no group"))).to_be_visible()
    page.goto(f"/overview?run={site.run}")
    settled(page)
    page.get_by_role("button", name="Manage").click()
    page.get_by_role("button", name="Make a bundle").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the bundle").click()
    bundle = tmp_path / "run.lacuna"
    waiting.value.save_as(bundle)

    empty = tmp_path / "elsewhere" / "data"
    empty.mkdir(parents=True)
    with serving(empty, tmp_path) as elsewhere:
        context = chromium.new_context(viewport=page.viewport_size)
        context.set_default_timeout(1000 * PATIENCE)
        tab = context.new_page()
        tab.goto(elsewhere.url)
        tab.get_by_text("Open a bundle").click()
        tab.get_by_label("Bundle", exact=True).set_input_files(bundle)
        settled(tab)  # a click while the upload is drawn is lost
        tab.get_by_role("button", name="Open the bundle").click()
        tab.wait_for_url("**/overview?run=1")
        expect(tab.get_by_text(NOTE)).to_be_visible()
        found = {
            name: different(opened(page, site.url, site.run, name), opened(tab, elsewhere.url, 1, name))
            for name in PAGES
        }
        context.close()
    assert {name: texts for name, texts in found.items() if texts} == {}


def different(here, there):
    """Pieces of text that one of the two pages lacks, when charts that come late had some time."""
    for _ in range(8):
        texts = set(at_rest(here)) ^ {text for text in at_rest(there) if not NOTE.search(text)}
        if not texts:
            break
    return sorted(texts)


def test_a_report_opens_without_a_network(chromium, site, tmp_path):
    out = tmp_path / "report.html"
    with at_data(site.data, tmp_path):
        assert main(["report", "--run", str(site.run), "--out", str(out)]) == 0
    assert out.stat().st_size < 3_000_000
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab = context.new_page()
    requests, broken = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: broken.append(str(error)))
    tab.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    tab.goto(out.as_uri())
    tab.wait_for_load_state("networkidle")
    assert requests == [out.as_uri()]
    assert broken == []
    charts = tab.locator("svg")
    assert charts.count() > 0
    for chart in charts.all():
        box = until(chart.bounding_box)
        assert box["width"] > 100 and box["height"] > 20
        assert chart.locator("rect, path, circle, line").count() > 0
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    pdf = tab.pdf()
    assert pdf.startswith(b"%PDF")
    context.close()
