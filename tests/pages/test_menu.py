"""The menu: one file is one page, also in a folder of the user's own."""

import ast
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from streamlit.testing.v1 import AppTest

from core.errors import UserError
from core.settings import settings
from ui import menu

HELLO = """
import streamlit as st
from ui import state
from ui.menu import Entry

PAGE = Entry(title="Hello", icon=":material/hub:", place=35)


def main() -> None:
    st.write(f"Hello, run {state.run_id()}")


main()
"""


@pytest.fixture
def own_page(tmp_path, monkeypatch):
    """Writes a page into a folder of the user's own."""
    folder = tmp_path / "kinds" / "pages"

    def put(name, text):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        monkeypatch.setenv("LACUNA_KINDS_DIR", str(folder.parent))
        settings.cache_clear()
        return folder / f"{name}.py"

    return put


def titles(test):
    return [link.label for link in test.sidebar.get("page_link")]


def test_the_menu_lists_every_file_in_its_place(empty_data, open_page):
    entries = menu.entries()
    assert {path for path, _ in entries} == set(menu.PAGES.glob("*.py"))
    places = [(menu.GROUPS.index(entry.group), entry.place) for _, entry in entries]
    assert places == sorted(set(places)), "no two pages share a place"
    at = open_page("start")
    assert titles(at) == [entry.title for _, entry in entries]
    assert [c.value for c in at.sidebar.caption][1:5] == [f"**{group}**" for group in menu.GROUPS]
    assert entries[0][0].stem == "start"


def test_a_file_in_the_users_folder_is_a_page(empty_data, own_page, open_page):
    path = own_page("hello", HELLO)
    own_page("_shared", "raise RuntimeError('a shared part is no page')")
    test = open_page(path, run=7)
    assert not test.exception and not test.error
    assert titles(test)[2:5] == ["Samples", "Hello", "Clusters"]
    assert [m.value for m in test.main.markdown] == ["Hello, run 7"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('no page')", "no line that begins with PAGE"),
        ("PAGE = Entry(title='A', icon='b')", "place"),
        ("PAGE = Entry(title=name, icon='b', place=1)", "malformed"),
        ("PAGE = Entry(title='A', icon='b', place=1, group='Others')", "There are: Diagnose, Explore, Fix, System"),
        ("PAGE = Entry(", "never closed"),
    ],
)
def test_a_page_without_an_entry_is_named(own_page, text, why):
    own_page("broken", text)
    with pytest.raises(UserError, match=r"broken\.py does not say how the menu lists it") as caught:
        menu.entries()
    assert why in caught.value.why


def test_a_name_that_is_taken_is_refused(own_page):
    own_page("samples", HELLO)
    with pytest.raises(UserError, match="has the name of a page that comes with Lacuna"):
        menu.entries()


def test_a_broken_page_of_ones_own_is_shown_as_an_error(empty_data, own_page, open_page):
    own_page("broken", "x = 1")
    test = AppTest.from_file(str(menu.PAGES.parent / "app.py"), default_timeout=30).run()
    assert ["does not say how the menu lists it" in error.value for error in test.error] == [True]


def test_the_first_visitors_of_a_server_do_not_parse_pages_at_once(monkeypatch):
    met, parse = threading.Barrier(2), ast.parse

    def parsed(*args):
        with pytest.raises(threading.BrokenBarrierError):
            met.wait(timeout=0.05)  # passes where another thread is in here
        met.reset()
        return parse(*args)

    monkeypatch.setattr(ast, "parse", parsed)
    menu._entry.cache_clear()
    with ThreadPoolExecutor(2) as visitors:
        first, second = visitors.map(lambda _: menu.entries(), range(2))
    assert first == second
