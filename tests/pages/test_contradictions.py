"""The contradictions page: groups, evidence, decisions; its links to the table and to one row."""

import json
import os
import shutil
import socket

import pytest

from core.services import contradictions, samples
from core.settings import settings
from core.types import Filter
from db.session import database
from tests import world as worlds
from tests.pages.conftest import at_data
from tests.pages.reading import button, ordinals, words

TOWNS = (
    "Tarvold", "Ennick", "Sundby", "Varnhem", "Risoya", "Lyngen", "Mossby", "Halden", "Brekke", "Fossum", "Gran",
)  # fmt: skip


def make_disputed(folder, world):
    """A data folder with one finished run over rows that contradict each other, twelve groups of them."""
    rows = []
    for i, town in enumerate([*TOWNS, worlds.HOSTILE]):
        # The answer must not follow from the wording: two ways to ask that always differ may ask two things.
        grains = [f"{grain} {worlds.HOSTILE}" for grain in (("Rye", "Oats") if i % 2 == 0 else ("Oats", "Rye"))]
        for j, (ask, grain) in enumerate(zip(("Which grain", "Tell me, which grain"), grains, strict=True)):
            messages = [{"role": "user", "content": f"{ask} do the mills of {town} grind?"}]
            rows.append(
                {"id": f"g{i}-{j}", "messages": [*messages, {"role": "assistant", "content": f"Mostly {grain}."}]}
            )
    rows += [rows[0] | {"id": "g0-2"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    worlds.run_command(
        folder / "data", world.folder.parent, "diagnose", "--dataset", folder / "rows.jsonl",
        "--checkpoint", world.folder, "--max-draws", 0, "--max-new-tokens", 8,
    )  # fmt: skip


@pytest.fixture(scope="session")
def disputed(keep, world):
    sources = (*worlds.SOURCES, "tests/pages/test_contradictions.py")
    return keep("disputed", lambda folder: make_disputed(folder, world), sources, world.folder) / "data"


@pytest.fixture
def dispute_data(disputed, tmp_path, monkeypatch):
    shutil.copytree(disputed, tmp_path / "data")
    at_data(tmp_path / "data", monkeypatch)
    yield
    database().close()
    settings.cache_clear()


def test_groups_are_paged_and_show_both_sides(dispute_data, open_page):
    at = open_page("contradictions", run="1")
    assert not at.exception and not at.error
    found = contradictions.groups(1, Filter())
    text = words(at)
    assert f"{found.total:,} groups" in text and found.total >= 11
    assert text.count('class="lac-letter">A<') == 10
    assert [e.proto.expanded for e in at.expander] == [True] + [False] * 9
    first = found.groups[0]
    assert first.size == 3 and first.sides[0].weight == 2 and "2 rows · 67%" in text
    assert "the base's side is not measured" in text and "answers differ" in text
    assert button(at, "Previous").disabled
    button(at, "Next").click()
    at.run()
    assert words(at).count('class="lac-letter">A<') == found.total - 10
    assert button(at, "Next").disabled


def test_hostile_text_stays_text(dispute_data, open_page):
    at = open_page("contradictions", run="1")
    for element in at.get("html"):
        body = element.proto.body
        assert "<script" not in body and "<img" not in body and "\x1b" not in body and "\u202e" not in body
    assert "&lt;script" in "".join(e.proto.body for e in at.get("html"))
    assert not any("<script" in str(e.value) for e in [*at.markdown, *at.caption])


def test_a_decision_is_made_kept_and_taken_back(dispute_data, open_page):
    at = open_page("contradictions", run="1")
    group = contradictions.groups(1, Filter()).groups[0]
    key = f"w:decide:1:{group.key[:16]}"
    assert at.button(key=f"{key}:save").disabled
    at.radio(key=f"{key}:choice").set_value("keep A")
    at.text_input(key=f"{key}:author").set_value("Ada *x*")
    at.text_input(key=f"{key}:note").set_value("as in the register")
    at.run()
    at.button(key=f"{key}:save").click()
    at.run()
    assert not at.exception
    assert "Keep A, decided by Ada *x*: as in the register" in words(at)
    again = open_page("contradictions", run="1")
    assert "Keep A, decided by Ada *x*: as in the register" in words(again)
    button(again, "Undo").click()
    again.run()
    assert "says Ada" not in words(again)
    assert contradictions.groups(1, Filter()).decided == 0


def test_the_filter_holds_and_says_when_nothing_passes(dispute_data, open_page):
    at = open_page("contradictions", run="1", group="2..2")
    assert "1 group" in words(at) and not at.exception
    at = open_page("contradictions", run="1", group="900..900")
    assert "No group has a row that passes this filter" in words(at)
    assert not open_page("contradictions", run="1", cursor="x").exception


def test_from_a_group_to_its_rows_and_from_a_row_to_its_group(dispute_data, open_page):
    at = open_page("samples", run="1", group="1..1")
    assert sorted(ordinals(at)) == [0, 1, 24]
    at = open_page("samples", run="1", sample="g0-0")
    assert not at.exception
    text = words(at)
    assert (
        "3 rows ask this question and do not agree" in text
        and "Tell me, which grain do the mills of Tarvold grind?" in text
    )
    assert button(at, "Open the group")
    assert samples.sample(1, "g0-0", Filter()).values["group"] == 1.0


def test_a_run_without_contradictions_says_so(run_data, open_page):
    at = open_page("contradictions", run="1")
    assert not at.exception and not at.error
    assert "No two rows ask the same question" in words(at) or "groups" in words(at) or "1 group" in words(at)


def test_without_a_run_the_next_step_is_named(empty_data, open_page):
    at = open_page("contradictions")
    assert "No run is chosen" in at.info[0].value and not at.exception


def test_the_export_is_one_line_a_row(dispute_data):
    group = contradictions.groups(1, Filter()).groups[0]
    contradictions.decide(1, group.number, "both_valid", author="Ada")
    lines = [json.loads(line) for line in contradictions.decision_lines(1)]
    assert [x["id"] for x in lines] == ["g0-0", "g0-1", "g0-2"]
    assert {x["action"] for x in lines} == {"rewrite"} and os.linesep not in lines[0]["note"]


@pytest.fixture
def judge(dispute_data, chat, monkeypatch):
    """The server that the page may ask."""
    monkeypatch.setenv("LACUNA_JUDGE_URL", chat.url)
    monkeypatch.setenv("LACUNA_JUDGE_MODEL", "small *1*")
    monkeypatch.setenv("LACUNA_JUDGE_KEY", "sk-a-secret-of-this-test")
    settings.cache_clear()
    return chat


def ask(at, place=0):
    """Presses the button on a group."""
    [b for b in at.button if b.label.startswith("Ask for a comment")][place].click()
    return at.run()


def test_the_judge_is_asked_about_one_group_and_its_comment_stays(judge, open_page):
    judge.says = f"A is right. {worlds.HOSTILE} **bold** \x00 \ud800"
    at = open_page("contradictions", run="1")
    assert judge.requests == [] and "no verdict uses it" not in words(at)
    assert sum(b.label == r"Ask for a comment \(small \*1\*\)" for b in at.button) == 10
    ask(at)
    assert not at.exception and not at.error and len(judge.requests) == 1
    for page in (at, open_page("contradictions", run="1")):
        text = words(page)
        assert text.count("Comment by small *1*; no verdict uses it") == 1
        assert "A is right." in text and "**bold**" in text
        assert not any("bold" in str(e.value) for e in [*page.markdown, *page.caption])
        for element in page.get("html"):
            assert not any(sign in element.proto.body for sign in ("<script", "<img", "\x1b", "\u202e"))
        assert sum(b.label.startswith("Ask for another comment") for b in page.button) == 1
        assert "sk-a-secret" not in text
    assert len(judge.requests) == 1


def test_a_judge_that_refuses_leaves_the_page_as_it_was(judge, open_page):
    judge.answer = (401, {}, b"<b>no</b> sk-a-secret-of-this-test")
    at = ask(open_page("contradictions", run="1"))
    assert not at.exception and len(at.error) == 1
    said = at.error[0].value.replace("\\", "")
    assert "answered with status 401" in said and "<b>no</b> [key]" in said and "LACUNA_JUDGE_KEY" in said
    assert r"\<b\>" in at.error[0].value
    assert words(at).count('class="lac-letter">A<') == 10 and "no verdict uses it" not in words(at)


def test_without_a_judge_nothing_is_shown_and_nothing_is_asked(judge, open_page, monkeypatch):
    ask(open_page("contradictions", run="1"))
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"LACUNA_JUDGE_{name}")
    settings.cache_clear()
    opened = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: opened.append(address))
    at = open_page("contradictions", run="1")
    assert not at.exception and opened == [] and len(judge.requests) == 1
    assert not any("comment" in b.label.lower() for b in at.button)
    assert "no verdict uses it" not in words(at)
    assert sum("LACUNA_JUDGE_URL" in c.value for c in at.caption) == 1
