"""The pages as scripts, over a real database with a finished run of a tiny checkpoint."""

import shutil
from pathlib import Path

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from core.settings import settings
from core.worker import loop as worker
from db.session import database
from tests.kept import ROOT


def at_data(path, monkeypatch):
    monkeypatch.setenv("LACUNA_DATA_DIR", str(path))
    monkeypatch.setenv("LACUNA_DEMO", "0")
    settings.cache_clear()
    st.cache_data.clear()  # run 1 of another data folder may have the same verdicts and other proofs or tags


@pytest.fixture
def run_data(diagnosed, tmp_path, monkeypatch):
    """A data folder of the test's own, with run 1 finished."""
    shutil.copytree(diagnosed, tmp_path / "data")
    at_data(tmp_path / "data", monkeypatch)
    yield tmp_path / "data"
    database().close()
    settings.cache_clear()


@pytest.fixture
def empty_data(tmp_path, monkeypatch):
    """A fresh installation."""
    at_data(tmp_path / "empty", monkeypatch)
    yield tmp_path / "empty"
    database().close()
    settings.cache_clear()


@pytest.fixture
def open_page(monkeypatch):
    """Opens a page of the app under an address and runs it, inside the frame as the server does."""
    made = PagesManager.__init__

    def declared(self, *args, **kwargs):
        made(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False  # as ui/server.py says; AppTest would take the folder pages/

    monkeypatch.setattr(PagesManager, "__init__", declared)

    def open_at(name, **query):
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
        test.switch_page(str(name) if isinstance(name, Path) else f"pages/{name}.py")
        for key, value in query.items():
            test.query_params[key] = value
        return test.run()

    return open_at


@pytest.fixture
def work():
    """Does the jobs that wait in the short lane, as the worker beside the server would."""
    return lambda: worker.work("short", once=True)


@pytest.fixture
def trajectory_data(diagnosed_along, tmp_path, monkeypatch):
    """A data folder of the test's own, with run 1 of a base and three earlier checkpoints finished."""
    shutil.copytree(diagnosed_along, tmp_path / "along")
    at_data(tmp_path / "along", monkeypatch)
    yield tmp_path / "along"
    database().close()
    settings.cache_clear()
