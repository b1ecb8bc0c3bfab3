"""Kinds of a test's own, in a folder outside the tree."""

import textwrap

import pytest

from tests.pages.conftest import at_data, open_page, work
from tests.services.conftest import diagnose, import_rows, stored

__all__ = ["diagnose", "import_rows", "open_page", "own_kinds", "put", "stored", "work"]


def put(folder, register, name, text):
    """Writes a kind; ``text`` may be indented."""
    (folder / register).mkdir(parents=True, exist_ok=True)
    (folder / register / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")


@pytest.fixture
def own_kinds(tmp_path, monkeypatch):
    """A folder that is scanned for kinds."""
    folder = tmp_path / "kinds"
    monkeypatch.setenv("LACUNA_KINDS_DIR", str(folder))
    at_data(tmp_path / "lacuna", monkeypatch)
    return folder
