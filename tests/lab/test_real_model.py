"""Fetching the real model: from the package index into a folder of its own, or an error that says what to do."""

import re
import zipfile
from pathlib import Path

import pytest

from core.errors import UserError
from core.lab.real import model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def index(monkeypatch, tmp_path):
    """An index without a network, and a package that it lacks."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(model, "PACKAGES", {"lacuna_trial": "lacuna-trial==1.0"})
    monkeypatch.syspath_prepend(str(tmp_path / "nowhere"))  # puts sys.path back afterwards
    return tmp_path


def write_wheel(folder):
    info = "lacuna_trial-1.0.dist-info"
    with zipfile.ZipFile(folder / "lacuna_trial-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("lacuna_trial/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lacuna-trial\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_what_cannot_be_fetched_is_said_with_the_way_out(index):
    with pytest.raises(UserError, match="could not be fetched") as error:
        model.fetch_packages(index / "packages", lambda: None)
    assert "lacuna-trial" in error.value.why and "requirements-real.txt" in error.value.todo
    assert not (index / "packages").exists()


def test_what_is_there_is_fetched_once_and_only_into_the_folder(index):
    write_wheel(index)
    model.fetch_packages(index / "packages", lambda: None)
    assert (index / "packages" / "lacuna_trial").is_dir() and model.have_packages(index / "packages")
    model.fetch_packages(index / "packages", lambda: pytest.fail("fetched twice"))


def test_a_cancelled_download_stops(index):
    def cancel():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fetch_packages(index / "packages", cancel)
    assert not (index / "packages").exists()


def test_the_packages_are_those_of_the_list():
    lines = (ROOT / "requirements-real.txt").read_text().splitlines()
    assert {line for line in lines if re.match(r"\w", line)} == set(model.PACKAGES.values())
