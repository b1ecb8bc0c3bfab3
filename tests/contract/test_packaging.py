"""What is installed: the command, one version, every file that the code reads, and the licence."""

import hashlib
import importlib
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import core

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_command_exists():
    module, _, name = PROJECT["project"]["scripts"]["lacuna"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_version_is_stated_once():
    assert "version" in PROJECT["project"]["dynamic"] and "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "core.__version__"
    assert f"## [{core.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_file_that_is_no_code_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [p for folder in ("core", "db", "ui", "pages") for p in (ROOT / folder).rglob("*") if p.is_file()]
    data = [p for p in files if p.suffix not in (".py", ".pyc")]
    assert data
    unpacked = [str(p) for p in data if not any(fnmatch(str(p), f"*/{pattern}") for pattern in patterns)]
    assert unpacked == []


def test_the_licence_is_the_whole_apache_text():
    # SHA-256 of the text as the Apache Software Foundation publishes it.
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
