"""The report: one file that opens without a network, in which nothing runs, whatever the rows hold."""

import re
from html.parser import HTMLParser

import pytest

from core.__main__ import main
from core.errors import UserError
from core.filters import from_query
from core.report.drawing import Bar, bars
from core.report.html import document, seen, tag
from core.services import people, report, results, runs, samples
from core.types import Filter
from tests.world import HOSTILE, make_hostile_rows


class Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def loads(page):
    """What a browser would fetch, run or apply from elsewhere."""
    bad = [t for t, _ in page.tags if t in ("script", "img", "link", "iframe", "object", "a", "form", "use", "image")]
    return bad + [
        n for _, attributes in page.tags for n in attributes if n.startswith("on") or n in ("src", "href", "style")
    ]


def test_a_report_holds_the_figures_of_the_pages(along_run, tmp_path, capsys):
    sid = next(r["sid"] for r in samples.page(1, from_query("status=unlearned", along_run.columns), None, 5).rows)
    people.override(1, sid, "learned", None, "Ada", "Same in other words.")
    assert main(["report", "--run", "1", "--out", str(tmp_path / "report.html")]) == 0
    text = (tmp_path / "report.html").read_text()
    page = Reader(text)
    words = " ".join(page.words)
    assert loads(page) == []
    found = results.overview(1, Filter())
    for share in (*found.status.values(), *found.causes.values()):
        assert f"{share.k:,}  ({share.share:.1%})" in words
    assert text.count("<article>") == min(report.ROWS, found.status["unlearned"].k + found.status["partly"].k)
    run = runs.get_run(1)
    for part in (run.spec.hash, run.spec.final.fingerprint, run.spec.versions["torch"], "Macro-F1", "0 of 1",
                 "Ada says: learned. Same in other words."):  # fmt: skip
        assert part in words, part
    assert len(text) < 3_000_000
    with pytest.raises(UserError, match="No sample passes"):
        report.report(1, from_query("q=there is no such text", run.columns))


def test_the_policy_names_the_style_and_nothing_else():
    text = document("t", [tag("p", "x")]).decode()
    policy = re.search(r'content="([^"]*default-src[^"]*)"', text)[1].replace("&#x27;", "'")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "script" not in policy


def test_hostile_text_is_text_and_the_file_stays_small():
    parts = [
        tag("pre", HOSTILE),
        tag("p", "x", title=f'" onload="{HOSTILE}'),
        bars([Bar(HOSTILE, "#fff", 2, 0, 9, HOSTILE)], HOSTILE),
    ]
    page = Reader(document(HOSTILE, parts).decode())
    assert loads(page) == []
    assert HOSTILE.replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩").replace("\u202c", "⟨U+202C⟩") in page.words
    assert seen("a\u200bb\ud800\x00\n") == "a⟨U+200B⟩b⟨U+D800⟩⟨U+0000⟩\n"


@pytest.mark.slow
def test_rows_that_attack_every_page_stay_below_the_limit(tiny_project, import_rows, diagnose):
    run = diagnose(import_rows(make_hostile_rows()), tiny_project.final, max_new_tokens=8, max_draws=2,
                   preset_settings={"max_length": 256})  # fmt: skip
    text = report.report(run.id)
    assert len(text) < 3_000_000
    assert loads(Reader(text.decode())) == []
