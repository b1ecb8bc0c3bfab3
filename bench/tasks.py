"""Ten tasks that people come with, walked in Chromium over a finished run: clicks, keys and seconds of each.

    .venv/bin/python bench/tasks.py --url http://127.0.0.1:8501 [--run 1] [--out bench/results/tasks.json]

Each task begins on the run's overview. A click, a key and a field that is filled count as one step each. Seconds are
those of the machine: what a person takes to read and to decide is not in them. The run must have a base and
contradictions, and nobody's reviews.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PATIENCE = 120_000
# Nothing has run for a quarter of a second.
_SETTLED = """() => {
  const app = document.querySelector('[data-testid=stApp]');
  const idle = app?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]');
  window.idleSince = idle ? window.idleSince ?? performance.now() : null;
  return idle && performance.now() - window.idleSince > 250;
}"""


class Hand:
    """A person's hand on a page; it counts what it does."""

    def __init__(self, page: Any) -> None:
        self.page, self.steps = page, 0

    def settle(self) -> None:
        self.page.evaluate("() => { window.idleSince = null; }")
        self.page.wait_for_function(_SETTLED, timeout=PATIENCE)

    def click(self, role: str, name: str | re.Pattern[str], place: int = 0) -> None:
        self.click_on(self.page.get_by_role(role, name=name).nth(place))

    def click_on(self, thing: Any) -> None:
        self.settle()
        thing.click()
        self.steps += 1

    def press(self, *keys: str) -> None:
        self.settle()
        for key in keys:
            self.page.keyboard.press(key)
            self.steps += 1

    def fill(self, label: str, text: str) -> None:
        self.settle()
        self.page.get_by_label(label, exact=True).last.fill(text)
        self.page.keyboard.press("Enter")
        self.steps += 1

    def download(self, act: Callable[[], None]) -> bytes:
        with self.page.expect_download(timeout=PATIENCE) as waiting:
            act()
        return Path(waiting.value.path()).read_bytes()

    def sees(self, text: str | re.Pattern[str]) -> str:
        thing = self.page.get_by_text(text).first
        thing.wait_for(timeout=PATIENCE)
        return str(thing.inner_text())


@dataclass(frozen=True)
class Task:
    """``what`` a person wants; ``steps``: the most it may take; ``do`` does it and fails where it cannot."""

    name: str
    what: str
    steps: int
    do: Callable[[Hand], None]


def work_list(hand: Hand) -> None:
    data = hand.download(lambda: hand.click("link", "Work list (CSV)"))
    assert b"what to do" in data.splitlines()[0]


def mitigation(hand: Hand) -> None:
    hand.click("button", re.compile(r"^Treat \d+ rows?"))
    hand.page.wait_for_url("**/mitigation?*")
    hand.click("button", "Export")
    assert hand.download(lambda: hand.click("link", "mitigation.jsonl"))


def worst_group(hand: Hand) -> None:
    hand.click("link", "Clusters")
    hand.page.wait_for_url("**/clusters?*")
    frame = hand.page.locator("[data-testid=stDataFrame]").first
    frame.wait_for(timeout=PATIENCE)
    hand.settle()
    frame.locator(".dvn-scroller").click(position={"x": 200, "y": 55})
    hand.steps += 1
    hand.sees(re.compile("Causes in this selection: "))
    hand.click("link", re.compile("^Treat these"))
    hand.page.wait_for_url("**/mitigation?**cluster=*")


def why_one_row(hand: Hand) -> None:
    hand.click("button", "Show")
    hand.page.wait_for_url("**/samples?**cause=*")
    hand.click_on(hand.page.locator("tr.row").first)
    hand.page.wait_for_url("**sample=*")
    assert hand.page.locator("article .sentence").inner_text()


