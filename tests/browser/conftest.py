"""Lacuna as a person meets it: the real server with its workers, a real Chromium, a tiny checkpoint trained here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import world as worlds
from tests.browser.steps import PATIENCE, until
from tests.kept import ROOT

CHROMIUM = Path("/usr/bin/chromium")
HOOK = Path(__file__).with_name("hook")
ARGUMENTS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A running server. ``run`` is a finished run of the world's dataset, ``log`` what server and workers say."""

    url: str
    data: Path
    pid: int
    run: int
    log: Path


@pytest.fixture(scope="session")
def site(diagnosed, world, tmp_path_factory):
    data = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(diagnosed, data)
    with serving(data, world.folder.parent) as site:
        yield site


@pytest.fixture(scope="session")
def land(keep, diagnosed_along, tiny_project, tmp_path_factory):
    """Another server: run 1 has a base and checkpoints on its way, run 2 is over hostile rows."""

    def make(folder):
        worlds.diagnose_hostile(shutil.copytree(diagnosed_along, folder / "data"), tiny_project)

    kept = keep("hostile", make, worlds.SOURCES, diagnosed_along)
    data = shutil.copytree(kept / "data", tmp_path_factory.mktemp("land") / "data")
    with serving(data, tiny_project.folder) as site:
        yield site


@contextmanager
def serving(data, roots, port=None):
    """A server over the data folder; it must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port or 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "core", "serve", "--port", str(port)]
    env = os.environ | worlds.environment(data, roots)
    env |= {"PYTHONPATH": f"{HOOK}{os.pathsep}{ROOT}", "TEST_MODULES": str(data.parent)}
    log = data.parent / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{url}/_stcore/health"))
    try:
        yield Site(url, data, process.pid, 1, log)
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(PATIENCE)
    assert ended == 0


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def chromium():
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing. Install it: sudo apt-get install -y chromium", pytrace=False)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENCE)
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, site):
    """A fresh tab; a request to anywhere else, a script error or a failed page in the server's log fails the test."""
    before = site.log.stat().st_size
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, base_url=site.url, accept_downloads=True)
    context.set_default_timeout(1000 * PATIENCE)
    strangers, broken = [], []
    context.on("request", lambda r: None if r.url.startswith((site.url, "data:", "blob:")) else strangers.append(r.url))
    tab = context.new_page()
    tab.on("pageerror", lambda e: broken.append(str(e)))
    yield tab
    context.close()
    assert strangers == []
    assert broken == []
    said = site.log.read_bytes()[before:].decode(errors="replace")
    assert "page failed" not in said, said[-20_000:]
