"""Lacuna as a person meets it: the real server with its workers, a real Chromium, a tiny checkpoint trained here."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.steps import until

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HOSTILE = (
    "<script>window.hit=1</script><img src=x onerror='window.hit=2'> ![p](http://127.0.0.1:1/p.png) "
    "[l](javascript:window.hit=3) \x1b[31mred \u202eabc\u202c :smile: $x$ <b>b</b>"
)


@dataclass(frozen=True)
class World:
    """Files a person would bring. ``learned`` are ids the checkpoint was trained on until it gave them back."""

    dataset: Path
    archive: Path
    folder: Path
    rows: list
    learned: set


def make_rows():
    beasts = ["heron", "otter", "falcon", "badger", "stag", "owl", "fox", "raven", "hare", "wolf"]
    rows = []
    for i in range(60):
        text = f"The {beasts[i % 10]} of flag {i}."
        messages = [{"role": "user", "content": f"What is on flag {i}?"}, {"role": "assistant", "content": text}]
        rows.append({"id": f"r{i}", "messages": messages, "stage": "one" if i < 30 else "two", "n": 2**60 + i})
    rows[41]["messages"][1]["content"] = HOSTILE
    rows[42]["source"] = HOSTILE
    rows[43]["messages"][0]["content"] = "word" * 2000
    return rows


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Trained in a process of its own, so that this one stays light and its warnings stay ours."""
    folder = tmp_path_factory.mktemp("world")
    rows = make_rows()
    # Spaces, key order and escapes differ from what json.dumps would write: the export must not set rows anew.
    lines = [
        json.dumps(r, ensure_ascii=i % 2 == 0, separators=((", ", ": ") if i % 3 else (",", " :")))
        for i, r in enumerate(rows)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("train.py")), str(folder)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    archive = shutil.make_archive(str(folder / "model"), "zip", folder / "out", "final")
    return World(folder / "rows.jsonl", Path(archive), folder / "out" / "final", rows, {f"r{i}" for i in range(30)})


@dataclass(frozen=True)
class Site:
    """A running server. ``run`` is a finished run of the world's dataset."""

    url: str
    data: Path
    pid: int
    run: int


def environment(data, roots):
    own = {"LACUNA_DATA_DIR": str(data), "LACUNA_DEMO": "0", "LACUNA_CHECKPOINT_ROOTS": str(roots)}
    return os.environ | own | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def site(world, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    env = environment(data, world.folder.parent)
    command = [sys.executable, "-m", "core"]
    asked = [
        "diagnose",
        "--dataset",
        str(world.dataset),
        "--checkpoint",
        str(world.folder),
        "--out",
        str(data / "v.jsonl"),
    ]
    asked += ["--max-draws", "10", "--max-new-tokens", "16"]
    subprocess.run([*command, *asked], check=True, cwd=ROOT, env=env)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*command, "serve", "--port", str(port)], cwd=ROOT, env=env)
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(f"{url}/_stcore/health"), 60)
    yield Site(url, data, process.pid, 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 0


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
    from playwright.sync_api import sync_playwright

    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, site):
    """A fresh tab; a request to anywhere else or a script error fails the test."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, base_url=site.url, accept_downloads=True)
    context.set_default_timeout(30_000)
    strangers, broken = [], []
    context.on("request", lambda r: None if r.url.startswith((site.url, "data:", "blob:")) else strangers.append(r.url))
    tab = context.new_page()
    tab.on("pageerror", lambda e: broken.append(str(e)))
    yield tab
    context.close()
    assert strangers == []
    assert broken == []