def read_on(hand: Hand) -> None:
    hand.click("button", "Show")
    hand.click_on(hand.page.locator("tr.row").first)
    hand.page.wait_for_url("**sample=*")
    before = hand.page.locator("article .facts").inner_text()
    hand.press("j", "j", "k")
    assert hand.page.locator("article .facts").inner_text() != before


def search_outputs(hand: Hand) -> None:
    hand.click("link", "Samples")
    hand.page.wait_for_url("**/samples?*")
    hand.fill("Text", "the")
    hand.page.wait_for_url("**q=the*")
    hand.page.locator("mark").first.wait_for(timeout=PATIENCE)


def tag_rows(hand: Hand) -> None:
    hand.click("button", "Show")
    hand.page.wait_for_url("**/samples?*")
    hand.press("j", "x", "t")
    box = hand.page.get_by_role("dialog").get_by_role("combobox")
    box.wait_for(timeout=PATIENCE)
    hand.settle()
    box.fill("look again")
    hand.page.keyboard.press("Enter")
    hand.steps += 1
    hand.page.get_by_role("dialog").get_by_label("Author").fill("Ada")
    hand.page.keyboard.press("Enter")
    hand.steps += 1
    hand.click_on(hand.page.get_by_role("dialog").get_by_role("button", name="Add"))
    hand.page.get_by_role("columnheader", name="Tags").wait_for(timeout=PATIENCE)


def contradiction(hand: Hand) -> None:
    hand.click("link", "Contradictions")
    hand.page.wait_for_url("**/contradictions?*")
    hand.click("button", "Decide")
    hand.click_on(hand.page.get_by_text("Keep A, drop the others"))
    hand.fill("Your name", "Ada")
    hand.click("button", "Save")
    hand.sees(re.compile("decided by Ada"))


def report(hand: Hand) -> None:
    hand.click("link", "Samples")
    hand.page.wait_for_url("**/samples?*")
    assert b"<html" in hand.download(lambda: hand.click("link", "Report (HTML)"))[:2_000]


def share(hand: Hand) -> None:
    hand.click("button", "Show")
    hand.page.wait_for_url("**/samples?*")
    hand.click("button", "Copy link")
    hand.page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('cause=')")


TASKS = (
    Task("work list", "Take a list of what was not learned, why, and what to do, to a spreadsheet.", 1, work_list),
    Task("mitigation", "Take rows to train on against the largest cause.", 3, mitigation),
    Task(
        "worst group", "Find the largest group of unlearned rows, its causes, and the way to treat it.", 3, worst_group
    ),
    Task("why one row", "See why one row was not learned.", 2, why_one_row),
    Task("read on", "Read the rows of a cause one after the other.", 5, read_on),
    Task("search", "Find rows by a word, in prompts, targets and outputs.", 2, search_outputs),
    Task("tag", "Tag a row, so that others find it.", 7, tag_rows),
    Task("contradiction", "Decide which answer of a contradiction is right.", 5, contradiction),
    Task("report", "Give somebody a file that says what the run found.", 2, report),
    Task("share", "Send somebody the view one looks at.", 2, share),
)


def walk(page: Any, url: str, run: int, tasks: tuple[Task, ...] = TASKS) -> Iterator[tuple[Task, int, float]]:
    """(task, steps, seconds) of each task, one after the other; fails where one cannot be done."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for task in tasks:
        page.goto(f"{url}/overview?run={run}")
        hand = Hand(page)
        hand.settle()
        began = time.perf_counter()
        task.do(hand)
        yield task, hand.steps, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", required=True, help="address of a running Lacuna")
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/tasks.json")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from bench._machine import machine

    rows = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        for task, steps, seconds in walk(page, args.url, args.run):
            rows.append({"task": task.name, "what": task.what, "steps": steps, "seconds": round(seconds, 1)})
            print(f"{task.name:14} {steps} steps  {seconds:5.1f} s", file=sys.stderr)
        browser.close()
    args.out.write_text(json.dumps({"tasks": rows, "machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
